//! `feature_importance('m')`: how much each feature of a supervised model counts.

use datafusion::arrow::array::{ArrayRef, RecordBatch};

use super::common::{floats_of, integers_of, rows_of, texts_of};
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

#[async_trait]
impl RelationFunction for FeatureImportance {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let fitted = pin.supervised(args.text("model").unwrap_or_default()).await?;
        let mut all: Vec<&Importance> = fitted.model.importance.iter().collect();
        let size = |i: &Importance| (i.permutation, i.gain);
        all.sort_by(|a, b| size(b).0.total_cmp(&size(a).0).then(size(b).1.total_cmp(&size(a).1)).then(a.feature.cmp(&b.feature)));
        let all: Vec<(u64, &Importance)> = (1..).zip(all).collect();
        let columns: Vec<ArrayRef> = vec![
            integers_of(&all, |i| i.0),
            texts_of(&all, |i| Some(i.1.feature.clone())),
            floats_of(&all, |i| Some(i.1.gain)),
            floats_of(&all, |i| Some(i.1.permutation)),
            floats_of(&all, |i| Some(i.1.low)),
            floats_of(&all, |i| Some(i.1.high)),
        ];
        rows_of(&SPEC, columns, projection)
    }
}
