//! The customers of a snapshot: one aggregation over the events, kept as dense arrays by customer code.

use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{Array, AsArray, Int64Array, StructArray, new_empty_array};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::{AggregateUDF, LogicalPlan, LogicalPlanBuilder, Partitioning, cast, col, lit};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

use super::history::History;
use super::keys::KeyIndex;
use super::purchasers::Purchasers;
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
    /// Sum of purchases, and of refunds (≥ 0), in millionths of the currency's unit.
    pub gross: Vec<i64>,
    pub refunded: Vec<i64>,
    /// Orders with a known value.
    pub valued_orders: Vec<u32>,
    /// By code.
    pub history: History,
    /// Made when it is first asked for.
    today: OnceLock<Arc<Purchasers>>,
    /// Their share of the engine's memory.
    memory: MemoryReservation,
}

/// The aggregation over `snapshot.plan`: one row a user, `user_id` and the struct of [`super::summary::summary_fields`].
pub fn plan(snapshot: &Snapshot, partitions: usize) -> Result<LogicalPlan> {
    let money = if snapshot.contract.has(EventColumn::Amount) {
        col("millionths")
    } else {
        cast(lit(datafusion::common::ScalarValue::Null), DataType::Int64)
    };
    let summary = AggregateUDF::from(CustomerSummary::default());
    let summary = summary.call(vec![col("ts_us"), col("kind"), money, col("order_key")]).alias("summary");
    // By user first: then each partition aggregates once, instead of twice.
    let mut b = LogicalPlanBuilder::from(snapshot.plan.clone());
    if partitions > 1 {
        b = b.repartition(Partitioning::Hash(vec![col("user_id")], partitions))?;
    }
    b.aggregate(vec![col("user_id")], vec![summary])?.build()
}

impl Customers {
    /// Reads the snapshot.
    pub async fn read(state: &SessionState, snapshot: &Snapshot) -> Result<Self> {
        let partitions = state.config().target_partitions();
        let plan = plan(snapshot, partitions)?;
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
        let users = if users.is_empty() { new_empty_array(&snapshot.contract.user_type) } else { concat(&users)? };
        let (keys, codes) = KeyIndex::build(&users)?;
        // Where each customer's row is: batch and row in it.
        let mut at = vec![(0u32, 0u32); codes.len()];
        let rows = batches.iter().enumerate().flat_map(|(batch, b)| (0..b.num_rows()).map(move |row| (batch as u32, row as u32)));
        for (place, &code) in rows.zip(&codes) {
            at[code as usize] = place;
        }
        let summaries: Vec<&StructArray> = batches.iter().map(|b| b.column(1).as_struct()).collect();
        let customers = Self::from_summaries(keys, &summaries, &at, snapshot, memory)?;
        customers.memory.try_resize(customers.size())?;
        Ok(customers)
    }

    fn from_summaries(
        keys: KeyIndex,
        summaries: &[&StructArray],
        at: &[(u32, u32)],
        snapshot: &Snapshot,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let figure = |name: &str| -> Result<Vec<i64>> {
            let of = |s: &&StructArray| -> Result<Int64Array> {
                let c = s.column_by_name(name).ok_or_else(|| internal_datafusion_err!("no summary field {name}"))?;
                Ok(c.as_primitive::<Int64Type>().clone())
            };
            let columns = summaries.iter().map(of).collect::<Result<Vec<_>>>()?;
            Ok(at.iter().map(|&(batch, row)| columns[batch as usize].value(row as usize)).collect())
        };
        let small = |name: &str| -> Result<Vec<u32>> { Ok(figure(name)?.into_iter().map(|v| v as u32).collect()) };
        Ok(Self {
            keys,
            as_of_us: snapshot.as_of_us,
            first_us: figure("first_us")?,
            last_us: figure("last_us")?,
            orders: small("orders")?,
            gross: figure("gross")?,
            refunded: figure("refunded")?,
            valued_orders: small("valued_orders")?,
            history: History::of_rows(summaries, at.iter().map(|&(batch, row)| (batch as usize, row as usize)))?,
            today: OnceLock::new(),
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

    /// Those who have purchased by `as_of`.
    pub fn today(&self) -> &Arc<Purchasers> {
        self.today.get_or_init(|| Arc::new(Purchasers::as_of(self, day_of(self.as_of_us))))
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

    /// Bytes held, those of `today` included.
    fn size(&self) -> usize {
        let today = self.len() * Purchasers::BYTES_A_CUSTOMER + self.history.days() * Purchasers::BYTES_A_DAY;
        self.keys.size() + self.history.size() + self.len() * (4 * size_of::<i64>() + 2 * size_of::<u32>()) + today
    }
}
