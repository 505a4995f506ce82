//! What customers did besides the value of their purchases: how many events of each kind on which day, and when each first bought an item, in a category,
//! through a channel.

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::compute::cast as cast_array;
use datafusion::arrow::datatypes::{DataType, Int8Type, Int64Type};
use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::functions_aggregate::expr_fn::{count, min};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, ident, lit};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use rayon::prelude::*;
use twox_hash::XxHash3_64;

use super::{Customers, DAY_US, Interner, KeyIndex, NO_CODE};
use crate::events::{EventColumn, Snapshot, kind};

/// Events by customer code, then day.
#[derive(Debug, Default)]
pub struct Activity {
    /// By code of the kind; of no customer where there is no such event in the log.
    kinds: Vec<DayCounts>,
    /// The day on which each customer bought each of these first, ascending; `None` where the events do not have it.
    pub first_items: Option<DayCounts>,
    pub first_categories: Option<DayCounts>,
    pub first_channels: Option<DayCounts>,
    /// Their share of the engine's memory.
    _memory: Option<MemoryReservation>,
}

/// Days of every customer, ascending, and a number on each.
#[derive(Debug, Default)]
pub struct DayCounts {
    /// Customer i has `ends[i−1]..ends[i]`.
    ends: Vec<usize>,
    days: Vec<i32>,
    /// Sum of the numbers up to and with this day, within the customer.
    upto: Vec<u32>,
}

/// One (customer, day, number).
type Row = (u32, i32, u32);

impl DayCounts {
    fn new(customers: usize, mut rows: Vec<Row>) -> Self {
        rows.par_sort_unstable();
        let mut out = Self { ends: vec![0; customers], days: Vec::with_capacity(rows.len()), upto: Vec::with_capacity(rows.len()) };
        let mut at = 0;
        for customer in 0..customers {
            let mut sum = 0u32;
            let from = out.days.len();
            while at < rows.len() && rows[at].0 as usize == customer {
                let (_, day, n) = rows[at];
                sum = sum.saturating_add(n);
                if out.days.len() > from && out.days.last() == Some(&day) {
                    if let Some(last) = out.upto.last_mut() {
                        *last = sum;
                    }
                } else {
                    out.days.push(day);
                    out.upto.push(sum);
                }
                at += 1;
            }
            out.ends[customer] = out.days.len();
        }
        out
    }

    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// Sum of the numbers of a customer after the day `from` and up to `to`.
    pub fn between(&self, customer: usize, from: i64, to: i64) -> u32 {
        self.upto(customer, to) - self.upto(customer, from)
    }

    /// Sum of the numbers of a customer up to a day.
    pub fn upto(&self, customer: usize, day: i64) -> u32 {
        let (days, upto) = self.of(customer);
        let n = days.partition_point(|&d| i64::from(d) <= day);
        if n == 0 { 0 } else { upto[n - 1] }
    }

    /// The last day up to another one.
    pub fn last(&self, customer: usize, day: i64) -> Option<i64> {
        let (days, _) = self.of(customer);
        let n = days.partition_point(|&d| i64::from(d) <= day);
        n.checked_sub(1).map(|i| i64::from(days[i]))
    }

    fn of(&self, customer: usize) -> (&[i32], &[u32]) {
        let Some(&end) = self.ends.get(customer) else { return (&[], &[]) };
        let range = customer.checked_sub(1).map_or(0, |before| self.ends[before])..end;
        (&self.days[range.clone()], &self.upto[range])
    }

    fn size(&self) -> usize {
        self.ends.len() * size_of::<usize>() + self.days.len() * 2 * size_of::<u32>()
    }
}

/// The UTC day of `ts_us`, rounded down, before 1970 too.
fn day() -> Expr {
    let rest = (col("ts_us") % lit(DAY_US) + lit(DAY_US)) % lit(DAY_US);
    ((col("ts_us") - rest) / lit(DAY_US)).alias("day")
}

/// `user_id, kind, day`, number of events.
fn counts_plan(snapshot: &Snapshot) -> Result<LogicalPlan> {
    let columns = vec![col("user_id"), col("kind"), day()];
    let plan = LogicalPlanBuilder::from(snapshot.plan.clone()).project(columns)?;
    plan.aggregate(vec![col("user_id"), col("kind"), col("day")], vec![count(lit(1))])?.build()
}

