//! Recommenders on hold-outs: the last item of each user, and what users had first after a cut in time.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::Result;

use super::families::{self, HOLDOUT_USERS};
use super::lifetime::Fold;
use super::pin::QueryPin;
use crate::features::{Customers, Interactions, NO_CODE};
use crate::functions::{Backtested, Measured, Pin, blocking, fit_error};
use crate::models::metrics::{BOOTSTRAP_DRAWS, bootstrap_interval, hit_rate_at_k, ndcg_at_k, precision_at_k, recall_at_k};
use crate::models::recommend::{EventWeights, History, K, LastItems, Measure, Popularity, draw, fit, lists, measures};
use crate::models::{AnyRecommender, Control, ModelError, Options};

/// The level of the intervals of evaluate().
const LEVEL: f64 = 0.95;

/// A recommender with these options, on the items that users had last.
pub fn evaluate(interactions: &Interactions, options: &Options, k: usize, control: &Control) -> Result<Vec<Measured>, ModelError> {
    let feedback = families::feedback(interactions, &EventWeights::of(options))?;
    if interactions.strong.last_us.is_empty() {
        return Err(ModelError::TooLittleData("the log has views and carts only: no purchase or rating to foresee".into()));
    }
    let Some(held) = LastItems::of(&feedback, HOLDOUT_USERS, 0) else {
        return Err(ModelError::TooLittleData("no user has bought or rated an item after another one: nothing to hold out".into()));
    };
    let of = |model: &AnyRecommender| Ok(measures(&held.train, &held.lists(model.as_ref(), k, control)?, &held.truth, k));
    let own = of(&fit(&held.train, options, control)?)?;
    let popular = of(&(Arc::new(Popularity::fit(&held.train, control)?) as _))?;
    let users = held.users.len() as u64;
    let one = |(m, baseline): (Measure, Measure)| Measured {
        metric: m.metric.into(),
        value: m.value,
        interval: bootstrap_interval(&m.by_user, LEVEL, BOOTSTRAP_DRAWS, options.whole("seed")),
        baseline: baseline.value,
        users,
    };
    Ok(own.into_iter().zip(popular).map(one).collect())
}

/// What there is at a moment.
struct Known {
    customers: Arc<Customers>,
    interactions: Arc<Interactions>,
}

impl Known {
    async fn of(pin: &QueryPin) -> Result<Self> {
        Ok(Self { customers: pin.customers().await?, interactions: pin.interactions().await? })
    }

    /// Users by code, with the items that they had first after this moment and up to another: in the codes of here, ascending; items that were not there
    /// yet have codes beyond. Users who were not known have none.
    fn first_until(&self, later: &Self) -> Result<Vec<(u32, Vec<u32>)>> {
        let users = self.customers.keys.lookup(&later.customers.keys.array)?;
        let items = self.interactions.items.lookup(&later.interactions.items.array)?;
        let beyond = self.interactions.items.len() as u32;
        let mut out = vec![];
        for (at, &user) in users.iter().enumerate().filter(|(_, u)| **u != NO_CODE) {
            let before = self.interactions.strong.history(user).items;
            let here = |&item: &u32| if items[item as usize] == NO_CODE { beyond + item } else { items[item as usize] };
            let had = later.interactions.strong.history(at as u32).items.iter().map(here);
            let mut first: Vec<u32> = had.filter(|i| before.binary_search(i).is_err()).collect();
            first.sort_unstable();
            out.extend((!first.is_empty()).then_some((user, first)));
        }
        Ok(out)
    }
}

/// The model's type with its options on each fold, the latest first: fitted to the events up to its cut, as they were then.
pub async fn backtest(pin: &QueryPin, options: &Options, folds: &[Fold]) -> Result<Vec<Backtested>> {
    let mut out = vec![];
    let mut end = Known::of(pin).await?;
    for &fold in folds {
        let cut = Known::of(&pin.at(fold.cut_us())?).await?;
        // Before the first event with an item there is nothing to foresee anything from.
        if cut.interactions.feedback().last_us.is_empty() {
            break;
        }
        let options = options.clone();
        let work = move |control: &Control| {
            let new = cut.first_until(&end)?;
            let tested = test(&cut, new, &options, control).map_err(fit_error)?;
            Ok((tested, cut))
        };
        let ((users, scores), cut) = blocking(pin.control(), work).await?;
        end = cut;
        let (from_us, to_us) = (fold.cut_us(), fold.end_us());
        out.push(Backtested { from_us, to_us, users, x: vec![], expected: vec![], actual: vec![], scores });
    }
    Ok(out)
}

/// Figures by name, with their number of users; none of those without a user.
fn test(cut: &Known, new: Vec<(u32, Vec<u32>)>, options: &Options, control: &Control) -> Result<(u64, BTreeMap<String, f64>), ModelError> {
    let train = families::feedback(&cut.interactions, &EventWeights::of(options))?;
    let history = |user: u32| -> History<'_> { cut.interactions.history(&train, user) };
    let mut new: Vec<(u32, Vec<u32>)> = new.into_iter().filter(|(user, _)| !history(*user).items.is_empty()).collect();
    draw(&mut new, |(user, _)| *user, HOLDOUT_USERS, 0);
    let mut scores = BTreeMap::new();
    if new.is_empty() {
        return Ok((0, scores));
    }
    let known: Vec<(History<'_>, &[u32])> = new.iter().map(|(user, _)| (history(*user), cut.interactions.seen(*user))).collect();
    let popular: AnyRecommender = Arc::new(Popularity::fit(&train, control)?);
    for (prefix, model) in [("", fit(&train, options, control)?), ("baseline_", popular)] {
        let lists = lists(model.as_ref(), &known, K, control)?;
        let mut mean = |name: &str, of: fn(&[u32], &[u32], usize) -> f64| {
            let sum: f64 = lists.iter().zip(&new).map(|(list, (_, truth))| of(list, truth, K)).sum();
            scores.insert(format!("{prefix}{name}_at_{K}"), sum / new.len() as f64);
        };
        mean("ndcg", ndcg_at_k);
        mean("recall", recall_at_k);
        mean("hit_rate", hit_rate_at_k);
        mean("precision", precision_at_k);
    }
    Ok((new.len() as u64, scores))
}
