//! The scores of one user's items, and the selection of the best.

use super::user_knn::Search;
use super::{History, Recommender};

/// One recommended item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    pub item: u32,
    pub score: f32,
    /// The item of the history that contributed most.
    pub because: Option<u32>,
}

/// What one thread adds scores up in, from user to user.
#[derive(Debug, Default)]
pub struct Scores {
    sums: Vec<f32>,
    /// Largest single contribution to each sum, and whose it was.
    best: Vec<(f32, u32)>,
    touched: Vec<u32>,
    /// How many items have a score each, where all have.
    all: usize,
    candidates: Vec<Scored>,
    /// For models that look at a history in the order of time.
    pub(super) order: Vec<usize>,
    /// For models that look for a user's neighbours.
    pub(super) search: Search,
    /// For models made of models: where one of those adds up, and what it said.
    pub(super) inner: Option<Box<Self>>,
    pub(super) said: Vec<f32>,
}

impl Scores {
    /// Adds what the item `because` of the history contributes, above 0, to the score of `item`.
    pub fn add(&mut self, item: u32, contribution: f32, because: u32) {
        let (sum, best) = (&mut self.sums[item as usize], &mut self.best[item as usize]);
        if *sum == 0.0 {
            self.touched.push(item);
        }
        *sum += contribution;
        if contribution > best.0 || (contribution == best.0 && because < best.1) {
            *best = (contribution, because);
        }
    }

    /// Raises the score of `item` to what the item `because` of the history contributes, above 0, where that is more.
    pub fn raise(&mut self, item: u32, contribution: f32, because: u32) {
        let (sum, best) = (&mut self.sums[item as usize], &mut self.best[item as usize]);
        if *sum == 0.0 {
            self.touched.push(item);
        }
        if contribution > best.0 || (contribution == best.0 && because < best.1) {
            *best = (contribution, because);
        }
        *sum = best.0;
    }

    /// The scores of all items, to be written by a model that scores them all.
    pub fn all(&mut self, n_items: usize) -> &mut [f32] {
        self.all = n_items;
        &mut self.sums[..n_items]
    }

    /// Puts what `model` gives each of its items for a user into `into`, 0 where nothing speaks for an item.
    pub(super) fn of(&mut self, model: &dyn Recommender, user: History<'_>, into: &mut Vec<f32>) {
        self.begin(model.n_items());
        model.score(user, self);
        into.clear();
        into.extend_from_slice(&self.sums[..model.n_items()]);
        self.end();
    }

    fn begin(&mut self, n_items: usize) {
        if self.sums.len() < n_items {
            self.sums.resize(n_items, 0.0);
            self.best.resize(n_items, (0.0, 0));
        }
    }

    fn end(&mut self) {
        for i in self.touched.drain(..) {
            self.sums[i as usize] = 0.0;
            self.best[i as usize] = (0.0, 0);
        }
        self.sums[..self.all].fill(0.0);
        self.all = 0;
    }
}

/// The item of the largest share above 0, of equal ones the smallest.
pub fn most(shares: impl IntoIterator<Item = (u32, f32)>) -> Option<u32> {
    let above = shares.into_iter().filter(|(_, share)| *share > 0.0);
    above.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).map(|(item, _)| item)
}

/// Which items may be recommended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Never these, ascending.
    pub exclude: &'a [u32],
    /// Only those, by item; all without.
    pub candidates: Option<&'a [bool]>,
}

impl Filter<'_> {
    pub fn passes(&self, item: u32) -> bool {
        self.candidates.is_none_or(|c| c.get(item as usize).copied().unwrap_or(false)) && self.exclude.binary_search(&item).is_err()
    }
}

/// Higher scores first, equal ones by item.
pub fn better(a: &Scored, b: &Scored) -> std::cmp::Ordering {
    b.score.total_cmp(&a.score).then(a.item.cmp(&b.item))
}

/// [`Recommender::top_k`] by the scores of a model.
pub fn best_scored(
    model: &(impl Recommender + ?Sized),
    user: History<'_>,
    filter: Filter<'_>,
    k: usize,
    scores: &mut Scores,
    out: &mut Vec<Scored>,
) {
    scores.begin(model.n_items());
    model.score(user, scores);
    let mut candidates = std::mem::take(&mut scores.candidates);
    candidates.clear();
    // What nothing speaks for is not recommended.
    let is_score = |s: f32| s.is_finite() && s > 0.0;
    if scores.all > 0 {
        let scored = scores.sums[..scores.all].iter().enumerate().filter(|(_, s)| is_score(**s));
        candidates.extend(scored.map(|(i, &score)| Scored { item: i as u32, score, because: None }).filter(|s| filter.passes(s.item)));
    } else {
        for &item in scores.touched.iter().filter(|i| filter.passes(**i)) {
            let (most, because) = scores.best[item as usize];
            let score = scores.sums[item as usize];
            if is_score(score) {
                candidates.push(Scored { item, score, because: (most > 0.0).then_some(because) });
            }
        }
    }
    let dense = scores.all > 0;
    scores.end();
    if candidates.len() > k {
        candidates.select_nth_unstable_by(k, better);
        candidates.truncate(k);
    }
    candidates.sort_unstable_by(better);
    out.clear();
    out.extend_from_slice(&candidates);
    scores.candidates = candidates;
    if dense {
        out.iter_mut().for_each(|s| s.because = model.because(user, s.item));
    }
}
