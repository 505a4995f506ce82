//! Who has had to do with what: the user × item matrices that recommendations are made of.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{Float32Type, Int8Type, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, col, in_list, lit};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

use super::DAY_US;
use super::customers::Customers;
use super::keys::{Interner, KeyIndex, NO_CODE};
use crate::events::{Snapshot, kind};
use crate::models::recommend::{Csr, EventWeights, Feedback, History};

/// Interactions by customer code. *Strong* ones are purchases and ratings, *weak* ones views and carts of items that the
/// user has no strong one with. Items are numbered ascending by key; every weight is 1.
#[derive(Debug)]
pub struct Interactions {
    pub items: KeyIndex,
    pub strong: Arc<Feedback>,
    pub weak: Arc<Feedback>,
    /// The kinds of event there were, parallel to the entries.
    strong_kinds: Vec<u8>,
    weak_kinds: Vec<u8>,
    as_of_us: i64,
    /// By the weights that were asked for.
    weighted: Mutex<Vec<(EventWeights, Arc<Feedback>)>>,
    /// The transpose of [`Interactions::feedback`], once somebody needs it.
    by_item: OnceLock<Csr>,
    /// Their share of the engine's memory.
    memory: MemoryReservation,
}

/// Whether there are ratings to be read.
fn has_ratings(snapshot: &Snapshot) -> bool {
    snapshot.plan.schema().has_column_with_unqualified_name(RATING)
}

const RATING: &str = "rating";

/// One row an event with an item: `user_id, item_id, kind, ts_us`, and `rating` where there is one.
pub fn plan(snapshot: &Snapshot) -> Result<LogicalPlan> {
    let used = vec![lit(kind::PURCHASE), lit(kind::RATING), lit(kind::REVIEW), lit(kind::VIEW), lit(kind::CART)];
    let mut columns = vec![col("user_id"), col("item_id"), col("kind"), col("ts_us")];
    columns.extend(has_ratings(snapshot).then(|| col(RATING)));
    LogicalPlanBuilder::from(snapshot.plan.clone())
        .filter(col("item_id").is_not_null().and(in_list(col("kind"), used, false)))?
        .project(columns)?
        .build()
}

/// A user's interaction with an item, whose code has the kinds of event in its highest bits.
#[derive(Clone, Copy)]
struct Entry {
    user: u32,
    item: u32,
    last_us: i64,
}

const VIEWED: u32 = 1 << 28;
const CARTED: u32 = 1 << 29;
const BOUGHT: u32 = 1 << 30;
const RATED: u32 = 1 << 31;

/// Item codes stay below the bits of kinds.
const ITEM: u32 = VIEWED - 1;

impl Entry {
    fn code(self) -> u32 {
        self.item & ITEM
    }

    fn is_strong(self) -> bool {
        self.item & (BOUGHT | RATED) != 0
    }
}

/// A rating: user, item, when, how much.
type Rating = (u32, u32, i64, f32);

/// Entries wait unmerged until there are this many more than distinct ones.
const MERGE_AFTER: usize = 1 << 21;

