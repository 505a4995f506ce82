//! `p_alive_history(user_id)`: P(alive) over the time of a customer.

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{Field, Fields, TimeUnit};

use super::common::{BG_NBD, FHL, MODEL, USER, context, list_type, lists_of};
use super::customer::Lists;
use super::pin::Versioned;
use super::prelude::*;
use crate::features::{Context, Customers, DAY_US, NO_CODE, Purchasers, day_of};
use crate::models::lifetime::Lifetime;

#[derive(Debug)]
pub struct PAliveHistory;

static SPEC: FunctionSpec = FunctionSpec {
    name: "p_alive_history",
    section: "Customer value",
    form: Form::ScalarAndTable,
    arguments: &[
        USER,
        Argument {
            name: "step",
            kind: ArgKind::Days,
            default: Some("7"),
            about: "days between two rows; days of purchases have a row as well",
        },
        MODEL,
    ],
    returns: "List<Struct{day, p_alive, purchases}>",
    unit: "probability",
    columns: &[
        ("user_id", "as in events", "the customer; first argument of the call"),
        ("day", "Timestamp", "the day, UTC"),
        ("p_alive", "Float64", "probability of being alive at the end of the day, given the purchases up to it"),
        ("purchases", "Int64", "purchase days so far, the first included"),
    ],
    summary: "How the probability of still being a customer rose with every purchase and fell in between.",
    behaviour: &[
        "From the day of the first purchase to as_of; the last row is p_alive(user_id).",
        "The parameters are those of the model, learned with hindsight; the purchases are those up to each day.",
    ],
    nulls: "NULL user, a user who is not in `events`, and one who never purchased → NULL, or no row.",
    method: BG_NBD,
    source: FHL,
    limits: "",
    example: "SELECT day, round(p_alive, 3) AS p_alive, purchases FROM p_alive_history((SELECT min(user_id) AS user_id FROM events), step => 30) ORDER BY day LIMIT 3",
};

fn row_fields() -> Fields {
    vec![
        Field::new("day", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        Field::new("p_alive", DataType::Float64, false),
        Field::new("purchases", DataType::Int64, false),
    ]
    .into()
}

struct Histories {
    customers: Arc<Customers>,
    fitted: Arc<Versioned<Lifetime>>,
    context: Arc<Context>,
    step: usize,
}

#[async_trait]
impl CustomerFunction for PAliveHistory {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        list_type(row_fields())
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let (customers, fitted) = (pin.customers().await?, pin.lifetime(args.text("model")).await?);
        let context = context(pin, &fitted).await?;
        let step = (args.days("step", customers.as_of_us, 7.0).round() as usize).max(1);
        Ok(Kernel::Lists(Arc::new(Histories { customers, fitted, context, step })))
    }
}

impl Histories {
    /// Days, P(alive) and purchase days so far of one customer.
    fn of(&self, code: u32) -> Vec<(i64, f64, usize)> {
        let mine = self.customers.history.of(code as usize);
        let Some(&first) = mine.days.first() else { return vec![] };
        let (first, last) = (i64::from(first), day_of(self.customers.as_of_us));
        let mut days: Vec<i64> = (first..=last).step_by(self.step).collect();
        days.extend(mine.days.iter().map(|&d| i64::from(d)));
        days.push(last);
        days.sort_unstable();
        days.dedup();
        // One purchaser as of each day.
        let mut all = Purchasers::default();
        for &day in &days {
            all.append(Purchasers::among(&self.customers, day, std::iter::once(code)));
        }
        let purchases = &self.fitted.model.purchases;
        let p_alive: Vec<f64> = if self.context.calendar.is_none() {
            purchases.p_alive_all(all.counts_with(&self.context.of(&all)))
        } else {
            // A calendar is seen from one day at a time.
            let on = |&day: &i64| {
                let p = Purchasers::among(&self.customers, day, std::iter::once(code));
                purchases.p_alive_all(p.counts_with(&self.context.of(&p)))
            };
            days.iter().flat_map(on).collect()
        };
        days.iter().zip(p_alive).zip(&all.x).map(|((day, p), x)| (*day, p, *x as usize + 1)).collect()
    }
}

impl Lists for Histories {
    fn lists(&self, _: &[ArrayRef], codes: &[u32]) -> Result<ArrayRef> {
        let (mut offsets, mut valid) = (vec![0_i32], vec![]);
        let (mut day, mut p_alive, mut purchases) = (vec![], vec![], vec![]);
        for &code in codes {
            let rows = if code == NO_CODE { vec![] } else { self.of(code) };
            valid.push(!rows.is_empty());
            for (d, p, n) in rows {
                day.push(d * DAY_US);
                p_alive.push(p);
                purchases.push(n as i64);
            }
            offsets.push(day.len() as i32);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(day)),
            Arc::new(Float64Array::from(p_alive)),
            Arc::new(Int64Array::from(purchases)),
        ];
        lists_of(row_fields(), columns, offsets, valid)
    }
}