/// `user_id`, a column, and the day of the first purchase with it.
fn first_plan(snapshot: &Snapshot, column: &str) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(snapshot.plan.clone())
        .filter(ident(column).is_not_null().and(col("kind").eq(lit(kind::PURCHASE))))?
        .project(vec![col("user_id"), ident(column), day()])?
        .aggregate(vec![col("user_id"), ident(column)], vec![min(col("day"))])?
        .build()
}

/// The items that have a category, and its number.
#[derive(Debug)]
pub struct Categories {
    items: KeyIndex,
    by_item: Vec<u32>,
    names: KeyIndex,
}

/// The relation of what is known of the items.
pub const ITEMS: &str = "items";
const CATEGORY: &str = "category";

impl Categories {
    /// From the relation `items`, where there is one with `item_id` and `category`; of several rows of an item the smallest category counts.
    pub async fn read(state: &SessionState) -> Result<Option<Self>> {
        let ctx = SessionContext::new_with_state(state.clone());
        if !ctx.table_exist(ITEMS)? {
            return Ok(None);
        }
        let items = ctx.table(ITEMS).await?;
        if ["item_id", CATEGORY].iter().any(|c| !items.schema().has_column_with_unqualified_name(c)) {
            return Ok(None);
        }
        let items = items.filter(ident("item_id").is_not_null().and(ident(CATEGORY).is_not_null()))?;
        let batches = items.aggregate(vec![ident("item_id")], vec![min(ident(CATEGORY)).alias(CATEGORY)])?.collect().await?;
        let (mut keys, mut categories) = (Interner::default(), Interner::default());
        let mut of = vec![];
        for b in &batches {
            keys.intern(b.column(0))?;
            of.extend(categories.intern(&cast_array(b.column(1), &DataType::Utf8)?)?);
        }
        let (items, codes) = keys.finish(&DataType::Utf8)?;
        let (names, numbers) = categories.finish(&DataType::Utf8)?;
        let mut by_code = vec![NO_CODE; items.len()];
        codes.iter().zip(of).for_each(|(&code, category): (&u32, u32)| by_code[code as usize] = numbers[category as usize]);
        Ok(Some(Self { items, by_item: by_code, names }))
    }

    /// The number of the category of each item, [`NO_CODE`] where it has none.
    pub fn of(&self, items: &ArrayRef) -> Result<Vec<u32>> {
        let of = |item: u32| if item == NO_CODE { NO_CODE } else { self.by_item[item as usize] };
        Ok(self.items.lookup(items)?.into_iter().map(of).collect())
    }

    /// The categories by number, ascending.
    pub fn names(&self) -> &ArrayRef {
        &self.names.array
    }

    /// Which item has which category, in a number.
    pub fn fingerprint(&self) -> Result<u64> {
        let mut hash = 0;
        for keys in [&self.items, &self.names] {
            let text = cast_array(&keys.array, &DataType::Utf8)?;
            for key in text.as_string::<i32>().iter().flatten() {
                hash = XxHash3_64::oneshot_with_seed(hash, key.as_bytes());
            }
        }
        Ok(self.by_item.iter().fold(hash, |hash, code| XxHash3_64::oneshot_with_seed(hash, &code.to_le_bytes())))
    }
}