/// This many feedbacks of other weights are kept.
const WEIGHTED: usize = 3;

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
        let (mut entries, mut ratings): (Vec<Entry>, Vec<Rating>) = (vec![], vec![]);
        let mut merge_at = MERGE_AFTER;
        let memory = MemoryConsumer::new("interactions").register(&state.runtime_env().memory_pool);
        while let Some(b) = stream.try_next().await? {
            let users = customers.keys.lookup(b.column(0))?;
            let items = interner.intern(b.column(1))?;
            let (kinds, ts) = (b.column(2).as_primitive::<Int8Type>(), b.column(3).as_primitive::<Int64Type>());
            let rated = has_ratings(snapshot).then(|| b.column(4).as_primitive::<Float32Type>());
            for (i, (&user, &item)) in users.iter().zip(&items).enumerate() {
                if user != NO_CODE && item != NO_CODE {
                    if item > ITEM {
                        return exec_err!("more than {ITEM} items");
                    }
                    let rating = rated.filter(|r| r.is_valid(i) && r.value(i).is_finite()).map(|r| r.value(i));
                    let kind = match kinds.value(i) {
                        kind::PURCHASE => BOUGHT,
                        kind::RATING => RATED,
                        // A review rates the item, or says nothing here.
                        kind::REVIEW if rating.is_some() => RATED,
                        kind::REVIEW => continue,
                        kind::CART => CARTED,
                        _ => VIEWED,
                    };
                    entries.push(Entry { user, item: item | kind, last_us: ts.value(i) });
                    // A rating may stand beside a purchase.
                    ratings.extend(rating.filter(|_| kind & (BOUGHT | RATED) != 0).map(|r| (user, item, ts.value(i), r)));
                }
            }
            // Merging takes a copy.
            let bytes = 2 * entries.capacity() * size_of::<Entry>() + ratings.capacity() * size_of::<Rating>();
            memory.try_resize(bytes + interner.size())?;
            if entries.len() >= merge_at {
                entries = merged(&entries, customers.len());
                merge_at = 2 * entries.len() + MERGE_AFTER;
            }
        }
        let (items, codes) = interner.finish(item_type)?;
        entries.iter_mut().for_each(|e| e.item = codes[e.code() as usize] | (e.item & !ITEM));
        ratings.iter_mut().for_each(|r| r.1 = codes[r.1 as usize]);
        let entries = merged(&entries, customers.len());
        let of = |strong| feedback(&entries, strong, customers.len(), items.len());
        let ((mut strong, strong_kinds), (weak, weak_kinds)) = (of(true), of(false));
        drop(entries);
        rate(&mut strong, ratings);
        let interactions = Self {
            items,
            strong: Arc::new(strong),
            weak: Arc::new(weak),
            strong_kinds,
            weak_kinds,
            as_of_us: snapshot.as_of_us,
            weighted: Mutex::default(),
            by_item: OnceLock::new(),
            memory,
        };
        let size = interactions.items.size() + bytes_of(&interactions.strong) + bytes_of(&interactions.weak);
        interactions.memory.try_resize(size + interactions.strong_kinds.len() + interactions.weak_kinds.len())?;
        Ok(interactions)
    }

    /// Who has had each item: the transpose of [`Interactions::feedback`].
    pub fn by_item(&self) -> Result<&Csr> {
        if self.by_item.get().is_none() {
            let f = self.feedback();
            self.memory.try_grow((f.n_items() + 1) * size_of::<usize>() + f.last_us.len() * (size_of::<u32>() + size_of::<f32>()))?;
        }
        Ok(self.by_item.get_or_init(|| self.feedback().weights.transpose()))
    }

    /// What users have had: the strong interactions, or the weak ones of a log without.
    pub fn feedback(&self) -> &Feedback {
        if self.strong.last_us.is_empty() { &self.weak } else { &self.strong }
    }

    /// The interactions that models are fitted to and asked about: those whose events count, with the weights of their kinds, the strong ones being what is
    /// to be foreseen; in a log without strong ones the weak ones are, and count alike unless weights say otherwise.
    pub fn weighted(&self, weights: &EventWeights) -> Result<Arc<Feedback>> {
        // The same rows, without a copy of them.
        let views_only = self.strong.last_us.is_empty();
        if views_only && weights.view == 0.0 && weights.cart == 0.0 {
            return Ok(Arc::clone(&self.weak));
        }
        if !views_only && *weights == EventWeights::ALIKE {
            return Ok(Arc::clone(&self.strong));
        }
        let mut held = self.weighted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, f)) = held.iter().find(|(w, _)| w == weights) {
            return Ok(Arc::clone(f));
        }
        let made = Arc::new(self.weigh(weights));
        if held.len() == WEIGHTED {
            let (_, oldest) = held.remove(0);
            self.memory.shrink(bytes_of(&oldest));
        }
        self.memory.try_grow(bytes_of(&made))?;
        held.push((*weights, Arc::clone(&made)));
        Ok(made)
    }

    fn weigh(&self, weights: &EventWeights) -> Feedback {
        let of_kinds = |kinds: u8| {
            let of = |kind: u32, weight: f64| if u32::from(kinds) << KINDS_AT & kind != 0 { weight } else { 0.0 };
            of(VIEWED, weights.view).max(of(CARTED, weights.cart)).max(of(BOUGHT, weights.purchase)).max(of(RATED, weights.rating))
        };
        let weight = |kinds: u8, last_us: i64| {
            let days = (self.as_of_us - last_us) as f64 / DAY_US as f64;
            (of_kinds(kinds) * (-days / weights.half_life_days).exp2()) as f32
        };
        let n_items = self.items.len();
        let mut out = Feedback {
            weights: Csr { n_cols: n_items, offsets: vec![0], columns: vec![], values: vec![] },
            last_us: vec![],
            ratings: vec![],
            goals: vec![],
        };
        let (rated, views_only) = (!self.strong.ratings.is_empty(), self.strong.last_us.is_empty());
        let mut row: Vec<(u32, f32, i64, f32, bool)> = vec![];
        for user in 0..self.strong.n_users() {
            row.clear();
            for (f, kinds, strong) in [(&self.strong, &self.strong_kinds, true), (&self.weak, &self.weak_kinds, false)] {
                let entries = f.weights.offsets[user]..f.weights.offsets[user + 1];
                for at in entries {
                    let w = weight(kinds[at], f.last_us[at]);
                    if w > 0.0 {
                        let rating = if strong && rated { f.ratings[at] } else { f32::NAN };
                        row.push((f.weights.columns[at], w, f.last_us[at], rating, strong || views_only));
                    }
                }
            }
            row.sort_unstable_by_key(|e| e.0);
            for &(item, w, last_us, rating, strong) in &row {
                out.weights.columns.push(item);
                out.weights.values.push(w);
                out.last_us.push(last_us);
                out.goals.push(strong);
                if rated {
                    out.ratings.push(rating);
                }
            }
            out.weights.offsets.push(out.weights.columns.len());
        }
        if out.goals.iter().all(|g| *g) {
            out.goals = vec![];
        }
        out
    }

    /// What is not offered to a user again: what was bought or rated, or else viewed or put into a cart.
    pub fn seen(&self, user: u32) -> &[u32] {
        let strong = self.strong.history(user).items;
        if strong.is_empty() { self.weak.history(user).items } else { strong }
    }

    /// What a user is known by: what counts, or else all there is.
    pub fn history<'a>(&'a self, weighted: &'a Feedback, user: u32) -> History<'a> {
        let counts = weighted.history(user);
        let strong = self.strong.history(user);
        match (counts.items.is_empty(), strong.items.is_empty()) {
            (false, _) => counts,
            (true, false) => strong,
            (true, true) => self.weak.history(user),
        }
    }
}

