//! What every function file starts from.

pub use std::sync::Arc;

pub use async_trait::async_trait;
pub use datafusion::arrow::datatypes::DataType;
pub use datafusion::common::Result;

pub use super::args::CallArgs;
pub use super::customer::{CustomerFunction, Kernel};
pub use super::pin::{KeyTypes, Pin};
pub use super::relation::RelationFunction;
pub use super::spec::{ArgKind, Argument, Form, FunctionSpec};
pub use crate::models::Control;

use crate::models::ModelError;
use datafusion::error::DataFusionError;

/// Whether the data do not carry a model.
pub fn too_little(e: &DataFusionError) -> bool {
    match e.find_root() {
        DataFusionError::External(e) => matches!(e.downcast_ref(), Some(ModelError::TooLittleData(_))),
        _ => false,
    }
}

/// A model's error at the SQL seam.
pub fn fit_error(e: ModelError) -> DataFusionError {
    DataFusionError::External(Box::new(e))
}
