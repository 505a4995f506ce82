//! What a function is bound to: one snapshot of the events and one version of each model, the same for a whole query.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::execution::SessionState;

use crate::config::TenureConfig;
use crate::events::Snapshot;
use crate::features::{Customers, Interactions, UserCovariates};
use crate::models::Control;
use crate::models::lifetime::Lifetime;
use crate::models::recommend::ItemModel;
use crate::models::segment::Rfm;
use crate::store::Store;

/// A model as the store knows it.
#[derive(Debug)]
pub struct Versioned<M> {
    pub name: String,
    pub version: u32,
    pub model: M,
}

/// One query's view of the world. Whatever has to be read or fitted for it is, on first use.
#[async_trait]
pub trait Pin: Send + Sync {
    fn config(&self) -> &TenureConfig;
    fn state(&self) -> &SessionState;
    fn store(&self) -> &Store;
    async fn snapshot(&self) -> Result<Arc<Snapshot>>;
    async fn customers(&self) -> Result<Arc<Customers>>;
    async fn interactions(&self) -> Result<Arc<Interactions>>;
    /// The model of that name, or the auto model.
    async fn lifetime(&self, model: Option<&str>) -> Result<Arc<Versioned<Lifetime>>>;
    /// Columns of `users` ('column, column') as numbers; `wanted` are the names that a fitted model has.
    async fn covariates(&self, names: &str, wanted: Option<&[String]>) -> Result<UserCovariates>;
    async fn rfm(&self, model: Option<&str>) -> Result<Arc<Versioned<Rfm>>>;
    async fn recommender(&self, model: Option<&str>) -> Result<Arc<Versioned<ItemModel>>>;
    /// Whether each version of a model still fits the events: `None`, or why it is stale.
    async fn stale_reason(&self, model: &str, version: u32) -> Result<Option<String>>;
}

/// The types of the keys in `events`, as far as they are known when a statement is planned.
pub trait KeyTypes: Send + Sync + fmt::Debug {
    fn user_type(&self) -> DataType;
    fn item_type(&self) -> DataType;
}

/// Runs CPU-bound work away from the threads that serve queries; it is cancelled when whoever waits for it has gone.
pub async fn blocking<T: Send + 'static>(control: Control, work: impl FnOnce(&Control) -> Result<T> + Send + 'static) -> Result<T> {
    struct CancelOnDrop(Control);
    impl Drop for CancelOnDrop {
        fn drop(&mut self) {
            self.0.cancel();
        }
    }
    // One of its own: cancelling this work is not cancelling what comes after it.
    let control = control.child();
    let _guard = CancelOnDrop(control.clone());
    match tokio::task::spawn_blocking(move || work(&control)).await {
        Ok(out) => out,
        Err(e) => Err(datafusion::error::DataFusionError::External(Box::new(e))),
    }
}
