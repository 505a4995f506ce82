//! Who has had to do with what: the user × item matrices that recommendations are made of.

use std::sync::OnceLock;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{Int8Type, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, col, in_list, lit};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

use super::customers::Customers;
use super::keys::{Interner, KeyIndex, NO_CODE};
use crate::events::{Snapshot, kind};
use crate::models::recommend::{Csr, Feedback, History};

/// Interactions by customer code. *Strong* ones are purchases and ratings, *weak* ones views and carts of items that the
/// user has no strong one with. Items are numbered ascending by key.
#[derive(Debug)]
pub struct Interactions {
    pub items: KeyIndex,
    pub strong: Feedback,
    pub weak: Feedback,
    /// The transpose of [`Interactions::feedback`], once somebody needs it.
    by_item: OnceLock<Csr>,
    /// Their share of the engine's memory.
    memory: MemoryReservation,
}

/// One row an event with an item: `user_id, item_id, kind, ts_us`.
pub fn plan(snapshot: &Snapshot) -> Result<LogicalPlan> {
    let used = vec![lit(kind::PURCHASE), lit(kind::RATING), lit(kind::VIEW), lit(kind::CART)];
    LogicalPlanBuilder::from(snapshot.plan.clone())
        .filter(col("item_id").is_not_null().and(in_list(col("kind"), used, false)))?
        .project(vec![col("user_id"), col("item_id"), col("kind"), col("ts_us")])?
        .build()
}

/// A user's interaction with an item: `item` has [`WEAK`] set for a view or a cart.
#[derive(Clone, Copy)]
struct Entry {
    user: u32,
    item: u32,
    last_us: i64,
}

/// Strong entries sort before weak ones of other items, and item codes stay below it.
const WEAK: u32 = 1 << 31;

/// Entries wait unmerged until there are this many more than distinct ones.
const MERGE_AFTER: usize = 1 << 21;

impl Interactions {
    /// Reads the snapshot in one pass. An `events` without an item column is an error.
    pub async fn read(state: &SessionState, snapshot: &Snapshot, customers: &Customers) -> Result<Self> {
        let Some(item_type) = &snapshot.contract.item_type else {
            return exec_err!(
                "'{}' has no item_id: recommendations need one (also accepted: product_id, sku, stock_code, article_id)",
                snapshot.contract.relation
            );
        };
        let ctx = SessionContext::new_with_state(state.clone());
        let mut stream = ctx.execute_logical_plan(plan(snapshot)?).await?.execute_stream().await?;
        let mut interner = Interner::default();
        let mut entries: Vec<Entry> = vec![];
        let mut merge_at = MERGE_AFTER;
        let memory = MemoryConsumer::new("interactions").register(&state.runtime_env().memory_pool);
        while let Some(b) = stream.try_next().await? {
            let users = customers.keys.lookup(b.column(0))?;
            let items = interner.intern(b.column(1))?;
            let (kinds, ts) = (b.column(2).as_primitive::<Int8Type>(), b.column(3).as_primitive::<Int64Type>());
            for (i, (&user, &item)) in users.iter().zip(&items).enumerate() {
                if user != NO_CODE && item != NO_CODE {
                    let weak = if matches!(kinds.value(i), kind::PURCHASE | kind::RATING) { 0 } else { WEAK };
                    entries.push(Entry { user, item: item | weak, last_us: ts.value(i) });
                }
            }
            // Merging takes a copy.
            memory.try_resize(2 * entries.capacity() * size_of::<Entry>() + interner.size())?;
            if entries.len() >= merge_at {
                entries = merged(&entries, customers.len());
                merge_at = 2 * entries.len() + MERGE_AFTER;
            }
        }
        let (items, codes) = interner.finish(item_type)?;
        entries.iter_mut().for_each(|e| e.item = codes[(e.item & !WEAK) as usize] | (e.item & WEAK));
        let entries = merged(&entries, customers.len());
        let of = |strong| feedback(&entries, strong, customers.len(), items.len());
        let (strong, weak) = (of(true), of(false));
        drop(entries);
        let interactions = Self { items, strong, weak, by_item: OnceLock::new(), memory };
        interactions.memory.try_resize(interactions.size())?;
        Ok(interactions)
    }

