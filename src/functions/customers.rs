//! `customers()`: one wide row a user, for reports and BI tools.

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::internal_err;
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{LogicalPlanBuilder, col, lit};

use super::churn_prob::ChurnProb;
use super::churn_risk::ChurnRisk;
use super::clv::Clv;
use super::clv_high::ClvHigh;
use super::clv_low::ClvLow;
use super::common::label;
use super::historic_value::HistoricValue;
use super::next_order_date::NextOrderDate;
use super::p_alive::PAlive;
use super::prelude::*;
use super::purchase_prob::PurchaseProb;
use super::rfm::RfmFunction;
use super::total_value::TotalValue;
use crate::events::{EventColumn, run};
use crate::features::{Customers, NO_CODE, day_of};
use crate::models::ModelError;

#[derive(Debug)]
pub struct CustomersFunction;

const US: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

static SPEC: FunctionSpec = FunctionSpec {
    name: "customers",
    section: "Customer value",
    form: Form::Table,
    arguments: &[
        Argument { name: "as_of", kind: ArgKind::Time, default: Some("tenure.as_of"), about: "the moment taken as now" },
        Argument {
            name: "horizon",
            kind: ArgKind::Days,
            default: Some("365"),
            about: "length of the future window of clv and total_value",
        },
    ],
    returns: "",
    unit: "",
    columns: &[
        ("user_id", "as in events", "the customer"),
        ("first_ts", "Timestamp", "first purchase, UTC"),
        ("last_ts", "Timestamp", "last purchase, UTC"),
        ("tenure_days", "Int64", "days from the first purchase day to as_of"),
        ("n_orders", "Int64", "distinct orders"),
        ("repeat_orders", "Int64", "orders after the first"),
        ("recency_days", "Float64", "days from the last purchase to as_of"),
        ("monetary", "Float64", "purchases less refunds, in the currency's unit; NULL without amounts"),
        ("aov", "Float64", "average order value: purchases per order of known value"),
        ("avg_days_between_orders", "Float64", "mean gap between purchase days; NULL with one"),
        ("top_channel", "Utf8", "the channel with most events; ties by name"),
        ("r", "Int64", "recency score, 5 = most recent"),
        ("f", "Int64", "frequency score"),
        ("m", "Int64", "monetary score"),
        ("segment", "Utf8", "as segment(user_id)"),
        ("p_alive", "Float64", "as p_alive(user_id)"),
        ("clv", "Float64", "as clv(user_id, horizon)"),
        ("clv_low", "Float64", "as clv_low(user_id, horizon), 90 %"),
        ("clv_high", "Float64", "as clv_high(user_id, horizon), 90 %"),
        ("churn_prob", "Float64", "as churn_prob(user_id), 90 days"),
        ("churn_risk", "Utf8", "as churn_risk(user_id), 90 days"),
        ("purchase_prob", "Float64", "as purchase_prob(user_id), 30 days"),
        ("next_order_date", "Timestamp", "as next_order_date(user_id)"),
        ("historic_value", "Float64", "as historic_value(user_id)"),
        ("total_value", "Float64", "as total_value(user_id, horizon)"),
        ("as_of", "Timestamp", "the moment the row speaks of, UTC"),
        ("horizon_days", "Float64", "length of the future window of clv"),
        ("model_version", "Utf8", "the lifetime model behind the figures"),
    ],
    summary: "Everything known of every customer, one row each.",
    behaviour: &[
        "Only the columns a query asks for are computed.",
        "Where a model cannot be fitted (too few customers or repeat purchases, no amount) its columns are NULL; SELECT * FROM readiness() says why.",
        "Rows come in ascending order of user_id within each partition; use ORDER BY for an order of the whole.",
        "as_of moves the columns of this table only: a function called beside it, such as clv(user_id), keeps to tenure.as_of.",
    ],
    nulls: "Users who never purchased have a row with segment 'prospect' and no figures.",
    method: "See the functions named in the columns.",
    source: "",
    limits: "",
    example: "SELECT user_id, n_orders, segment, round(clv, 2) AS clv, churn_risk FROM customers() ORDER BY clv DESC NULLS LAST, user_id LIMIT 3",
};

