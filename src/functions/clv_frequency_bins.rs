//! `clv_frequency_bins('m')`: expected and actual purchases by how often customers had purchased.

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};

use super::common::{HOLDOUT, MODEL};
use super::prelude::*;

#[derive(Debug)]
pub struct ClvFrequencyBins;

static SPEC: FunctionSpec = FunctionSpec {
    name: "clv_frequency_bins",
    section: "Models",
    form: Form::Table,
    arguments: &[
        MODEL,
        HOLDOUT,
        Argument { name: "bins", kind: ArgKind::Count, default: Some("8"), about: "number of bins, the last of which is open" },
    ],
    returns: "",
    unit: "",
    columns: &[
        ("frequency", "Utf8", "repeat purchase days before the hold-out: '0', '1', …, '7+'"),
        ("customers", "Int64", "customers in the bin"),
        ("expected", "Float64", "mean purchase days expected of them in the hold-out"),
        ("actual", "Float64", "mean purchase days that came"),
        ("expected_total", "Float64", "expected, of all of them"),
        ("actual_total", "Float64", "actual, of all of them"),
    ],
    summary: "Conditional expectations: what was expected of customers by how often they had purchased, and what came.",
    behaviour: &["The model's type is fitted anew to the events before the latest hold-out, and judged on it."],
    nulls: "",
    method: "As in figure 6 of the source, on the latest hold-out.",
    source: super::common::FHL,
    limits: "",
    example: "SELECT frequency, customers, round(expected, 3) AS expected, round(actual, 3) AS actual FROM clv_frequency_bins()",
};

fn schema() -> SchemaRef {
    let int = |n: &str| Field::new(n, DataType::Int64, true);
    let float = |n: &str| Field::new(n, DataType::Float64, true);
    let text = Field::new("frequency", DataType::Utf8, false);
    Arc::new(Schema::new(vec![text, int("customers"), float("expected"), float("actual"), float("expected_total"), float("actual_total")]))
}

#[async_trait]
impl RelationFunction for ClvFrequencyBins {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn schema(&self, _: &dyn KeyTypes, _: &CallArgs) -> Result<SchemaRef> {
        Ok(schema())
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let folds = pin.backtest(args.text("model"), 1, args.span("holdout")).await?;
        let last = args.whole("bins", 8) as usize - 1;
        let mut bins = vec![(0_i64, 0.0, 0.0); last + 1];
        for fold in &folds {
            for i in 0..fold.x.len() {
                let (n, expected, actual) = &mut bins[(fold.x[i] as usize).min(last)];
                *n += 1;
                *expected += fold.expected[i];
                *actual += fold.actual[i];
            }
        }
        let names = (0..=last).map(|x| if x == last { format!("{x}+") } else { x.to_string() });
        let float = |f: &dyn Fn(&(i64, f64, f64)) -> f64| -> ArrayRef {
            Arc::new(bins.iter().map(|b| Some(f(b)).filter(|v| v.is_finite())).collect::<Float64Array>())
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(names)),
            Arc::new(Int64Array::from_iter_values(bins.iter().map(|b| b.0))),
            float(&|b| b.1 / b.0 as f64),
            float(&|b| b.2 / b.0 as f64),
            float(&|b| b.1),
            float(&|b| b.2),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?.project(projection)?)
    }
}
