//! Who has had to do with what: the user × item matrices that recommendations are made of.

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{Int8Type, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::execution::SessionState;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, col, in_list, lit, when};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

use super::customers::Customers;
use super::keys::{Interner, KeyIndex, NO_CODE};
use crate::events::{Snapshot, kind};
use crate::models::recommend::Csr;

/// Interactions by customer code. *Strong* ones are purchases and ratings, *weak* ones views and carts of items that the
/// user has no strong one with. Items are numbered ascending by key.
#[derive(Debug)]
pub struct Interactions {
    pub items: KeyIndex,
    pub strong: Csr,
    /// Last strong interaction, µs, parallel to `strong`'s entries.
    pub strong_last_us: Vec<i64>,
    pub weak: Csr,
}

/// One row a (user, item): `user_id, item_id, strong` (1 or 0) and `last_us`.
pub fn plan(snapshot: &Snapshot) -> Result<LogicalPlan> {
    let strong = when(in_list(col("kind"), vec![lit(kind::PURCHASE), lit(kind::RATING)], false), lit(1i8)).otherwise(lit(0i8))?;
    let used = vec![lit(kind::PURCHASE), lit(kind::RATING), lit(kind::VIEW), lit(kind::CART)];
    LogicalPlanBuilder::from(snapshot.plan.clone())
        .filter(col("item_id").is_not_null().and(in_list(col("kind"), used, false)))?
        .project(vec![col("user_id"), col("item_id"), strong.alias("strong"), col("ts_us")])?
        // The last strong interaction if there is one, else the last weak one: strong ones sort above.
        .aggregate(vec![col("user_id"), col("item_id"), col("strong")], vec![max(col("ts_us")).alias("last_us")])?
        .build()
}

struct Entry {
    user: u32,
    item: u32,
    strong: bool,
    last_us: i64,
}

impl Interactions {
    /// Reads the snapshot. An `events` without an item column is an error.
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
        while let Some(b) = stream.try_next().await? {
            let users = customers.keys.lookup(b.column(0))?;
            let items = interner.intern(b.column(1))?;
            let (strong, last) = (b.column(2).as_primitive::<Int8Type>(), b.column(3).as_primitive::<Int64Type>());
            for i in 0..b.num_rows() {
                if users[i] != NO_CODE && items[i] != NO_CODE {
                    entries.push(Entry { user: users[i], item: items[i], strong: strong.value(i) == 1, last_us: last.value(i) });
                }
            }
        }
        let (items, codes) = interner.finish(item_type)?;
        entries.iter_mut().for_each(|e| e.item = codes[e.item as usize]);
        entries.sort_unstable_by_key(|e| (e.user, e.item, !e.strong));
        entries.dedup_by_key(|e| (e.user, e.item));
        let n = customers.len();
        let (strong, strong_last_us) = matrix(&entries, true, n, items.len());
        let (weak, _) = matrix(&entries, false, n, items.len());
        Ok(Self { items, strong, strong_last_us, weak })
    }

    /// What a user is known by: the strong interactions, or the weak ones of a user who has no strong one.
    pub fn history(&self, user: u32) -> (&[u32], &[f32]) {
        let strong = self.strong.row(user as usize);
        if strong.0.is_empty() { self.weak.row(user as usize) } else { strong }
    }
}

fn matrix(entries: &[Entry], strong: bool, users: usize, items: usize) -> (Csr, Vec<i64>) {
    let mut offsets = vec![0usize; users + 1];
    let (mut columns, mut last) = (vec![], vec![]);
    for e in entries.iter().filter(|e| e.strong == strong) {
        offsets[e.user as usize + 1] += 1;
        columns.push(e.item);
        last.push(e.last_us);
    }
    for u in 0..users {
        offsets[u + 1] += offsets[u];
    }
    let values = vec![1.0; columns.len()];
    (Csr { n_cols: items, offsets, columns, values }, last)
}
