//! How often each item, or each category, was bought after evidence of interest in it.

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{Int8Type, Int64Type};
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, col};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use rayon::prelude::*;

use super::{Categories, Customers, Interner, KeyIndex, NO_CODE};
use crate::events::{Snapshot, kind};
use crate::models::Control;
use crate::models::propensity::{Tally, Trials};

/// Events that are signs of interest, and purchases.
#[derive(Debug)]
pub struct Signs {
    keys: KeyIndex,
    /// Of every customer's first event.
    known_us: Vec<i64>,
    shown: Vec<Row>,
    /// `None` where purchases are the signs.
    bought: Option<Vec<Row>>,
    as_of_us: i64,
    /// Their share of the engine's memory.
    memory: MemoryReservation,
}

/// Counts by item, or by category.
#[derive(Debug)]
pub struct Evidence {
    keys: KeyIndex,
    tallies: Vec<Tally>,
    /// All trials, whatever the key.
    pub trials: u64,
    /// Who shows evidence now: (key, customer), ascending.
    shown: Vec<(u32, u32)>,
    /// Its share of the engine's memory.
    _memory: MemoryReservation,
}

/// A key, a customer, and when.
type Row = (u32, u32, i64);

fn plan(snapshot: &Snapshot) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(snapshot.plan.clone()).project(vec![col("user_id"), col("item_id"), col("kind"), col("ts_us")])?.build()
}

impl Signs {
    /// Reads the snapshot in one pass: events of the kind `evidence` ([`kind`]) and purchases, of items or, given them, of categories.
    pub async fn read(
        state: &SessionState,
        snapshot: &Snapshot,
        customers: &Customers,
        categories: Option<&Categories>,
        evidence: i8,
    ) -> Result<Self> {
        let Some(item_type) = &snapshot.contract.item_type else {
            return exec_err!(
                "'{}' has no item_id: bayes_propensity() needs one (also accepted: product_id, sku, stock_code, article_id)",
                snapshot.contract.relation
            );
        };
        let ctx = SessionContext::new_with_state(state.clone());
        let memory = MemoryConsumer::new("evidence").register(&state.runtime_env().memory_pool);
        let mut stream = ctx.execute_logical_plan(plan(snapshot)?).await?.execute_stream().await?;
        let mut interner = Interner::default();
        let mut known_us = vec![i64::MAX; customers.len()];
        let (mut shown, mut bought): (Vec<Row>, Vec<Row>) = (vec![], vec![]);
        while let Some(b) = stream.try_next().await? {
            let users = customers.keys.lookup(b.column(0))?;
            let keys = match categories {
                Some(categories) => categories.of(b.column(1))?,
                None => interner.intern(b.column(1))?,
            };
            let (kinds, ts) = (b.column(2).as_primitive::<Int8Type>(), b.column(3).as_primitive::<Int64Type>());
            for (i, (&key, &user)) in keys.iter().zip(&users).enumerate().filter(|(_, (_, user))| **user != NO_CODE) {
                let known = &mut known_us[user as usize];
                *known = ts.value(i).min(*known);
                if key == NO_CODE {
                    continue;
                }
                let row = (key, user, ts.value(i));
                if kinds.value(i) == evidence {
                    shown.push(row);
                } else if kinds.value(i) == kind::PURCHASE {
                    bought.push(row);
                }
            }
            memory.try_resize(
                (shown.capacity() + bought.capacity()) * size_of::<Row>() + known_us.len() * size_of::<i64>() + interner.size(),
            )?;
        }
        let (keys, codes) = match categories {
            Some(categories) => KeyIndex::build(categories.names())?,
            None => interner.finish(item_type)?,
        };
        for rows in [&mut shown, &mut bought] {
            rows.iter_mut().for_each(|r| r.0 = codes[r.0 as usize]);
        }
        let bought = (evidence != kind::PURCHASE).then_some(bought);
        Ok(Self { keys, known_us, shown, bought, as_of_us: snapshot.as_of_us, memory })
    }

    /// Counts the trials.
    pub fn count(mut self, trials: Trials, control: &Control) -> Result<Evidence> {
        self.shown.par_sort_unstable();
        if let Some(bought) = &mut self.bought {
            bought.par_sort_unstable();
        }
        let mut out = Evidence {
            tallies: vec![Tally::default(); self.keys.len()],
            keys: self.keys,
            trials: self.known_us.iter().map(|&known| trials.of(known)).sum(),
            shown: vec![],
            _memory: self.memory,
        };
        let since = match trials {
            Trials::Moments { window_us, .. } => self.as_of_us.saturating_sub(window_us),
            Trials::Once => i64::MIN,
        };
        let (mut shown, mut bought) = (self.shown.as_slice(), self.bought.as_ref().unwrap_or(&self.shown).as_slice());
        let mut pairs = 0_usize;
        while let Some(pair) = [shown.first(), bought.first()].into_iter().flatten().map(|r| (r.0, r.1)).min() {
            if pairs.is_multiple_of(PAIRS_A_CHECK) {
                control.check().map_err(|e| DataFusionError::External(Box::new(e)))?;
            }
            pairs += 1;
            let (b, a) = (taken(&mut shown, pair), taken(&mut bought, pair));
            let known = self.known_us[pair.1 as usize];
            out.tallies[pair.0 as usize] += trials.tally(b.iter().map(|r| r.2), a.iter().map(|r| r.2), known);
            out.shown.extend(b.last().is_some_and(|r| r.2 > since).then_some(pair));
        }
        let size = out.tallies.len() * size_of::<Tally>() + out.shown.capacity() * size_of::<(u32, u32)>() + out.keys.size();
        out._memory.try_resize(size)?;
        Ok(out)
    }
}

/// Between two looks at whether to go on.
const PAIRS_A_CHECK: usize = 1 << 16;

impl Evidence {
    /// The codes of items or categories, [`NO_CODE`] for what there is none of.
    pub fn lookup(&self, keys: &ArrayRef) -> Result<Vec<u32>> {
        self.keys.lookup(keys)
    }

    pub fn tally(&self, key: u32) -> Tally {
        self.tallies[key as usize]
    }

    /// Whether a customer shows evidence of a key now.
    pub fn is_shown(&self, key: u32, customer: u32) -> bool {
        self.shown.binary_search(&(key, customer)).is_ok()
    }
}

/// Takes the rows of a pair from the front.
fn taken<'a>(rows: &mut &'a [Row], pair: (u32, u32)) -> &'a [Row] {
    let n = rows.iter().take_while(|r| (r.0, r.1) == pair).count();
    let (front, rest) = rows.split_at(n);
    *rows = rest;
    front
}
