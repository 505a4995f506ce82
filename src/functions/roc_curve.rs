//! `roc_curve('m')`: what every threshold of a classifier catches, and at which cost in false alarms.

use datafusion::arrow::array::{ArrayRef, RecordBatch};

use super::common::{floats_of, rows_of};
use super::labelled::{COUNTS, MODEL, classified, counts_of};
use super::prelude::*;
use crate::models::metrics::roc_curve;

#[derive(Debug)]
pub struct RocCurve;

static SPEC: FunctionSpec = FunctionSpec {
    name: "roc_curve",
    section: "Prediction",
    form: Form::Table,
    arguments: &[MODEL],
    returns: "",
    unit: "",
    columns: &[
        ("threshold", "Float64", "flagged is a probability of this at least; NULL for the first point, at which nobody is"),
        ("recall", "Float64", "flagged of the rows with the label"),
        ("false_positive_rate", "Float64", "flagged of the rows without"),
        COUNTS[0],
        COUNTS[1],
        COUNTS[2],
        COUNTS[3],
    ],
    summary: "The ROC curve of a classifier, a row a threshold.",
    behaviour: &[
        "On the rows that were held out when the active version was made: of a model of a window, the customers as of its evaluation cut-off.",
        "Columns as in BigQuery ML's ML.ROC_CURVE.",
    ],
    nulls: "",
    method: "",
    source: "",
    limits: "",
    example: "CREATE MODEL c2 PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'logistic_reg'); SELECT count(*) > 2 AS points, min(recall) AS least, max(recall) AS most FROM roc_curve('c2')",
};

#[async_trait]
impl RelationFunction for RocCurve {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let (_, scores, labels) = classified(pin, args).await?;
        let points = roc_curve(&scores, &labels).unwrap_or_default();
        let mut columns: Vec<ArrayRef> = vec![
            floats_of(&points, |p| p.threshold),
            floats_of(&points, |p| Some(p.recall)),
            floats_of(&points, |p| Some(p.false_positive_rate)),
        ];
        columns.extend(counts_of(&points, |p| p.confusion));
        rows_of(&SPEC, columns, projection)
    }
}
