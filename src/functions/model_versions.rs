//! `model_versions('m')`: every version of one model.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::plan_err;

use super::prelude::*;
use crate::store::ModelRecord;
use crate::text::did_you_mean;

#[derive(Debug)]
pub struct ModelVersions;

static SPEC: FunctionSpec = FunctionSpec {
    name: "model_versions",
    section: "Models",
    form: Form::Table,
    arguments: &[Argument { name: "model", kind: ArgKind::Model, default: None, about: "name of the model" }],
    returns: "",
    unit: "",
    columns: &[("name, version, active, …", "", "the columns of models()")],
    summary: "Every version of a model, with the columns of models().",
    behaviour: &["ALTER MODEL m SET ACTIVE VERSION n goes back to one of them, ALTER MODEL m ROLLBACK to the one before the active."],
    nulls: "",
    method: "",
    source: "",
    limits: "",
    example: "CREATE MODEL value WITH (model_type = 'bg_nbd'); REFRESH MODEL value; SELECT name, version, active FROM model_versions('value') ORDER BY version",
};

/// The record of a model, or an error that names the nearest.
pub fn record(pin: &dyn Pin, name: &str) -> Result<ModelRecord> {
    if let Some(m) = pin.store().model(name) {
        return Ok(m);
    }
    let all = pin.store().models();
    let hint = did_you_mean(name, all.iter().map(|m| m.name.as_str()), "'", "'");
    let names = if all.is_empty() { "there are none".to_owned() } else { crate::text::quoted(all.iter().map(|m| m.name.as_str())) };
    plan_err!("there is no model '{name}'{hint} Models: {names}")
}

#[async_trait]
impl RelationFunction for ModelVersions {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn schema(&self, _: &dyn KeyTypes, _: &CallArgs) -> Result<SchemaRef> {
        Ok(super::models::schema())
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let model = record(pin, args.text("model").unwrap_or_default())?;
        let versions = model.versions.iter().map(|v| (model.clone(), v.clone())).collect();
        Ok(super::models::rows(pin, versions).await?.project(projection)?)
    }
}
