//! `model_info('m')`: what is known of a model, one property a row; `DESCRIBE MODEL` is a selection from it.

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::plan_err;

use super::model_versions::record;
use super::prelude::*;
use crate::events::time_text;
use crate::models::Family;
use crate::models::supervised::Supervised;

#[derive(Debug)]
pub struct ModelInfo;

static SPEC: FunctionSpec = FunctionSpec {
    name: "model_info",
    section: "Models",
    form: Form::Table,
    arguments: &[
        Argument { name: "model", kind: ArgKind::Model, default: None, about: "name of the model" },
        Argument { name: "version", kind: ArgKind::Count, default: Some("active"), about: "number of the version" },
    ],
    returns: "",
    unit: "",
    columns: &[
        ("section", "Utf8", "model, data, option, parameter, feature, evaluation or warning"),
        ("property", "Utf8", "name of the property"),
        ("value", "Utf8", "its value"),
    ],
    summary: "Everything known of a model: data, options, parameters, hold-out figures, warnings.",
    behaviour: &["DESCRIBE MODEL m [VERSION n] selects from it."],
    nulls: "",
    method: "",
    source: "",
    limits: "",
    example: "CREATE MODEL value WITH (model_type = 'bg_nbd'); SELECT property FROM model_info('value') WHERE section = 'parameter'",
};

fn schema() -> SchemaRef {
    let text = |n: &str| Field::new(n, DataType::Utf8, true);
    Arc::new(Schema::new(vec![text("section"), text("property"), text("value")]))
}

/// What a supervised model is made of: its calibration, and every feature with its SQL, missing share, mean and encoding.
fn described(model: &Supervised) -> Vec<(&'static str, String, Option<String>)> {
    let mut rows = vec![("model", "calibration".into(), Some(model.calibration.to_string()))];
    if let Some([no, yes]) = &model.classes {
        rows.push(("model", "classes".into(), Some(format!("0 = {no}, 1 = {yes}"))));
    }
    for f in &model.encoder.features {
        let sql = model.sql.iter().find(|s| s.name == f.name).map_or_else(String::new, |s| match s.relation.is_empty() {
            true => s.sql.clone(),
            false => format!("{} FROM {}", s.sql, s.relation),
        });
        let mean = if f.levels.is_none() { format!("mean {:.6}, ", f.mean) } else { String::new() };
        let text = format!("{sql}; {mean}{:.1} % missing, {}", 100.0 * f.missing_share, f.encoding());
        rows.push(("feature", f.name.clone(), Some(text)));
    }
    rows
}

#[async_trait]
impl RelationFunction for ModelInfo {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn schema(&self, _: &dyn KeyTypes, _: &CallArgs) -> Result<SchemaRef> {
        Ok(schema())
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let model = record(pin, args.text("model").unwrap_or_default())?;
        let wanted = args.whole("version", u64::from(model.active));
        let Some(v) = model.versions.iter().find(|v| u64::from(v.version) == wanted) else {
            let have: Vec<String> = model.versions.iter().map(|v| v.version.to_string()).collect();
            return plan_err!("model '{}' has no version {wanted}. Versions: {}", model.name, have.join(", "));
        };
        let mut rows: Vec<(&str, String, Option<String>)> = vec![
            ("model", "name".into(), Some(model.name.clone())),
            ("model", "version".into(), Some(v.version.to_string())),
            ("model", "active".into(), Some((v.version == model.active).to_string())),
            ("model", "model_type".into(), Some(v.model_type.clone())),
            ("model", "target".into(), Some(v.target.clone())),
            ("model", "origin".into(), Some(model.origin.to_string())),
            ("model", "created_at".into(), time_text(v.created_at_us)),
            ("model", "seconds".into(), Some(format!("{:.3}", v.seconds))),
            ("model", "comment".into(), v.comment.clone()),
            ("data", "as_of".into(), time_text(v.as_of_us)),
            ("data", "rows".into(), Some(v.data_rows.to_string())),
            ("data", "users".into(), Some(v.users.to_string())),
            ("data", "train_from".into(), v.train_from_us.and_then(time_text)),
            ("data", "train_to".into(), v.train_to_us.and_then(time_text)),
            ("data", "eval_from".into(), v.eval_from_us.and_then(time_text)),
            ("data", "eval_to".into(), v.eval_to_us.and_then(time_text)),
            ("data", "fingerprint".into(), Some(v.data_fingerprint.clone())),
            ("data", "stale".into(), Some(pin.stale_reason(&model.name, v.version).await?.unwrap_or_else(|| "no".into()))),
        ];
        rows.extend(v.options.iter().map(|(k, o)| ("option", k.clone(), Some(o.clone()))));
        rows.extend(v.parameters.iter().map(|(k, p)| ("parameter", k.clone(), Some(p.to_string()))));
        if v.family == Family::Supervised.name() && v.version == model.active {
            let fitted = pin.supervised(&model.name).await?;
            rows.extend(described(&fitted.model));
        }
        rows.extend(v.metrics.iter().map(|(k, m)| ("evaluation", k.clone(), Some(m.to_string()))));
        rows.extend(v.warnings.iter().enumerate().map(|(i, w)| ("warning", (i + 1).to_string(), Some(w.clone()))));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.0))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.1))),
            Arc::new(rows.iter().map(|r| r.2.as_deref()).collect::<StringArray>()),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?.project(projection)?)
    }
}
