//! Recommendation from who has had what: item-based nearest neighbours, a linear autoencoder, and popularity.
//!
//! Guarantees, for every model: what is excluded is excluded before the selection; never more than k; fewer rather than
//! padding; equal scores go to the smaller item code; the same list for any number of threads.

mod catalogue;
mod csr;
mod ease;
mod holdout;
mod item_knn;
mod popularity;

pub use catalogue::ItemModel;
pub use csr::Csr;
pub use ease::{EASE, Ease};
pub use holdout::{Holdout, last_item_holdout};
pub use item_knn::{ITEM_KNN, ItemKnn, ItemKnnParams, Similarity};
pub use popularity::{POPULARITY, Popularity};

use std::fmt;

use super::Part;

/// One recommended item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    pub item: u32,
    pub score: f32,
    /// The item of the history that contributed most.
    pub because: Option<u32>,
}

/// What one thread keeps between calls: all zero outside a call.
#[derive(Default)]
pub struct Scratch {
    score: Vec<f32>,
    /// Largest single contribution, and whose it was.
    best: Vec<(f32, u32)>,
    touched: Vec<u32>,
}

/// A fitted recommender.
pub trait Recommender: fmt::Debug + Send + Sync {
    /// Puts into `out`, which it clears, at most `k` items for a user with this `history` (ascending, with `weights`), the best first, never one of
    /// `exclude` (ascending).
    fn recommend(&self, history: &[u32], weights: &[f32], exclude: &[u32], k: usize, scratch: &mut Scratch, out: &mut Vec<Scored>);

    /// The model as tables, to be read back by its type.
    fn to_parts(&self) -> Vec<Part>;
}

/// Keeps the k best, by descending score, then ascending item.
fn select_top(mut candidates: Vec<Scored>, k: usize, out: &mut Vec<Scored>) {
    let better = |a: &Scored, b: &Scored| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item));
    if candidates.len() > k {
        candidates.select_nth_unstable_by(k, better);
        candidates.truncate(k);
    }
    candidates.sort_unstable_by(better);
    out.clear();
    out.extend(candidates);
}