impl Activity {
    /// Reads the snapshot: one pass for the counts, one for the items, one for the channels.
    pub async fn read(state: &SessionState, snapshot: &Snapshot, customers: &Customers, categories: Option<&Categories>) -> Result<Self> {
        let ctx = SessionContext::new_with_state(state.clone());
        let memory = MemoryConsumer::new("activity").register(&state.runtime_env().memory_pool);
        let mut kinds: Vec<Vec<Row>> = vec![vec![]; kind::NAMES.len() + 1];
        let mut stream = ctx.execute_logical_plan(counts_plan(snapshot)?).await?.execute_stream().await?;
        while let Some(b) = stream.try_next().await? {
            let codes = customers.keys.lookup(b.column(0))?;
            let (of, days, n) =
                (b.column(1).as_primitive::<Int8Type>(), b.column(2).as_primitive::<Int64Type>(), b.column(3).as_primitive::<Int64Type>());
            memory.try_grow(b.num_rows() * size_of::<Row>())?;
            for (i, &code) in codes.iter().enumerate().filter(|(_, c)| **c != NO_CODE) {
                if let Some(rows) = kinds.get_mut(of.value(i).max(0) as usize) {
                    rows.push((code, clamped(days.value(i)), n.value(i).min(i64::from(u32::MAX)) as u32));
                }
            }
        }
        let mut out = Self { kinds: kinds.into_iter().map(|rows| DayCounts::new(customers.len(), rows)).collect(), ..Self::default() };
        if snapshot.contract.has(EventColumn::ItemId) {
            let mut items = vec![];
            let mut of_category = vec![];
            let mut stream = ctx.execute_logical_plan(first_plan(snapshot, "item_id")?).await?.execute_stream().await?;
            while let Some(b) = stream.try_next().await? {
                let (codes, days) = (customers.keys.lookup(b.column(0))?, b.column(2).as_primitive::<Int64Type>());
                memory.try_grow(2 * b.num_rows() * size_of::<Row>())?;
                let known = codes.iter().enumerate().filter(|(_, c)| **c != NO_CODE);
                items.extend(known.clone().map(|(i, &code)| (code, clamped(days.value(i)), 1)));
                if let Some(categories) = categories {
                    let numbers = categories.of(b.column(1))?;
                    let of = |i: usize| Some(numbers[i]).filter(|c| *c != NO_CODE);
                    of_category.extend(known.filter_map(|(i, &code)| Some((code, of(i)?, clamped(days.value(i))))));
                }
            }
            out.first_items = Some(DayCounts::new(customers.len(), items));
            out.first_categories = categories.map(|_| DayCounts::new(customers.len(), firsts(of_category)));
        }
        if snapshot.contract.has(EventColumn::Channel) {
            let mut channels = vec![];
            let mut stream = ctx.execute_logical_plan(first_plan(snapshot, "channel")?).await?.execute_stream().await?;
            while let Some(b) = stream.try_next().await? {
                let (codes, days) = (customers.keys.lookup(b.column(0))?, b.column(2).as_primitive::<Int64Type>());
                memory.try_grow(b.num_rows() * size_of::<Row>())?;
                channels.extend(codes.iter().enumerate().filter(|(_, c)| **c != NO_CODE).map(|(i, &c)| (c, clamped(days.value(i)), 1)));
            }
            out.first_channels = Some(DayCounts::new(customers.len(), channels));
        }
        let breadth = [&out.first_items, &out.first_categories, &out.first_channels];
        memory.try_resize(out.kinds.iter().chain(breadth.into_iter().flatten()).map(DayCounts::size).sum())?;
        out._memory = Some(memory);
        Ok(out)
    }

    /// Whether a customer had done anything by a day.
    pub fn any(&self, customer: usize, day: i64) -> bool {
        self.kinds.iter().any(|k| k.upto(customer, day) > 0)
    }

    /// The events of a kind ([`kind`]).
    pub fn of_kind(&self, kind: i8) -> Option<&DayCounts> {
        self.kinds.get(kind as usize).filter(|c| !c.is_empty())
    }
}

fn clamped(day: i64) -> i32 {
    day.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

/// From (customer, what, day) to the first day of each.
fn firsts(mut rows: Vec<(u32, u32, i32)>) -> Vec<Row> {
    rows.par_sort_unstable();
    rows.dedup_by_key(|r| (r.0, r.1));
    rows.into_iter().map(|(code, _, day)| (code, day, 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_days_in_any_order() {
        let c = DayCounts::new(3, vec![(2, 5, 1), (0, 7, 2), (0, -3, 1), (0, 7, 4)]);
        assert_eq!((c.upto(0, 6), c.upto(0, 7), c.between(0, -3, 100), c.upto(1, 100)), (1, 7, 6, 0));
        assert_eq!((c.last(0, 6), c.last(0, -4), c.last(2, 5)), (Some(-3), None, Some(5)));
        assert_eq!(firsts(vec![(1, 9, 4), (1, 9, 2), (1, 8, 3)]), [(1, 3, 1), (1, 2, 1)]);
    }
}
