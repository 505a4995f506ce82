//! PREPARE, EXECUTE and DEALLOCATE. The engine optimizes a prepared plan before its parameters are known, and then once more; here a plan stays as
//! it was written until it is executed.

use std::sync::{MutexGuard, PoisonError};

use datafusion::common::{ParamValues, Result, ScalarValue, exec_err};
use datafusion::logical_expr::{Execute, LogicalPlan, Prepare};
use datafusion::prelude::DataFrame;

use super::Session;

impl Session {
    fn prepared(&self) -> MutexGuard<'_, std::collections::HashMap<String, Prepare>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn prepare(&self, statement: Prepare) -> Result<DataFrame> {
        let mut prepared = self.prepared();
        if prepared.contains_key(&statement.name) {
            return exec_err!("prepared statement '{}' exists: DEALLOCATE it first, or choose another name", statement.name);
        }
        prepared.insert(statement.name.clone(), statement);
        self.ctx.read_empty()
    }

    pub(super) fn deallocate(&self, name: &str) -> Result<DataFrame> {
        match self.prepared().remove(name) {
            Some(_) => self.ctx.read_empty(),
            None => exec_err!("there is no prepared statement '{name}'"),
        }
    }

    /// The plan of a prepared statement with the values of its parameters.
    pub(super) fn with_parameters(&self, execute: Execute) -> Result<LogicalPlan> {
        let Some(Prepare { name, fields, input }) = self.prepared().get(&execute.name).cloned() else {
            return exec_err!("there is no prepared statement '{}'", execute.name);
        };
        if !fields.is_empty() && fields.len() != execute.parameters.len() {
            return exec_err!("prepared statement '{name}' takes {} parameter(s), not {}", fields.len(), execute.parameters.len());
        }
        let mut values: Vec<ScalarValue> = vec![];
        for (i, e) in execute.parameters.into_iter().enumerate() {
            let Some(value) = self.engine.fold(e)? else { return exec_err!("parameter {} of '{name}' is not a constant", i + 1) };
            values.push(fields.get(i).map_or(Ok(value.clone()), |f| value.cast_to(f.data_type()))?);
        }
        input.as_ref().clone().replace_params_with_values(&ParamValues::from(values))
    }
}
