//! `confusion_matrix('m')`: who was flagged, and who should have been.

use datafusion::arrow::array::BooleanArray;
use datafusion::arrow::array::{ArrayRef, RecordBatch};

use super::common::{floats_of, integers_of, rows_of};
use super::labelled::{MODEL, classified};
use super::prelude::*;
use crate::models::metrics::Confusion;

#[derive(Debug)]
pub struct ConfusionMatrix;

static SPEC: FunctionSpec = FunctionSpec {
    name: "confusion_matrix",
    section: "Prediction",
    form: Form::Table,
    arguments: &[
        MODEL,
        Argument { name: "threshold", kind: ArgKind::Share, default: Some("0.5"), about: "flagged is a probability of this at least" },
    ],
    returns: "",
    unit: "",
    columns: &[
        ("expected_label", "Boolean", "what came"),
        ("predicted_true", "Int64", "rows of that label that were flagged"),
        ("predicted_false", "Int64", "rows that were not"),
        ("share_flagged", "Float64", "flagged of them"),
    ],
    summary: "How many rows of either label a classifier flagged.",
    behaviour: &[
        "On the rows that were held out when the active version was made: of a model of a window, the customers as of its evaluation cut-off.",
    ],
    nulls: "",
    method: "Counts.",
    source: "",
    limits: "",
    example: "CREATE MODEL c1 PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'logistic_reg'); SELECT expected_label, predicted_true + predicted_false > 0 AS any FROM confusion_matrix('c1') ORDER BY expected_label",
};

#[async_trait]
impl RelationFunction for ConfusionMatrix {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let (_, scores, labels) = classified(pin, args).await?;
        let c = Confusion::at(&scores, &labels, args.number("threshold", 0.5));
        let rows = [(c.true_positives, c.false_negatives), (c.false_positives, c.true_negatives)];
        let share = |r: &(u64, u64)| Some(r.0 as f64 / (r.0 + r.1) as f64);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(BooleanArray::from(vec![true, false])),
            integers_of(&rows, |r| r.0),
            integers_of(&rows, |r| r.1),
            floats_of(&rows, share),
        ];
        rows_of(&SPEC, columns, projection)
    }
}