    /// Bytes held.
    fn size(&self) -> usize {
        let of = |f: &Feedback| {
            f.weights.offsets.len() * size_of::<usize>() + f.last_us.len() * (size_of::<u32>() + size_of::<f32>() + size_of::<i64>())
        };
        self.items.size() + of(&self.strong) + of(&self.weak)
    }

    /// What a user is known by: the strong interactions, or the weak ones of a user who has no strong one.
    pub fn history(&self, user: u32) -> History<'_> {
        let strong = self.strong.history(user);
        if strong.items.is_empty() { self.weak.history(user) } else { strong }
    }

    /// Who has had each item: the transpose of [`Interactions::feedback`].
    pub fn by_item(&self) -> Result<&Csr> {
        if self.by_item.get().is_none() {
            let f = self.feedback();
            self.memory.try_grow((f.n_items() + 1) * size_of::<usize>() + f.last_us.len() * (size_of::<u32>() + size_of::<f32>()))?;
        }
        Ok(self.by_item.get_or_init(|| self.feedback().weights.transpose()))
    }

    /// The interactions that models are fitted to: the strong ones, or the weak ones of a log without.
    pub fn feedback(&self) -> &Feedback {
        if self.strong.last_us.is_empty() { &self.weak } else { &self.strong }
    }
}

/// One entry a (user, item), by user and item: the strong one if there is one, with its last time.
fn merged(entries: &[Entry], users: usize) -> Vec<Entry> {
    let mut offsets = vec![0usize; users + 1];
    entries.iter().for_each(|e| offsets[e.user as usize + 1] += 1);
    for u in 0..users {
        offsets[u + 1] += offsets[u];
    }
    let mut at = offsets.clone();
    let mut sorted = vec![Entry { user: 0, item: 0, last_us: 0 }; entries.len()];
    for e in entries {
        let slot = &mut at[e.user as usize];
        sorted[*slot] = *e;
        *slot += 1;
    }
    let mut kept = 0;
    for u in 0..users {
        let range = offsets[u]..offsets[u + 1];
        // By item, the strong before the weak, the last before the earlier ones.
        sorted[range.clone()].sort_unstable_by_key(|e| (e.item & !WEAK, e.item & WEAK, std::cmp::Reverse(e.last_us)));
        let first = kept;
        for i in range {
            if kept == first || (sorted[kept - 1].item ^ sorted[i].item) & !WEAK != 0 {
                sorted[kept] = sorted[i];
                kept += 1;
            }
        }
    }
    sorted.truncate(kept);
    sorted
}

fn feedback(entries: &[Entry], strong: bool, users: usize, items: usize) -> Feedback {
    let mut offsets = vec![0usize; users + 1];
    let (mut columns, mut last_us) = (vec![], vec![]);
    for e in entries.iter().filter(|e| (e.item & WEAK == 0) == strong) {
        offsets[e.user as usize + 1] += 1;
        columns.push(e.item & !WEAK);
        last_us.push(e.last_us);
    }
    for u in 0..users {
        offsets[u + 1] += offsets[u];
    }
    let values = vec![1.0; columns.len()];
    Feedback { weights: Csr { n_cols: items, offsets, columns, values }, last_us, ratings: vec![] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strong_and_the_last_interaction_stay_in_any_order() {
        let e = |user, item, last_us| Entry { user, item, last_us };
        let mut rows = vec![e(1, 5 | WEAK, 9), e(0, 2, 1), e(1, 5, 3), e(1, 5, 4), e(0, 7 | WEAK, 2), e(0, 7 | WEAK, 6), e(1, 3, 1)];
        for _ in 0..rows.len() {
            rows.rotate_left(1);
            let got: Vec<_> = merged(&rows, 2).iter().map(|e| (e.user, e.item, e.last_us)).collect();
            assert_eq!(got, [(0, 2, 1), (0, 7 | WEAK, 6), (1, 3, 1), (1, 5, 4)]);
        }
    }
}
