//! `models()`: every model, one row each; `SHOW MODELS` is a selection from it.

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef, TimeUnit};

use super::prelude::*;
use crate::store::{ModelRecord, VersionInfo};

#[derive(Debug)]
pub struct Models;

const COLUMNS: &[super::spec::ColumnSpec] = &[
    ("name", "Utf8", "name of the model"),
    ("version", "Int64", "number of the version"),
    ("active", "Boolean", "whether functions use this version"),
    ("model_type", "Utf8", "as in WITH (model_type = ...)"),
    ("target", "Utf8", "what it predicts"),
    ("horizon", "Float64", "days the hold-out looked ahead; NULL without one"),
    ("origin", "Utf8", "user, auto or import"),
    ("created_at", "Timestamp", "when it was fitted, UTC"),
    ("as_of", "Timestamp", "the moment up to which it saw events, UTC"),
    ("data_rows", "Int64", "events it saw"),
    ("data_fingerprint", "Utf8", "relation and content of the events it saw"),
    ("stale", "Boolean", "whether the events have changed since"),
    ("stale_reason", "Utf8", "what has changed"),
    ("metric", "Utf8", "name of the hold-out metric"),
    ("value", "Float64", "the metric on the hold-out"),
    ("baseline_value", "Float64", "the same metric of a trivial baseline"),
    ("size_bytes", "Int64", "size in the store"),
];

static SPEC: FunctionSpec = FunctionSpec {
    name: "models",
    section: "Models",
    form: Form::Table,
    arguments: &[],
    returns: "",
    unit: "",
    columns: COLUMNS,
    summary: "Every model's active version.",
    behaviour: &["SHOW MODELS [LIKE 'pattern'] selects from it.", "Auto models appear once a function has needed them."],
    nulls: "",
    method: "",
    source: "",
    limits: "",
    example: "SELECT name, version, model_type, metric FROM models() ORDER BY name",
};

pub fn schema() -> SchemaRef {
    let us = DataType::Timestamp(TimeUnit::Microsecond, None);
    let t = |name: &str| match name {
        "created_at" | "as_of" => us.clone(),
        "version" | "data_rows" | "size_bytes" => DataType::Int64,
        "active" | "stale" => DataType::Boolean,
        "value" | "baseline_value" | "horizon" => DataType::Float64,
        _ => DataType::Utf8,
    };
    Arc::new(Schema::new(COLUMNS.iter().map(|(n, _, _)| Field::new(*n, t(n), true)).collect::<Vec<_>>()))
}

/// One row a version, with why it is stale.
pub async fn rows(pin: &dyn Pin, versions: Vec<(ModelRecord, VersionInfo)>) -> Result<RecordBatch> {
    let mut stale = vec![];
    for (m, v) in &versions {
        stale.push(pin.stale_reason(&m.name, v.version).await?);
    }
    let text = |f: &dyn Fn(&ModelRecord, &VersionInfo) -> Option<String>| -> ArrayRef {
        Arc::new(versions.iter().map(|(m, v)| f(m, v)).collect::<StringArray>())
    };
    let int = |f: &dyn Fn(&VersionInfo) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(versions.iter().map(|(_, v)| f(v)))) };
    let float =
        |f: &dyn Fn(&VersionInfo) -> Option<f64>| -> ArrayRef { Arc::new(versions.iter().map(|(_, v)| f(v)).collect::<Float64Array>()) };
    let time = |f: &dyn Fn(&VersionInfo) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(versions.iter().map(|(_, v)| f(v))))
    };
    let columns: Vec<ArrayRef> = vec![
        text(&|m, _| Some(m.name.clone())),
        int(&|v| i64::from(v.version)),
        Arc::new(versions.iter().map(|(m, v)| Some(m.active == v.version)).collect::<BooleanArray>()),
        text(&|_, v| Some(v.model_type.clone())),
        text(&|_, v| Some(v.target.clone())),
        float(&|v| v.horizon_days),
        text(&|m, _| Some(m.origin.to_string())),
        time(&|v| v.created_at_us),
        time(&|v| v.as_of_us),
        int(&|v| v.data_rows as i64),
        text(&|_, v| Some(v.data_fingerprint.clone())),
        Arc::new(stale.iter().map(|s| Some(s.is_some())).collect::<BooleanArray>()),
        Arc::new(stale.iter().cloned().collect::<StringArray>()),
        text(&|_, v| v.metric.clone()),
        float(&|v| v.value),
        float(&|v| v.baseline_value),
        int(&|v| v.size_bytes as i64),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

#[async_trait]
impl RelationFunction for Models {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn schema(&self, _: &dyn KeyTypes, _: &CallArgs) -> Result<SchemaRef> {
        Ok(schema())
    }

    async fn rows(&self, pin: &dyn Pin, _: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let active = |m: ModelRecord| m.active_version().cloned().map(|v| (m, v));
        let all = pin.store().models().into_iter().filter_map(active).collect();
        Ok(rows(pin, all).await?.project(projection)?)
    }
}