fn column_type(name: &str, types: &dyn KeyTypes) -> DataType {
    match name {
        "user_id" => types.user_type(),
        "first_ts" | "last_ts" | "as_of" | "next_order_date" => US,
        "tenure_days" | "n_orders" | "repeat_orders" | "r" | "f" | "m" => DataType::Int64,
        "top_channel" | "segment" | "churn_risk" | "model_version" => DataType::Utf8,
        _ => DataType::Float64,
    }
}

#[async_trait]
impl RelationFunction for CustomersFunction {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn schema(&self, types: &dyn KeyTypes, _: &CallArgs) -> Result<SchemaRef> {
        Ok(Arc::new(Schema::new(SPEC.columns.iter().map(|(n, _, _)| Field::new(*n, column_type(n, types), true)).collect::<Vec<_>>())))
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let customers = pin.customers().await?;
        let (mut fields, mut columns) = (vec![], vec![]);
        for &at in projection {
            let name = SPEC.columns[at].0;
            let column = column(name, pin, args, &customers).await?;
            fields.push(Field::new(name, column.data_type().clone(), true));
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(customers.len()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }
}

/// A column computed from the summary of every customer who has purchased.
fn of_buyers<T>(customers: &Customers, value: impl Fn(usize) -> T) -> impl Iterator<Item = Option<T>> {
    (0..customers.len()).map(move |c| (customers.orders[c] > 0).then(|| value(c)))
}

async fn column(name: &str, pin: &dyn Pin, args: &CallArgs, c: &Customers) -> Result<ArrayRef> {
    let n = c.len();
    Ok(match name {
        "user_id" => Arc::clone(&c.keys.array),
        "first_ts" => Arc::new(of_buyers(c, |i| c.first_us[i]).collect::<TimestampMicrosecondArray>()),
        "last_ts" => Arc::new(of_buyers(c, |i| c.last_us[i]).collect::<TimestampMicrosecondArray>()),
        "tenure_days" => Arc::new(of_buyers(c, |i| day_of(c.as_of_us) - day_of(c.first_us[i])).collect::<Int64Array>()),
        "n_orders" => Arc::new(Int64Array::from_iter_values(c.orders.iter().map(|&o| i64::from(o)))),
        "repeat_orders" => Arc::new(Int64Array::from_iter_values(c.orders.iter().map(|&o| i64::from(o.saturating_sub(1))))),
        "recency_days" => Arc::new(of_buyers(c, |i| c.recency_days(i)).collect::<Float64Array>()),
        "monetary" => figure(&HistoricValue, pin, args, n).await?,
        "aov" => {
            let mean = |i: usize| c.gross[i] as f64 / 1e6 / f64::from(c.valued_orders[i]);
            Arc::new((0..n).map(|i| (c.valued_orders[i] > 0).then(|| mean(i))).collect::<Float64Array>())
        }
        "avg_days_between_orders" => {
            let gap = |i: usize| {
                let mine = c.history.of(i);
                (mine.repeats() > 0).then(|| (mine.last() - i64::from(mine.days[0])) as f64 / mine.repeats() as f64)
            };
            Arc::new((0..n).map(gap).collect::<Float64Array>())
        }
        "top_channel" => top_channel(pin, c).await?,
        "r" | "f" | "m" | "segment" => match figure(&RfmFunction, pin, args, n).await?.as_struct().column_by_name(name) {
            Some(column) => Arc::clone(column),
            None => return internal_err!("rfm has no field {name}"),
        },
        "p_alive" => figure(&PAlive, pin, args, n).await?,
        "clv" => figure(&Clv, pin, args, n).await?,
        "clv_low" => figure(&ClvLow, pin, args, n).await?,
        "clv_high" => figure(&ClvHigh, pin, args, n).await?,
        "purchase_prob" => figure(&PurchaseProb, pin, &CallArgs::new(PurchaseProb.spec(), vec![])?, n).await?,
        "next_order_date" => figure(&NextOrderDate, pin, &CallArgs::new(NextOrderDate.spec(), vec![])?, n).await?,
        "churn_prob" => figure(&ChurnProb, pin, &CallArgs::new(ChurnProb.spec(), vec![])?, n).await?,
        "churn_risk" => figure(&ChurnRisk, pin, &CallArgs::new(ChurnRisk.spec(), vec![])?, n).await?,
        "historic_value" => figure(&HistoricValue, pin, args, n).await?,
        "total_value" => figure(&TotalValue, pin, args, n).await?,
        "as_of" => Arc::new(TimestampMicrosecondArray::from_value(c.as_of_us, n)),
        "horizon_days" => Arc::new(Float64Array::from_value(args.days("horizon", c.as_of_us, 365.0), n)),
        "model_version" => match pin.lifetime(None).await {
            Ok(m) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(label(&m), n))),
            Err(e) if cannot_carry(&e) => new_null_array(&DataType::Utf8, n),
            Err(e) => return Err(e),
        },
        _ => return internal_err!("customers() has no column {name}"),
    })
}

