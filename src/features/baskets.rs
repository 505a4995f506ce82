//! What was bought together: the orders of a snapshot as baskets of items.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{Int64Type, UInt64Type};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, col, lit};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use rayon::prelude::*;

use super::customers::Customers;
use super::interactions::Interactions;
use super::keys::NO_CODE;
use crate::events::{EventColumn, Snapshot, kind};
use crate::models::recommend::{Baskets, ByItem, TifuKnn, TifuParams};
use crate::models::{Control, ModelError};

/// One basket an order of a customer, with customers and items by their codes in [`Customers`] and [`Interactions`]; by customer, time and key of the order.
#[derive(Debug)]
pub struct OrderBaskets {
    pub interactions: Arc<Interactions>,
    pub baskets: Baskets,
    /// The mean amount of an order's lines of each item, in the currency's unit, of the orders where one is known; `None` where `events` has no amount.
    pub amounts: Option<Vec<Option<f64>>>,
    by_item: OnceLock<ByItem>,
    next: Mutex<Option<Arc<TifuKnn>>>,
    /// Their share of the engine's memory.
    memory: MemoryReservation,
}

fn has_amount(snapshot: &Snapshot) -> bool {
    snapshot.contract.has(EventColumn::Amount)
}

/// One row a line of an order: `user_id, item_id, order_key, ts_us`, and `millionths` where there is an amount.
fn plan(snapshot: &Snapshot) -> Result<LogicalPlan> {
    let mut columns = vec![col("user_id"), col("item_id"), col("order_key"), col("ts_us")];
    columns.extend(has_amount(snapshot).then(|| col("millionths")));
    LogicalPlanBuilder::from(snapshot.plan.clone())
        .filter(col("item_id").is_not_null().and(col("kind").eq(lit(kind::PURCHASE))))?
        .project(columns)?
        .build()
}

/// A line of an order.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Line {
    user: u32,
    item: u32,
    order: u64,
    ts_us: i64,
    millionths: Option<i64>,
}

impl OrderBaskets {
    /// Reads the snapshot in one pass.
    pub async fn read(state: &SessionState, snapshot: &Snapshot, customers: &Customers, interactions: Arc<Interactions>) -> Result<Self> {
        let ctx = SessionContext::new_with_state(state.clone());
        let mut stream = ctx.execute_logical_plan(plan(snapshot)?).await?.execute_stream().await?;
        let memory = MemoryConsumer::new("baskets").register(&state.runtime_env().memory_pool);
        let mut lines: Vec<Line> = vec![];
        while let Some(b) = stream.try_next().await? {
            let (users, items) = (customers.keys.lookup(b.column(0))?, interactions.items.lookup(b.column(1))?);
            let (orders, ts) = (b.column(2).as_primitive::<UInt64Type>(), b.column(3).as_primitive::<Int64Type>());
            let money = has_amount(snapshot).then(|| b.column(4).as_primitive::<Int64Type>());
            for (i, (&user, &item)) in users.iter().zip(&items).enumerate().filter(|(_, (u, i))| **u != NO_CODE && **i != NO_CODE) {
                let millionths = money.filter(|m| m.is_valid(i)).map(|m| m.value(i));
                lines.push(Line { user, item, order: orders.value(i), ts_us: ts.value(i), millionths });
            }
            memory.try_resize(lines.capacity() * size_of::<Line>())?;
        }
        // The baskets are made beside the lines.
        let most = lines.len() * (2 * size_of::<u32>() + size_of::<usize>() + size_of::<i64>() + size_of::<(i64, &[Line])>());
        memory.try_grow(most + interactions.items.len() * size_of::<Option<f64>>())?;
        let (baskets, amounts) = baskets(lines, interactions.items.len());
        let amounts = has_amount(snapshot).then_some(amounts);
        let size = baskets.items.len() * size_of::<u32>()
            + baskets.len() * (size_of::<usize>() + size_of::<u32>() + size_of::<i64>())
            + amounts.as_ref().map_or(0, |a| a.len() * size_of::<Option<f64>>());
        memory.try_resize(size)?;
        Ok(Self { interactions, baskets, amounts, by_item: OnceLock::new(), next: Mutex::default(), memory })
    }

