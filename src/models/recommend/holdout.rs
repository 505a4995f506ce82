//! Scoring recommenders without leaks: each user's latest item is held out, models are fitted to the rest, and the held-out item is looked for in the
//! user's list over the full catalogue.
//!
//! Of items that share the latest time none is the last: a tenth of them, at least one, is drawn. So a log without times is scored on a random tenth of
//! each user's items.

use rayon::prelude::*;

use super::{Csr, Feedback, Filter, History, Popularity, Recommender, Scored, Scores};
use crate::models::hash::{GOLDEN, split_mix};
use crate::models::metrics::{hit_rate_at_k, ndcg_at_k};
use crate::models::{AnyRecommender, Control, ModelError};

/// How deep the lists are.
pub const K: usize = 10;

/// Means over the users of a hold-out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    pub ndcg_at_10: f64,
    pub hit_rate_at_10: f64,
}

/// The figures of a model, and those of popularity on the same users.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Holdout {
    pub users: usize,
    pub figures: Figures,
    pub baseline: Figures,
}

/// A log without the latest items of some of its users, and those items.
#[derive(Debug)]
pub struct LastItems {
    pub train: Feedback,
    /// Ascending, never empty.
    pub users: Vec<u32>,
    /// The items held out of each user, ascending, never empty.
    pub truth: Vec<Vec<u32>>,
}

/// At most `max_users` users with a goal to hold out and something no later are ranked. `None` when there is no such user.
pub fn last_item_holdout(
    feedback: &Feedback,
    fit: impl Fn(&Feedback) -> Result<AnyRecommender, ModelError>,
    max_users: usize,
    control: &Control,
) -> Result<Option<Holdout>, ModelError> {
    let Some(held) = LastItems::of(feedback, max_users, 0) else { return Ok(None) };
    held.score(fit(&held.train)?.as_ref(), control).map(Some)
}

/// A fixed order that has nothing to do with codes (the finaliser of SplitMix64: Steele, Lea & Flood 2014, OOPSLA '14).
fn shuffled(code: u64, seed: u64) -> u64 {
    split_mix(code.wrapping_add(seed).wrapping_add(1).wrapping_mul(GOLDEN))
}

/// Leaves at most `most`, drawn by `seed`, by ascending code.
pub fn draw<T>(users: &mut Vec<T>, code: impl Fn(&T) -> u32, most: usize, seed: u64) {
    users.sort_by_key(|u| (shuffled(u64::from(code(u)), seed), code(u)));
    users.truncate(most);
    users.sort_by_key(code);
}

