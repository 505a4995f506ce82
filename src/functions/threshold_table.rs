//! `threshold_table('m', cost_fp, cost_fn)`: what every threshold of a classifier costs.

use datafusion::arrow::array::BooleanArray;
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::common::plan_err;

use super::common::{floats_of, integers_of, rows_of};
use super::labelled::{COUNTS, MODEL, classified, counts_of};
use super::prelude::*;
use crate::models::metrics::cost_table;

#[derive(Debug)]
pub struct ThresholdTable;

static SPEC: FunctionSpec = FunctionSpec {
    name: "threshold_table",
    section: "Prediction",
    form: Form::Table,
    arguments: &[
        MODEL,
        Argument {
            name: "cost_fp",
            kind: ArgKind::Number,
            default: Some("1"),
            about: "cost of flagging a row without the label, not negative",
        },
        Argument { name: "cost_fn", kind: ArgKind::Number, default: Some("1"), about: "cost of not flagging a row with it, not negative" },
    ],
    returns: "",
    unit: "",
    columns: &[
        ("threshold", "Float64", "flagged is a probability of this at least; NULL: nobody"),
        ("flagged", "Int64", "rows that are"),
        ("cost", "Float64", "cost_fp × false positives + cost_fn × false negatives"),
        ("cost_per_row", "Float64", "the same over all rows"),
        ("best", "Boolean", "whether it is the cheapest; of equal ones that which flags fewest"),
        ("precision", "Float64", "rows with the label of the flagged"),
        ("recall", "Float64", "flagged of the rows with the label"),
        ("f1_score", "Float64", "harmonic mean of the two"),
        COUNTS[0],
        COUNTS[1],
        COUNTS[2],
        COUNTS[3],
    ],
    summary: "The threshold to act at, given what a false alarm and a miss cost.",
    behaviour: &[
        "On the rows that were held out when the active version was made: of a model of a window, the customers as of its evaluation cut-off.",
    ],
    nulls: "",
    method: "Expected cost.",
    source: "Elkan (2001), The foundations of cost-sensitive learning",
    limits: "With calibrated probabilities the best threshold is near cost_fp / (cost_fp + cost_fn).",
    example: "CREATE MODEL c6 PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'logistic_reg'); SELECT count(*) AS cheapest FROM threshold_table('c6', cost_fp => 1, cost_fn => 5) WHERE best",
};

#[async_trait]
impl RelationFunction for ThresholdTable {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let (_, scores, labels) = classified(pin, args).await?;
        let (cost_fp, cost_fn) = (args.number("cost_fp", 1.0), args.number("cost_fn", 1.0));
        if cost_fp < 0.0 || cost_fn < 0.0 {
            return plan_err!("threshold_table(): costs are not negative: cost_fp = {cost_fp}, cost_fn = {cost_fn}");
        }
        let rows = cost_table(&scores, &labels, cost_fp, cost_fn);
        let mut columns: Vec<ArrayRef> = vec![
            floats_of(&rows, |r| r.cut.threshold),
            integers_of(&rows, |r| r.cut.confusion.flagged()),
            floats_of(&rows, |r| Some(r.cost)),
            floats_of(&rows, |r| Some(r.cost_a_row)),
            Arc::new(rows.iter().map(|r| Some(r.best)).collect::<BooleanArray>()),
            floats_of(&rows, |r| r.cut.confusion.precision()),
            floats_of(&rows, |r| r.cut.confusion.recall()),
            floats_of(&rows, |r| r.cut.confusion.f1()),
        ];
        columns.extend(counts_of(&rows, |r| r.cut.confusion));
        rows_of(&SPEC, columns, projection)
    }
}
