//! The customers of a snapshot: one aggregation over the events, kept as dense arrays by customer code.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, StructArray, UInt32Array, new_empty_array};
use datafusion::arrow::compute::{concat, take};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::{AggregateUDF, LogicalPlan, LogicalPlanBuilder, Partitioning, cast, col, lit};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

use super::keys::KeyIndex;
use super::summary::{CustomerSummary, DAY_US, day_of};
use crate::events::{EventColumn, Snapshot};

/// Every user of a snapshot, ascending by key; a user's position is its code. Arrays have one entry a user.
#[derive(Debug)]
pub struct Customers {
    pub keys: KeyIndex,
    pub as_of_us: i64,
    /// First and last purchase, µs since 1970; meaningless where `orders` is 0.
    pub first_us: Vec<i64>,
    pub last_us: Vec<i64>,
    /// Distinct orders; 0 for a user who never purchased.
    pub orders: Vec<u32>,
    /// Repeat purchase days.
    pub x: Vec<u32>,
    /// Days from the first to the last purchase day.
    pub t_x: Vec<u32>,
    /// Days from the first purchase day to `as_of`.
    pub t: Vec<u32>,
    /// Sum of purchases, and of refunds (≥ 0), in millionths of the currency's unit.
    pub gross: Vec<i64>,
    pub refunded: Vec<i64>,
    /// Orders, purchase days and repeat purchase days with a known value.
    pub valued_orders: Vec<u32>,
    pub valued_days: Vec<u32>,
    pub repeat_valued: Vec<u32>,
    /// Mean value of a repeat purchase day with a known value, in the currency's unit; 0 where there is none.
    pub mean_value: Vec<f64>,
    /// Sum of squared gaps between purchase days, days².
    pub gap_sq: Vec<i64>,
    pub calibration: Option<Calibration>,
    /// Their share of the engine's memory.
    memory: MemoryReservation,
}

/// The same customers as of an earlier cut, with what they did after it: what a model is judged on.
#[derive(Debug)]
pub struct Calibration {
    pub cut_us: i64,
    /// Days between the cut and `as_of`.
    pub horizon_days: f64,
    /// Codes of the customers who had purchased by the cut; the arrays below are parallel to it.
    pub codes: Vec<u32>,
    pub x: Vec<u32>,
    pub t_x: Vec<u32>,
    pub t: Vec<u32>,
    /// Purchase days after the cut.
    pub after: Vec<u32>,
}

/// Where the calibration period ends: `holdout_days` before `as_of`, unless the log is too short for that (a third of it).
/// `None` when nothing is held out.
fn cut(snapshot: &Snapshot, holdout_days: f64) -> Option<i64> {
    let span = snapshot.as_of_us - snapshot.min_us;
    let holdout = ((holdout_days * DAY_US as f64) as i64).min(span / 3);
    (holdout >= 7 * DAY_US).then(|| snapshot.as_of_us - holdout)
}

/// The aggregation over `snapshot.plan`: one row a user, `user_id` and the struct of [`super::summary::summary_fields`].
pub fn plan(snapshot: &Snapshot, cut_us: i64, partitions: usize) -> Result<LogicalPlan> {
    let money = if snapshot.contract.has(EventColumn::Amount) {
        col("millionths")
    } else {
        cast(lit(datafusion::common::ScalarValue::Null), DataType::Int64)
    };
    let summary = AggregateUDF::from(CustomerSummary::new(cut_us));
    let summary = summary.call(vec![col("ts_us"), col("kind"), money, col("order_key")]).alias("summary");
    // By user first: then each partition aggregates once, instead of twice.
    let mut b = LogicalPlanBuilder::from(snapshot.plan.clone());
    if partitions > 1 {
        b = b.repartition(Partitioning::Hash(vec![col("user_id")], partitions))?;
    }
    b.aggregate(vec![col("user_id")], vec![summary])?.build()
}