/// The items a model puts first for each user, at most `k`, without those that stand beside the user's history.
///
/// # Errors
/// Cancelled.
pub fn lists(model: &dyn Recommender, users: &[(History<'_>, &[u32])], k: usize, control: &Control) -> Result<Vec<Vec<u32>>, ModelError> {
    let one = |(scores, out): &mut (Scores, Vec<Scored>), (user, exclude): &(History<'_>, &[u32])| {
        control.check()?;
        model.top_k(*user, Filter { exclude, candidates: None }, k, scores, out);
        Ok(out.iter().map(|s| s.item).collect())
    };
    users.par_iter().map_init(|| (Scores::default(), Vec::new()), one).collect()
}

impl LastItems {
    /// Of at most `max_users` users, drawn by `seed`, with a goal to hold out and something that is no later. What a user did after what is held out is
    /// left out too. `None` when there is no such user.
    pub fn of(feedback: &Feedback, max_users: usize, seed: u64) -> Option<Self> {
        let held_of = |u: u32| latest(feedback, u, shuffled(u64::from(u), seed));
        let mut users: Vec<u32> = (0..feedback.n_users() as u32).filter(|&u| held_of(u).is_some()).collect();
        draw(&mut users, |u| *u, max_users, seed);
        if users.is_empty() {
            return None;
        }
        let weights = Csr { n_cols: feedback.n_items(), offsets: vec![0], columns: vec![], values: vec![] };
        let mut train = Feedback { weights, last_us: vec![], ratings: vec![], goals: vec![] };
        let mut truth = Vec::with_capacity(users.len());
        for u in 0..feedback.n_users() as u32 {
            let held = users.binary_search(&u).ok().and_then(|_| held_of(u));
            let (held, until) = held.map_or((vec![], i64::MAX), |(held, until)| (held, until));
            for at in feedback.row(u) {
                if feedback.last_us[at] <= until && held.binary_search(&feedback.weights.columns[at]).is_err() {
                    train.weights.columns.push(feedback.weights.columns[at]);
                    train.weights.values.push(feedback.weights.values[at]);
                    train.last_us.push(feedback.last_us[at]);
                    train.ratings.extend(feedback.ratings.get(at));
                    train.goals.extend(feedback.goals.get(at));
                }
            }
            train.weights.offsets.push(train.weights.columns.len());
            truth.extend((!held.is_empty()).then_some(held));
        }
        Some(Self { train, users, truth })
    }

    /// The lists of a model that was fitted to `train`, parallel to the users; nothing that a user has had is in them.
    ///
    /// # Errors
    /// Cancelled.
    pub fn lists(&self, model: &dyn Recommender, k: usize, control: &Control) -> Result<Vec<Vec<u32>>, ModelError> {
        let known: Vec<_> = self.users.iter().map(|&u| self.train.history(u)).map(|h| (h, h.items)).collect();
        lists(model, &known, k, control)
    }

    /// The figures of a model that was fitted to `train`, beside those of popularity.
    ///
    /// # Errors
    /// Cancelled.
    pub fn score(&self, model: &dyn Recommender, control: &Control) -> Result<Holdout, ModelError> {
        let popularity = Popularity::fit(&self.train, control)?;
        Ok(Holdout { users: self.users.len(), figures: self.rank(model, control)?, baseline: self.rank(&popularity, control)? })
    }

    /// The figures of a model that was fitted to `train`.
    ///
    /// # Errors
    /// Cancelled.
    pub fn rank(&self, model: &dyn Recommender, control: &Control) -> Result<Figures, ModelError> {
        let lists = self.lists(model, K, control)?;
        let of = |(list, truth): (&Vec<u32>, &Vec<u32>)| (ndcg_at_k(list, truth, K), hit_rate_at_k(list, truth, K));
        Ok(Figures::mean(&lists.iter().zip(&self.truth).map(of).collect::<Vec<_>>()))
    }
}

impl Figures {
    /// Of the (NDCG, hit) of each user, in their order.
    pub fn mean(users: &[(f64, f64)]) -> Self {
        let n = users.len().max(1) as f64;
        let (ndcg, hits) = users.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
        Self { ndcg_at_10: ndcg / n, hit_rate_at_10: hits / n }
    }
}

/// A tenth, at least one, of the goals that share the latest time of a goal, ascending, and that time; `None` where there is no goal, or nothing else that
/// is no later.
fn latest(feedback: &Feedback, user: u32, seed: u64) -> Option<(Vec<u32>, i64)> {
    let last = feedback.row(user).filter(|&at| feedback.is_goal(at)).map(|at| feedback.last_us[at]).max()?;
    let tied = feedback.row(user).filter(|&at| feedback.is_goal(at) && feedback.last_us[at] == last);
    let mut tied: Vec<u32> = tied.map(|at| feedback.weights.columns[at]).collect();
    tied.sort_by_key(|&i| (shuffled(u64::from(i), seed), i));
    tied.truncate((tied.len() / 10).max(1));
    tied.sort_unstable();
    let stay = feedback.row(user).filter(|&at| feedback.last_us[at] <= last).count() - tied.len();
    (stay > 0).then_some((tied, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::recommend::check;

    #[test]
    fn the_latest_item_is_held_out_and_nothing_else() {
        let mut f = check::random(5, 80, 30);
        f.last_us.iter_mut().enumerate().for_each(|(i, t)| *t = (i as i64 * 7_919) % 10_007);
        let held = LastItems::of(&f, 50, 1).unwrap();
        assert!(held.users.len() == 50 && held.truth.len() == 50 && held.train.last_us.len() == f.last_us.len() - 50);
        for (&u, truth) in held.users.iter().zip(&held.truth) {
            let user = f.history(u);
            let last = (0..user.items.len()).max_by_key(|&i| user.last_us[i]).unwrap();
            assert_eq!(truth, &[user.items[last]]);
            assert_eq!(held.train.history(u).items.len(), user.items.len() - 1);
        }
        assert_ne!(held.users, LastItems::of(&f, 50, 2).unwrap().users);
        assert!(LastItems::of(&check::random(1, 0, 5), 9, 0).is_none());
    }

    /// Views are no goals, and what came after the purchase held out stays out.
    #[test]
    fn goals_are_held_out_and_nothing_later_is_known() {
        let weights = Csr { n_cols: 5, offsets: vec![0, 4, 6], columns: vec![0, 1, 2, 3, 0, 4], values: vec![1.0; 6] };
        let f = Feedback { weights, last_us: vec![1, 5, 3, 9, 2, 7], ratings: vec![], goals: vec![true, true, false, false, true, false] };
        let held = LastItems::of(&f, 9, 1).unwrap();
        assert_eq!((held.users, held.truth), (vec![0], vec![vec![1]]));
        assert_eq!((held.train.history(0).items, held.train.history(1).items), (&[0, 2][..], &[0, 4][..]));
    }

    /// Without times a tenth of the items, small codes as often as large ones.
    #[test]
    fn of_equal_times_a_tenth_is_drawn() {
        let mut f = check::random(5, 400, 100);
        f.last_us.fill(0);
        let held = LastItems::of(&f, 1_000, 1).unwrap();
        let all: Vec<u32> = held.truth.iter().flatten().copied().collect();
        let small = all.iter().filter(|i| **i < 50).count() as f64 / all.len() as f64;
        assert!((0.42..0.58).contains(&small), "{small}");
        assert!(held.users.iter().zip(&held.truth).all(|(&u, t)| t.len() == (f.history(u).items.len() / 10).max(1)));
    }
}