    /// The baskets that have each item.
    pub fn by_item(&self) -> Result<&ByItem> {
        if self.by_item.get().is_none() {
            self.memory.try_grow(self.baskets.items.len() * size_of::<u32>() + self.baskets.n_items * size_of::<usize>())?;
        }
        Ok(self.by_item.get_or_init(|| ByItem::new(&self.baskets)))
    }

    /// What predicts the next basket, made when it is first asked for.
    pub fn next(&self, control: &Control) -> Result<Arc<TifuKnn>> {
        let mut held = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*held {
            return Ok(Arc::clone(made));
        }
        let users = self.baskets.users.last().map_or(0, |&u| u as usize + 1);
        // Vectors by user and by item, at most one entry a line each; offsets, squares and the order of norms.
        let size = 2 * self.baskets.items.len() * (size_of::<u32>() + size_of::<f32>()) + users * 5 * size_of::<u64>();
        self.memory.try_grow(size)?;
        match TifuKnn::fit(&self.baskets, &TifuParams::default(), control) {
            Ok(made) => Ok(Arc::clone(held.insert(Arc::new(made)))),
            Err(e) => {
                self.memory.shrink(size);
                Err(DataFusionError::External(Box::<ModelError>::new(e)))
            }
        }
    }
}

/// The baskets of lines in any order, and the mean amount of each item.
fn baskets(mut lines: Vec<Line>, n_items: usize) -> (Baskets, Vec<Option<f64>>) {
    lines.par_sort_unstable_by_key(|l| (l.user, l.order, l.item, l.ts_us, l.millionths));
    // An order stands where its last line does.
    let latest = |of: &[Line]| of.iter().map(|l| l.ts_us).max().unwrap_or(0);
    let mut orders: Vec<(i64, &[Line])> =
        lines.chunk_by(|a, b| (a.user, a.order) == (b.user, b.order)).map(|of| (latest(of), of)).collect();
    orders.par_sort_unstable_by_key(|(ts_us, of)| (of[0].user, *ts_us, of[0].order));
    let mut out = Baskets { n_items, offsets: vec![0], items: vec![], users: vec![], ts_us: vec![] };
    // Sums of whole millionths, and of how many orders.
    let mut sums = vec![(0i128, 0u32); n_items];
    for (ts_us, of) in orders {
        for of_item in of.chunk_by(|a, b| a.item == b.item) {
            out.items.push(of_item[0].item);
            if let Some(sum) = of_item.iter().filter_map(|l| l.millionths.map(i128::from)).reduce(|a, b| a + b) {
                let of_all = &mut sums[of_item[0].item as usize];
                *of_all = (of_all.0 + sum, of_all.1 + 1);
            }
        }
        out.offsets.push(out.items.len());
        out.users.push(of[0].user);
        out.ts_us.push(ts_us);
    }
    (out, sums.into_iter().map(|(sum, n)| (n > 0).then(|| sum as f64 / 1e6 / f64::from(n))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_one_basket_from_lines_in_any_order() {
        let l = |user, order, item, ts_us, millionths| Line { user, item, order, ts_us, millionths };
        let mut lines = vec![
            l(1, 7, 2, 30, Some(4_000_000)),
            l(1, 7, 0, 10, None),
            l(1, 7, 2, 10, Some(2_000_000)),
            l(1, 3, 2, 20, Some(1_000_000)),
            l(0, 7, 1, 90, None),
            l(1, 9, 0, 20, Some(5_000_000)),
            l(1, 3, 2, 20, None),
        ];
        for _ in 0..lines.len() {
            lines.rotate_left(1);
            let (b, amounts) = baskets(lines.clone(), 4);
            assert_eq!(b.users, [0, 1, 1, 1]);
            assert_eq!(b.ts_us, [90, 20, 20, 30]);
            assert_eq!((0..4).map(|i| b.basket(i)).collect::<Vec<_>>(), [&[1][..], &[2], &[0], &[0, 2]]);
            assert_eq!(amounts, [Some(5.0), None, Some(3.5), None]);
        }
        assert!(baskets(vec![], 2).0.is_empty());
    }
}
