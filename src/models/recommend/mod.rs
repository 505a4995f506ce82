//! Recommendation from who has had what: nearest neighbours of items, of users, and of items in the order of time; a linear autoencoder; factors of
//! interactions and of ratings; rules; popularity; and sums of those.
//!
//! A model scores items for a [`History`]; selection, filters and ties are the same for all. Guarantees, for every model: what is excluded is excluded
//! before the selection; never more than k; fewer rather than padding; equal scores go to the smaller item code; the same list for any number of threads.

mod association_rules;
mod baskets;
mod blend;
mod bpr;
mod catalogue;
#[cfg(test)]
mod check;
mod cross_sell;
mod csr;
mod dense;
mod ease;
mod evaluation;
mod event_weights;
mod feedback;
mod fp_growth;
mod holdout;
mod item_knn;
mod mf_explicit;
mod mf_implicit;
mod neighbours;
mod popularity;
mod prefetch;
mod products;
mod ratings;
mod scores;
mod seq_knn;
mod similar;
mod similarity;
mod tifu_knn;
mod tune;
mod user_knn;

pub use association_rules::{ASSOCIATION_RULES, AssociationRules, By, Rule, RuleCounts, RuleParams, rules};
pub use baskets::{Baskets, ByItem};
pub use blend::{BLEND, Blend, Component};
pub use bpr::{BPR, Bpr, BprParams};
pub use catalogue::{ABSENT, ItemCodes, ItemModel, Translated};
pub use cross_sell::{CrossSell, CrossSellParams, CrossSeller};
pub use csr::Csr;
pub use ease::{EASE, Ease, EaseParams};
pub use evaluation::{Measure, measures};
pub use event_weights::{EVENT_OPTIONS, EventWeights};
pub use feedback::{Feedback, History};
pub use fp_growth::{Itemsets, MinSupport, frequent_itemsets};
pub use holdout::{Figures, Holdout, K, LastItems, draw, last_item_holdout, lists};
pub use item_knn::{ITEM_KNN, ItemKnn, ItemKnnParams};
pub use mf_explicit::{MF_EXPLICIT, MfExplicit, MfExplicitParams};
pub use mf_implicit::{MF_IMPLICIT, MfImplicit, MfImplicitParams};
pub use popularity::{POPULARITY, Popularity};
pub use products::USERS;
pub use ratings::{Predict, RatingSimilarity};
pub use scores::{Filter, Scored, Scores};
pub use seq_knn::{SEQ_KNN, SeqKnn, SeqKnnParams};
pub use similar::{Likeness, Shared, Similar, cosine_of_sets, most_similar};
pub use similarity::Similarity;
pub use tifu_knn::{NextItem, TifuKnn, TifuParams};
pub use tune::{Trial, Tuned, auto, fit};
pub use user_knn::{NeighboursOf, USER_KNN, UserKnn, UserKnnParams};

use std::fmt;

use super::{AnyRecommender, ModelError, Part};

/// What a score is made of: their sum.
#[derive(Debug, Default)]
pub struct Shares {
    /// The part that no history changes.
    pub baseline: f32,
    /// Items of the history, and what each contributes; one may come more than once.
    pub of_items: Vec<(u32, f32)>,
}

/// A fitted recommender.
pub trait Recommender: fmt::Debug + Send + Sync {
    fn n_items(&self) -> usize;

    /// Puts the scores of items for a user into `scores`, whose sums are all zero: either with [`Scores::add`], or into [`Scores::all`].
    fn score(&self, user: History<'_>, scores: &mut Scores);

    /// What the score of `item` is made of.
    fn shares(&self, user: History<'_>, item: u32) -> Shares;

    /// The item of the history that contributed most to the score of `item`.
    fn because(&self, user: History<'_>, item: u32) -> Option<u32> {
        scores::most(self.shares(user, item).of_items)
    }

    /// The rating the user would give the item, inside the range of ratings seen; `None` without an answer: the model has no ratings, or nobody
    /// like the user (nothing like the item) was rated.
    fn predict_rating(&self, _user: History<'_>, _item: u32) -> Option<f64> {
        None
    }

    /// The model with the feedback at hand now, in its item codes, for one that looks things up in it rather than in what it stored; `None` for any other.
    /// [`History::user`] is then a row of it.
    ///
    /// # Errors
    /// The feedback lacks what the model needs.
    fn attached(&self, _current: &dyn Fn() -> Feedback) -> Result<Option<AnyRecommender>, ModelError> {
        Ok(None)
    }

    /// The model as tables, to be read back by its type.
    fn to_parts(&self) -> Vec<Part>;

    /// Puts the at most `k` best items for a user into `out`, which it clears: scores above 0, the highest first, equal ones by ascending item.
    /// The filter works before the selection.
    fn top_k(&self, user: History<'_>, filter: Filter<'_>, k: usize, scores: &mut Scores, out: &mut Vec<Scored>) {
        scores::best_scored(self, user, filter, k, scores, out);
    }

    /// [`Recommender::top_k`] of many users at once, each with the filter of the same place: the same lists, sooner where a model can share work
    /// between users. `out` gets one list a user.
    fn top_k_many(&self, users: &[History<'_>], filters: &[Filter<'_>], k: usize, scores: &mut Scores, out: &mut Vec<Vec<Scored>>) {
        out.resize_with(users.len(), Vec::new);
        for ((user, filter), list) in users.iter().zip(filters).zip(out) {
            self.top_k(*user, *filter, k, scores, list);
        }
    }
}
