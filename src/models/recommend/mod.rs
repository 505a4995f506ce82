//! Recommendation from who has had what: nearest neighbours of items, of items in the order of time, a linear autoencoder, and popularity.
//!
//! A model scores items for a [`History`]; selection, filters and ties are the same for all. Guarantees, for every model: what is excluded is excluded
//! before the selection; never more than k; fewer rather than padding; equal scores go to the smaller item code; the same list for any number of threads.

mod catalogue;
#[cfg(test)]
mod check;
mod csr;
mod ease;
mod event_weights;
mod feedback;
mod holdout;
mod item_knn;
mod neighbours;
mod popularity;
mod scores;
mod seq_knn;
mod similar;

pub use catalogue::{ABSENT, ItemCodes, ItemModel, Translated};
pub use csr::Csr;
pub use ease::{EASE, Ease};
pub use event_weights::{EVENT_OPTIONS, EventWeights};
pub use feedback::{Feedback, History};
pub use holdout::{Holdout, last_item_holdout};
pub use item_knn::{ITEM_KNN, ItemKnn, ItemKnnParams, Similarity};
pub use popularity::{POPULARITY, Popularity};
pub use scores::{Filter, Scored, Scores};
pub use seq_knn::{SEQ_KNN, SeqKnn, SeqKnnParams};
pub use similar::{Likeness, Shared, Similar, cosine_of_sets, most_similar};

use std::fmt;

use super::Part;

/// A fitted recommender.
pub trait Recommender: fmt::Debug + Send + Sync {
    fn n_items(&self) -> usize;

    /// Puts the scores of items for a user into `scores`, whose sums are all zero: either with [`Scores::add`], or into [`Scores::all`].
    fn score(&self, user: History<'_>, scores: &mut Scores);

    /// The item of the history that contributed most to the score of `item`; asked for where [`Scores::add`] has not been told.
    fn because(&self, user: History<'_>, item: u32) -> Option<u32>;

    /// The model as tables, to be read back by its type.
    fn to_parts(&self) -> Vec<Part>;

    /// Puts the at most `k` best items for a user into `out`, which it clears: scores above 0, the highest first, equal ones by ascending item.
    /// The filter works before the selection.
    fn top_k(&self, user: History<'_>, filter: Filter<'_>, k: usize, scores: &mut Scores, out: &mut Vec<Scored>) {
        scores::best_scored(self, user, filter, k, scores, out);
    }
}
