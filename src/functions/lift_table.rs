//! `lift_table('m')`: how much better than chance the highest scores are.

use datafusion::arrow::array::{ArrayRef, RecordBatch};

use super::common::{floats_of, integers_of, rows_of};
use super::labelled::{MODEL, classified};
use super::prelude::*;
use crate::models::metrics::{LiftRow, lift_table};

#[derive(Debug)]
pub struct LiftTable;

static SPEC: FunctionSpec = FunctionSpec {
    name: "lift_table",
    section: "Prediction",
    form: Form::Table,
    arguments: &[MODEL, Argument { name: "slices", kind: ArgKind::Count, default: Some("10"), about: "number of slices" }],
    returns: "",
    unit: "",
    columns: &[
        ("slice", "Int64", "1 = the highest probabilities"),
        ("rows", "Int64", "rows in it"),
        ("highest", "Float64", "largest probability"),
        ("lowest", "Float64", "smallest"),
        ("positives", "Float64", "rows with the label; not whole where equal scores lie in two slices"),
        ("rate", "Float64", "share of them"),
        ("lift", "Float64", "rate over that of all rows"),
        ("gain", "Float64", "of all rows with the label, those down to here"),
        ("cumulative_lift", "Float64", "rate down to here over that of all rows"),
    ],
    summary: "A classifier's rows in slices from the highest probability down: how many of whom one is looking for are in each.",
    behaviour: &[
        "On the rows that were held out when the active version was made: of a model of a window, the customers as of its evaluation cut-off.",
    ],
    nulls: "",
    method: "",
    source: "",
    limits: "",
    example: "CREATE MODEL c5 PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'logistic_reg'); SELECT max(gain) AS all_of_them FROM lift_table('c5')",
};

#[async_trait]
impl RelationFunction for LiftTable {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let (_, scores, labels) = classified(pin, args).await?;
        let rows = lift_table(&scores, &labels, args.whole("slices", 10) as usize).unwrap_or_default();
        let rows: Vec<(u64, LiftRow)> = (1..).zip(rows).collect();
        let columns: Vec<ArrayRef> = vec![
            integers_of(&rows, |r| r.0),
            integers_of(&rows, |r| r.1.rows),
            floats_of(&rows, |r| Some(r.1.highest)),
            floats_of(&rows, |r| Some(r.1.lowest)),
            floats_of(&rows, |r| Some(r.1.positives)),
            floats_of(&rows, |r| Some(r.1.rate)),
            floats_of(&rows, |r| Some(r.1.lift)),
            floats_of(&rows, |r| Some(r.1.gain)),
            floats_of(&rows, |r| Some(r.1.cumulative_lift)),
        ];
        rows_of(&SPEC, columns, projection)
    }
}
