//! `calibration_curve('m')`: what came of rows by the probability they were given.

use datafusion::arrow::array::{ArrayRef, RecordBatch};

use super::common::{floats_of, integers_of, rows_of};
use super::labelled::{MODEL, classified};
use super::prelude::*;
use crate::models::metrics::{Bins, CalibrationBin, calibration_bins};

#[derive(Debug)]
pub struct CalibrationCurve;

static SPEC: FunctionSpec = FunctionSpec {
    name: "calibration_curve",
    section: "Prediction",
    form: Form::Table,
    arguments: &[
        MODEL,
        Argument { name: "bins", kind: ArgKind::Count, default: Some("10"), about: "number of bins" },
        Argument { name: "equal_mass", kind: ArgKind::Flag, default: Some("false"), about: "bins of as many rows, instead of equal width" },
    ],
    returns: "",
    unit: "",
    columns: &[
        ("bin", "Int64", "1 = the lowest probabilities"),
        ("rows", "Int64", "rows in it; a bin without any is left out"),
        ("predicted", "Float64", "mean probability"),
        ("observed", "Float64", "share of rows with the label"),
        ("low", "Float64", "95 % interval of observed, lower end"),
        ("high", "Float64", "upper end"),
    ],
    summary: "Whether the probabilities of a classifier come true.",
    behaviour: &[
        "On the rows that were held out when the active version was made: of a model of a window, the customers as of its evaluation cut-off.",
        "ece in evaluate() is the mean distance of predicted and observed over ten bins of equal width, weighted by rows.",
    ],
    nulls: "",
    method: "Wilson's interval.",
    source: "Wilson (1927); Naeini, Cooper & Hauskrecht (2015)",
    limits: "",
    example: "CREATE MODEL c4 PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'logistic_reg'); SELECT sum(rows) > 0 AS any FROM calibration_curve('c4')",
};

#[async_trait]
impl RelationFunction for CalibrationCurve {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let (_, scores, labels) = classified(pin, args).await?;
        let n = args.whole("bins", 10) as usize;
        let bins = if args.flag("equal_mass", false) { Bins::EqualMass(n) } else { Bins::EqualWidth(n) };
        let bins: Vec<(u64, CalibrationBin)> = (1..).zip(calibration_bins(&scores, &labels, bins)).collect();
        let columns: Vec<ArrayRef> = vec![
            integers_of(&bins, |b| b.0),
            integers_of(&bins, |b| b.1.rows),
            floats_of(&bins, |b| Some(b.1.predicted)),
            floats_of(&bins, |b| Some(b.1.observed)),
            floats_of(&bins, |b| Some(b.1.low)),
            floats_of(&bins, |b| Some(b.1.high)),
        ];
        rows_of(&SPEC, columns, projection)
    }
}