/// Bytes held.
fn bytes_of(f: &Feedback) -> usize {
    let entry = size_of::<u32>() + size_of::<f32>() + size_of::<i64>();
    f.weights.offsets.len() * size_of::<usize>() + f.last_us.len() * entry + f.ratings.len() * size_of::<f32>() + f.goals.len()
}

/// Kinds are kept in a byte, without the item's code.
const KINDS_AT: u32 = 28;

/// One entry a (user, item), by user and item, with the kinds of all its events and the last time: of the strong ones if there are any.
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
        sorted[range.clone()].sort_unstable_by_key(|e| (e.code(), !e.is_strong(), std::cmp::Reverse(e.last_us)));
        let first = kept;
        for i in range {
            if kept == first || sorted[kept - 1].code() != sorted[i].code() {
                sorted[kept] = sorted[i];
                kept += 1;
            } else {
                let kinds = sorted[i].item & !ITEM;
                sorted[kept - 1].item |= kinds;
            }
        }
    }
    sorted.truncate(kept);
    sorted
}

fn feedback(entries: &[Entry], strong: bool, users: usize, items: usize) -> (Feedback, Vec<u8>) {
    let mut offsets = vec![0usize; users + 1];
    let (mut columns, mut last_us, mut kinds) = (vec![], vec![], vec![]);
    for e in entries.iter().filter(|e| e.is_strong() == strong) {
        offsets[e.user as usize + 1] += 1;
        columns.push(e.code());
        last_us.push(e.last_us);
        kinds.push((e.item >> KINDS_AT) as u8);
    }
    for u in 0..users {
        offsets[u + 1] += offsets[u];
    }
    let values = vec![1.0; columns.len()];
    (Feedback { weights: Csr { n_cols: items, offsets, columns, values }, last_us, ratings: vec![], goals: vec![] }, kinds)
}

/// Gives each entry its last rating; of several at one moment, the largest.
fn rate(strong: &mut Feedback, mut ratings: Vec<Rating>) {
    if ratings.is_empty() {
        return;
    }
    ratings.sort_unstable_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)).then(a.3.total_cmp(&b.3)));
    strong.ratings = vec![f32::NAN; strong.last_us.len()];
    for &(user, item, _, rating) in &ratings {
        let range = strong.weights.offsets[user as usize]..strong.weights.offsets[user as usize + 1];
        if let Ok(at) = strong.weights.columns[range.clone()].binary_search(&item) {
            strong.ratings[range.start + at] = rating;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strong_and_the_last_interaction_stay_in_any_order() {
        let e = |user, item, last_us| Entry { user, item, last_us };
        let mut rows = vec![
            e(1, 5 | VIEWED, 9),
            e(0, 2 | BOUGHT, 1),
            e(1, 5 | RATED, 3),
            e(1, 5 | BOUGHT, 4),
            e(0, 7 | CARTED, 2),
            e(0, 7 | VIEWED, 6),
            e(1, 3 | BOUGHT, 1),
        ];
        for _ in 0..rows.len() {
            rows.rotate_left(1);
            let got: Vec<_> = merged(&rows, 2).iter().map(|e| (e.user, e.item, e.last_us)).collect();
            let all = 5 | VIEWED | RATED | BOUGHT;
            assert_eq!(got, [(0, 2 | BOUGHT, 1), (0, 7 | CARTED | VIEWED, 6), (1, 3 | BOUGHT, 1), (1, all, 4)]);
        }
    }
}
