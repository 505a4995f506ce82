//! `feature_importance('m')`: how much each feature of a supervised model counts.

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};

use super::labelled::MODEL;
use super::prelude::*;
use crate::models::supervised::Importance;

#[derive(Debug)]
pub struct FeatureImportance;

static SPEC: FunctionSpec = FunctionSpec {
    name: "feature_importance",
    section: "Prediction",
    form: Form::Table,
    arguments: &[MODEL],
    returns: "",
    unit: "",
    columns: &[
        ("rank", "Int64", "1 = the feature that matters most to the hold-out; to the model, where there is none"),
        ("feature", "Utf8", "its name, as in model_info()"),
        (
            "gain",
            "Float64",
            "its share in the model's own measure: gain of its splits, or size of its coefficients on standardised columns; all sum to 1",
        ),
        (
            "permutation",
            "Float64",
            "by how much the hold-out's loss (log-loss; mean absolute error of a number) grows when its values are dealt to other rows",
        ),
        ("low", "Float64", "95 % interval of that over the deals, lower end"),
        ("high", "Float64", "upper end"),
    ],
    summary: "How much each feature of a model counts: in the model itself, and for what was held out.",
    behaviour: &[
        "Permutation importance is that of the evaluated model, on at most 2,000 rows of the hold-out, evenly taken, dealt five times.",
    ],
    nulls: "permutation, low and high are 0 where nothing was held out.",
    method: "Mean gain of splits; permutation importance.",
    source: "Breiman (2001), Random forests, Machine Learning 45(1), § 10",
    limits: "Features that say the same share their importance: each alone may seem to matter little.",
    example: "CREATE MODEL churn40 PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'logistic_reg'); SELECT round(sum(gain), 6) AS gain FROM feature_importance('churn40')",
};

fn schema() -> SchemaRef {
    let t = |name: &str| match name {
        "rank" => DataType::Int64,
        "feature" => DataType::Utf8,
        _ => DataType::Float64,
    };
    Arc::new(Schema::new(SPEC.columns.iter().map(|(n, _, _)| Field::new(*n, t(n), true)).collect::<Vec<_>>()))
}

#[async_trait]
impl RelationFunction for FeatureImportance {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn schema(&self, _: &dyn KeyTypes, _: &CallArgs) -> Result<SchemaRef> {
        Ok(schema())
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let fitted = pin.supervised(args.text("model").unwrap_or_default()).await?;
        let mut all: Vec<&Importance> = fitted.model.importance.iter().collect();
        let size = |i: &Importance| (i.permutation, i.gain);
        all.sort_by(|a, b| size(b).0.total_cmp(&size(a).0).then(size(b).1.total_cmp(&size(a).1)).then(a.feature.cmp(&b.feature)));
        let float = |f: fn(&Importance) -> f64| -> ArrayRef { Arc::new(all.iter().map(|i| Some(f(i))).collect::<Float64Array>()) };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(1..=all.len() as i64)),
            Arc::new(StringArray::from_iter_values(all.iter().map(|i| &i.feature))),
            float(|i| i.gain),
            float(|i| i.permutation),
            float(|i| i.low),
            float(|i| i.high),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?.project(projection)?)
    }
}
