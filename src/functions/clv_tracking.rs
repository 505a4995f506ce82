//! `clv_tracking('m')`: expected and actual repeat purchases over time.

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef, TimeUnit};

use super::common::{MODEL, context};
use super::pin::blocking;
use super::prelude::*;
use crate::features::DAY_US;
use crate::models::lifetime::Counts;

#[derive(Debug)]
pub struct ClvTracking;

static SPEC: FunctionSpec = FunctionSpec {
    name: "clv_tracking",
    section: "Models",
    form: Form::Table,
    arguments: &[MODEL, Argument { name: "period", kind: ArgKind::Days, default: Some("7"), about: "length of a period, in whole days" }],
    returns: "",
    unit: "",
    columns: &[
        ("period", "Int64", "number of the period, from 1"),
        ("period_end", "Timestamp", "its last day, UTC"),
        ("customers", "Int64", "customers who had made their first purchase by then"),
        ("expected", "Float64", "repeat purchase days expected in the period, of customers of whom nothing but their first day is known"),
        ("actual", "Float64", "repeat purchase days that came"),
        ("cum_expected", "Float64", "expected since the beginning"),
        ("cum_actual", "Float64", "actual since the beginning"),
    ],
    summary: "Tracking data: expected against actual repeat purchases, period by period and cumulated.",
    behaviour: &[
        "Periods begin with the first purchase of all and end at as_of; a last part of a period is left out.",
        "Expected is the sum of E[X(t)] over the customers, as the papers draw it: fit a model AS OF an earlier moment to see how well it tracks what came after.",
    ],
    nulls: "",
    method: "Σ E[X(t)] by days since each customer's first purchase (eq. 9 of the source for BG/NBD).",
    source: super::common::FHL,
    limits: "",
    example: "SELECT period_end, round(cum_expected) AS expected, cum_actual AS actual FROM clv_tracking(period => 28) ORDER BY period DESC LIMIT 3",
};

fn schema() -> SchemaRef {
    let int = |n: &str| Field::new(n, DataType::Int64, false);
    let float = |n: &str| Field::new(n, DataType::Float64, true);
    let time = Field::new("period_end", DataType::Timestamp(TimeUnit::Microsecond, None), false);
    let columns =
        vec![int("period"), time, int("customers"), float("expected"), float("actual"), float("cum_expected"), float("cum_actual")];
    Arc::new(Schema::new(columns))
}

#[async_trait]
impl RelationFunction for ClvTracking {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn schema(&self, _: &dyn KeyTypes, _: &CallArgs) -> Result<SchemaRef> {
        Ok(schema())
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let (customers, fitted) = (pin.customers().await?, pin.lifetime(args.text("model")).await?);
        let context = context(pin, &fitted).await?;
        let width = (args.days("period", customers.as_of_us, 7.0).round() as i64).max(1);
        let rows = blocking(Control::default(), move |control| {
            let p = customers.today();
            let day = |i: usize| p.day - i64::from(p.t[i]);
            let begin = (0..p.codes.len()).map(day).min().unwrap_or(p.day);
            let periods = ((p.day - begin + 1) / width).max(0) as usize;
            let mut actual = vec![0_i64; periods];
            for code in &p.codes {
                for &d in customers.history.of(*code as usize).days.iter().skip(1) {
                    if let Some(n) = actual.get_mut(((i64::from(d) - begin) / width) as usize) {
                        *n += 1;
                    }
                }
            }
            let mut rows = vec![];
            for (k, actual) in actual.into_iter().enumerate() {
                control.check().map_err(fit_error)?;
                let end = begin + width * (k as i64 + 1) - 1;
                let known = (0..p.codes.len()).filter(|&i| day(i) <= end).count();
                // Who has yet to come has an age of 0, at which nothing is expected.
                let age: Vec<u32> = (0..p.codes.len()).map(|i| (end - day(i)).max(0) as u32).collect();
                let zeros = vec![0; age.len()];
                let seen = context.on(p, end);
                let counts =
                    Counts { covariates: seen.covariates.as_ref(), calendar: seen.calendar.as_ref(), ..Counts::new(&zeros, &zeros, &age) };
                let expected: f64 = fitted.model.purchases.expected_new_all(counts, control).map_err(fit_error)?.iter().sum();
                rows.push((end, known as i64, expected, actual));
            }
            Ok(rows)
        })
        .await?;
        let mut cumulated = vec![];
        let mut total = 0;
        for (_, _, _, actual) in &rows {
            total += actual;
            cumulated.push(total as f64);
        }
        let before = |k: usize| k.checked_sub(1).map_or(0.0, |k| rows[k].2);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(1..=rows.len() as i64)),
            Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.0 * DAY_US))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1))),
            Arc::new(Float64Array::from_iter_values((0..rows.len()).map(|k| (rows[k].2 - before(k)).max(0.0)))),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.3 as f64))),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.2))),
            Arc::new(Float64Array::from(cumulated)),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?.project(projection)?)
    }
}
