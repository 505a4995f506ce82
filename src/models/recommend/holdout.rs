//! Scoring a recommender without leaks: each user's latest item is held out, the model fitted on the rest, and the held-out
//! item looked for in the user's list over the full catalogue.

use rayon::prelude::*;

use super::{Csr, Feedback, Filter, Popularity, Recommender, Scored, Scores};
use crate::models::metrics::{hit_rate_at_k, ndcg_at_k};
use crate::models::{AnyRecommender, Control, ModelError};

/// How deep the lists are.
const K: usize = 10;

/// Means over the users ranked.
#[derive(Debug, Clone, PartialEq)]
pub struct Holdout {
    pub users: usize,
    pub ndcg_at_10: f64,
    pub hit_rate_at_10: f64,
    pub baseline_ndcg_at_10: f64,
    pub baseline_hit_rate_at_10: f64,
}

/// A fixed order of users that has nothing to do with their codes.
fn shuffled(user: u32) -> u64 {
    let x = (u64::from(user) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

/// Of equal times the larger item code is the later. At most `max_users` users with two items or more, one of them a goal, are ranked. `None` when there
/// is no such user.
pub fn last_item_holdout(
    feedback: &Feedback,
    fit: impl Fn(&Feedback) -> Result<AnyRecommender, ModelError>,
    max_users: usize,
    control: &Control,
) -> Result<Option<Holdout>, ModelError> {
    let mut users: Vec<u32> = (0..feedback.n_users() as u32).filter(|&u| last_goal(feedback, u).is_some()).collect();
    users.sort_by_key(|&u| (shuffled(u), u));
    users.truncate(max_users);
    users.sort_unstable();
    if users.is_empty() {
        return Ok(None);
    }
    let (train, held) = split(feedback, &users);
    let model = fit(&train)?;
    let baseline = Popularity::fit(&train, control)?;
    let figures: Result<Vec<[f64; 4]>, ModelError> = users
        .par_iter()
        .zip(&held)
        .map_init(
            || (Scores::default(), Vec::new()),
            |(scores, out): &mut (Scores, Vec<Scored>), (&u, &truth)| {
                control.check()?;
                let user = train.history(u);
                let filter = Filter { exclude: user.items, candidates: None };
                let mut one = |m: &dyn Recommender| {
                    m.top_k(user, filter, K, scores, out);
                    let items: Vec<u32> = out.iter().map(|s| s.item).collect();
                    (ndcg_at_k(&items, &[truth], K), hit_rate_at_k(&items, &[truth], K))
                };
                let ((a, b), (c, d)) = (one(model.as_ref()), one(&baseline));
                Ok([a, b, c, d])
            },
        )
        .collect();
    let figures = figures?;
    let mean = |i: usize| figures.iter().map(|f| f[i]).fold(0.0, |a, b| a + b) / figures.len() as f64;
    Ok(Some(Holdout {
        users: users.len(),
        ndcg_at_10: mean(0),
        hit_rate_at_10: mean(1),
        baseline_ndcg_at_10: mean(2),
        baseline_hit_rate_at_10: mean(3),
    }))
}

/// The entry to hold out of a user's row: the latest goal, where something stays that is no later.
fn last_goal(m: &Feedback, user: u32) -> Option<usize> {
    let range = m.weights.offsets[user as usize]..m.weights.offsets[user as usize + 1];
    let last = range.clone().filter(|&at| m.is_goal(at)).max_by_key(|&at| (m.last_us[at], m.weights.columns[at]))?;
    range.into_iter().any(|at| at != last && m.last_us[at] <= m.last_us[last]).then_some(last)
}

/// The feedback without the latest goal of each of `users` (ascending) and what came after it, and those goals.
fn split(m: &Feedback, users: &[u32]) -> (Feedback, Vec<u32>) {
    let weights = Csr { n_cols: m.n_items(), offsets: vec![0], columns: Vec::with_capacity(m.last_us.len()), values: vec![] };
    let mut train = Feedback { weights, last_us: vec![], ratings: vec![], goals: vec![] };
    let mut held = Vec::with_capacity(users.len());
    for u in 0..m.n_users() {
        let out = users.binary_search(&(u as u32)).ok().and_then(|_| last_goal(m, u as u32));
        held.extend(out.map(|at| m.weights.columns[at]));
        for at in m.weights.offsets[u]..m.weights.offsets[u + 1] {
            if out.is_some_and(|out| at == out || m.last_us[at] > m.last_us[out]) {
                continue;
            }
            train.weights.columns.push(m.weights.columns[at]);
            train.weights.values.push(m.weights.values[at]);
            train.last_us.push(m.last_us[at]);
            train.ratings.extend(m.ratings.get(at));
            train.goals.extend(m.goals.get(at));
        }
        train.weights.offsets.push(train.weights.columns.len());
    }
    (train, held)
}
