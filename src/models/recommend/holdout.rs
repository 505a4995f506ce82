//! Scoring a recommender without leaks: each user's latest item is held out, the model fitted on the rest, and the held-out
//! item looked for in the user's list over the full catalogue.

use rayon::prelude::*;

use super::{Csr, Popularity, Recommender, Scored, Scratch};
use crate::models::metrics::{hit_rate_at_k, ndcg_at_k};
use crate::models::{Control, ModelError};

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

/// `last_us` is parallel to the matrix's entries; of equal times the larger item code is the later. At most `max_users`
/// users with two items or more are ranked. `None` when there is no such user.
pub fn last_item_holdout(
    interactions: &Csr,
    last_us: &[i64],
    fit: impl Fn(&Csr) -> Result<Box<dyn Recommender>, ModelError>,
    max_users: usize,
    control: &Control,
) -> Result<Option<Holdout>, ModelError> {
    let mut users: Vec<u32> = (0..interactions.n_rows() as u32).filter(|&u| interactions.row(u as usize).0.len() >= 2).collect();
    users.sort_by_key(|&u| (shuffled(u), u));
    users.truncate(max_users);
    users.sort_unstable();
    if users.is_empty() {
        return Ok(None);
    }
    let (train, held) = split(interactions, last_us, &users);
    let model = fit(&train)?;
    let baseline = Popularity::fit(&train, control)?;
    let figures: Result<Vec<[f64; 4]>, ModelError> = users
        .par_iter()
        .zip(&held)
        .map_init(
            || (Scratch::default(), Vec::new()),
            |(scratch, out): &mut (Scratch, Vec<Scored>), (&u, &truth)| {
                control.check()?;
                let (history, weights) = train.row(u as usize);
                let mut one = |m: &dyn Recommender| {
                    m.recommend(history, weights, history, K, scratch, out);
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

/// The matrix without the latest item of each of `users` (ascending), and those items.
fn split(m: &Csr, last_us: &[i64], users: &[u32]) -> (Csr, Vec<u32>) {
    let mut train = Csr { n_cols: m.n_cols, offsets: vec![0], columns: Vec::with_capacity(m.columns.len()), values: vec![] };
    let mut held = Vec::with_capacity(users.len());
    for u in 0..m.n_rows() {
        let range = m.offsets[u]..m.offsets[u + 1];
        let out = users.binary_search(&(u as u32)).ok().and_then(|_| range.clone().max_by_key(|&i| (last_us[i], m.columns[i])));
        for i in range {
            if Some(i) == out {
                held.push(m.columns[i]);
            } else {
                train.columns.push(m.columns[i]);
                train.values.push(m.values[i]);
            }
        }
        train.offsets.push(train.columns.len());
    }
    (train, held)
}