impl Customers {
    /// Reads the snapshot. `holdout_days` is the length of the period after [`Calibration`]'s cut.
    pub async fn read(state: &SessionState, snapshot: &Snapshot, holdout_days: f64) -> Result<Self> {
        let cut_us = cut(snapshot, holdout_days);
        let partitions = state.config().target_partitions();
        let plan = plan(snapshot, cut_us.unwrap_or(snapshot.as_of_us), partitions)?;
        let ctx = SessionContext::new_with_state(state.clone());
        let mut stream = ctx.execute_logical_plan(plan).await?.execute_stream().await?;
        let memory = MemoryConsumer::new("customers").register(&state.runtime_env().memory_pool);
        let mut batches = vec![];
        while let Some(batch) = stream.try_next().await? {
            for column in batch.columns() {
                memory.try_grow(column.to_data().get_slice_memory_size()?)?;
            }
            batches.push(batch);
        }
        let users: Vec<&dyn Array> = batches.iter().map(|b| b.column(0).as_ref()).collect();
        let sums: Vec<&dyn Array> = batches.iter().map(|b| b.column(1).as_ref()).collect();
        let users = if users.is_empty() { new_empty_array(&snapshot.contract.user_type) } else { concat(&users)? };
        let (keys, codes) = KeyIndex::build(&users)?;
        let mut order = vec![0u32; codes.len()];
        for (row, &code) in codes.iter().enumerate() {
            order[code as usize] = row as u32;
        }
        let summary: ArrayRef = match sums.is_empty() {
            true => Arc::new(StructArray::new_null(super::summary::summary_fields(), 0)),
            false => take(&concat(&sums)?, &UInt32Array::from(order), None)?,
        };
        drop(batches);
        let customers = Self::from_summary(keys, summary.as_struct(), snapshot, cut_us, memory)?;
        customers.memory.try_resize(customers.size())?;
        Ok(customers)
    }

    fn from_summary(
        keys: KeyIndex,
        summary: &StructArray,
        snapshot: &Snapshot,
        cut_us: Option<i64>,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let column = |name: &str| -> Result<&Int64Array> {
            let c = summary.column_by_name(name).ok_or_else(|| internal_datafusion_err!("no summary field {name}"))?;
            Ok(c.as_primitive::<Int64Type>())
        };
        let small = |name: &str| -> Result<Vec<u32>> { Ok(column(name)?.values().iter().map(|&v| v as u32).collect()) };
        let large = |name: &str| -> Result<Vec<i64>> { Ok(column(name)?.values().to_vec()) };
        let (orders, x, first_us) = (small("orders")?, small("x")?, large("first_us")?);
        let days_until = |until: i64, code: usize| (day_of(until) - day_of(first_us[code])).clamp(0, i64::from(u32::MAX)) as u32;
        let t = (0..orders.len()).map(|c| if orders[c] == 0 { 0 } else { days_until(snapshot.as_of_us, c) }).collect();
        let repeat = column("repeat_value")?;
        let repeat_valued = small("repeat_valued")?;
        let mean = |(&n, &v): (&u32, &i64)| if n == 0 { 0.0 } else { v as f64 / 1e6 / f64::from(n) };
        let mean_value = repeat_valued.iter().zip(repeat.values()).map(mean).collect();
        let calibration = match cut_us {
            None => None,
            Some(cut_us) => {
                let (cut_orders, cx, ctx, after) = (small("cut_orders")?, small("cut_x")?, small("cut_t_x")?, small("after_days")?);
                let codes: Vec<u32> = (0..orders.len() as u32).filter(|&c| cut_orders[c as usize] > 0).collect();
                let pick = |v: &[u32]| codes.iter().map(|&c| v[c as usize]).collect::<Vec<u32>>();
                let t = codes.iter().map(|&c| days_until(cut_us, c as usize)).collect();
                let horizon_days = (snapshot.as_of_us - cut_us) as f64 / DAY_US as f64;
                Some(Calibration { cut_us, horizon_days, x: pick(&cx), t_x: pick(&ctx), after: pick(&after), t, codes })
            }
        };
        Ok(Self {
            keys,
            as_of_us: snapshot.as_of_us,
            last_us: large("last_us")?,
            t_x: small("t_x")?,
            gross: large("gross")?,
            refunded: large("refunded")?,
            gap_sq: large("gap_sq")?,
            valued_orders: small("valued_orders")?,
            valued_days: small("valued_days")?,
            repeat_valued,
            first_us,
            orders,
            x,
            t,
            mean_value,
            calibration,
            memory,
        })
    }

    /// Number of users, with and without purchases.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Codes of the users who have purchased.
    pub fn purchasers(&self) -> Vec<u32> {
        (0..self.len() as u32).filter(|&c| self.orders[c as usize] > 0).collect()
    }

    /// Days from the last purchase to `as_of`.
    pub fn recency_days(&self, code: usize) -> f64 {
        (self.as_of_us - self.last_us[code]) as f64 / DAY_US as f64
    }

    /// Purchases less refunds, in the currency's unit.
    pub fn net_value(&self, code: usize) -> f64 {
        (self.gross[code] - self.refunded[code]) as f64 / 1e6
    }

    /// Bytes held.
    fn size(&self) -> usize {
        let calibration = self.calibration.as_ref().map_or(0, |c| c.codes.len() * 5 * size_of::<u32>());
        self.keys.size() + self.len() * (6 * size_of::<i64>() + 7 * size_of::<u32>()) + calibration
    }
}
