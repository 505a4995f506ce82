//! PREPARE, EXECUTE and DEALLOCATE. The engine optimizes a prepared plan before its parameters are known, and keeps it when what it reads has been
//! replaced; here the text is kept, and planned anew each time.

use std::sync::{MutexGuard, PoisonError};

use datafusion::common::{ParamValues, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{Execute, LogicalPlan, Prepare, Statement as PlanStatement};
use datafusion::prelude::DataFrame;

use super::Session;
use super::statement::parse;

impl Session {
    fn prepared(&self) -> MutexGuard<'_, std::collections::HashMap<String, String>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the PREPARE statement `text`.
    pub(super) fn prepare(&self, statement: &Prepare, text: &str) -> Result<DataFrame> {
        if matches!(statement.input.as_ref(), LogicalPlan::Statement(_) | LogicalPlan::Ddl(_)) {
            return plan_err!("a query or an INSERT can be prepared; definitions and settings cannot");
        }
        let mut prepared = self.prepared();
        if prepared.contains_key(&statement.name) {
            return exec_err!("prepared statement '{}' exists: DEALLOCATE it first, or choose another name", statement.name);
        }
        prepared.insert(statement.name.clone(), text.to_owned());
        self.ctx.read_empty()
    }

    pub(super) fn deallocate(&self, name: &str) -> Result<DataFrame> {
        match self.prepared().remove(name) {
            Some(_) => self.ctx.read_empty(),
            None => exec_err!("there is no prepared statement '{name}'"),
        }
    }

    /// The plan of a prepared statement with the values of its parameters.
    pub(super) async fn with_parameters(&self, execute: Execute) -> Result<LogicalPlan> {
        let text = self.prepared().get(&execute.name).cloned();
        let plan = match text {
            Some(text) => self.plan(parse(&text)?).await?,
            None => return exec_err!("there is no prepared statement '{}'", execute.name),
        };
        let LogicalPlan::Statement(PlanStatement::Prepare(Prepare { name, fields, input })) = plan else {
            return exec_err!("'{}' is not a prepared statement", execute.name);
        };
        // Types that were neither declared nor can be inferred are not among the fields.
        let numbers = input.get_parameter_names()?.iter().filter_map(|n| n.strip_prefix('$')?.parse::<usize>().ok()).max().unwrap_or(0);
        let (takes, given) = (numbers.max(fields.len()), execute.parameters.len());
        if takes != given {
            return exec_err!("prepared statement '{name}' takes {takes} parameter(s), not {given}");
        }
        let mut values: Vec<ScalarValue> = vec![];
        for (i, e) in execute.parameters.into_iter().enumerate() {
            let Some(value) = self.engine.fold(e)? else { return exec_err!("parameter {} of '{name}' is not a constant", i + 1) };
            let field = fields.get(i).filter(|_| fields.len() == given);
            values.push(field.map_or(Ok(value.clone()), |f| value.cast_to(f.data_type()))?);
        }
        input.as_ref().clone().replace_params_with_values(&ParamValues::from(values))
    }
}