/// A function's values; all NULL where these events cannot carry its model. Any other error stays one.
async fn figure(function: &dyn CustomerFunction, pin: &dyn Pin, args: &CallArgs, n: usize) -> Result<ArrayRef> {
    match function.bind(pin, args).await {
        Ok(Kernel::Values(v)) => Ok(v),
        Ok(Kernel::Lists(_)) => internal_err!("a column of customers() is one value a user"),
        Err(e) if cannot_carry(&e) => Ok(new_null_array(&function.data_type(&NoKeys), n)),
        Err(e) => Err(e),
    }
}

/// Whether the data, and not the program, is why there is no answer.
pub fn cannot_carry(e: &DataFusionError) -> bool {
    match e.find_root() {
        DataFusionError::External(e) => {
            matches!(e.downcast_ref(), Some(ModelError::TooLittleData(_) | ModelError::NotConverged { .. }))
        }
        _ => false,
    }
}

/// The columns of customers() do not depend on the types of keys.
#[derive(Debug)]
struct NoKeys;

impl KeyTypes for NoKeys {
    fn user_type(&self) -> DataType {
        DataType::Null
    }

    fn item_type(&self) -> DataType {
        DataType::Null
    }
}

/// The channel each customer has most events in.
async fn top_channel(pin: &dyn Pin, customers: &Customers) -> Result<ArrayRef> {
    let snapshot = pin.snapshot().await?;
    let n = customers.len();
    if !snapshot.contract.has(EventColumn::Channel) {
        return Ok(new_null_array(&DataType::Utf8, n));
    }
    let plan = LogicalPlanBuilder::from(snapshot.plan.clone())
        .filter(col("channel").is_not_null())?
        .aggregate(vec![col("user_id"), col("channel")], vec![count(lit(1)).alias("n")])?
        .build()?;
    let mut best: Vec<Option<(i64, String)>> = vec![None; n];
    for b in run(pin.state(), plan).await? {
        let codes = customers.keys.lookup(b.column(0))?;
        let channels = datafusion::arrow::compute::cast(b.column(1), &DataType::Utf8)?;
        let (channels, counts) = (channels.as_string::<i32>(), b.column(2).as_primitive::<datafusion::arrow::datatypes::Int64Type>());
        for (i, &code) in codes.iter().enumerate().filter(|(_, c)| **c != NO_CODE) {
            let (count, name) = (counts.value(i), channels.value(i));
            let held = &mut best[code as usize];
            if held.as_ref().is_none_or(|(k, other)| count > *k || (count == *k && name < other.as_str())) {
                *held = Some((count, name.to_owned()));
            }
        }
    }
    Ok(Arc::new(best.into_iter().map(|b| b.map(|(_, name)| name)).collect::<StringArray>()))
}
