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

/// A score that is added up, with the largest single contribution to it, and whose that was.
#[derive(Debug, Default, Clone, Copy)]
struct Cell {
    sum: f32,
    most: f32,
    because: u32,
}

impl Cell {
    fn heed(&mut self, contribution: f32, because: u32) {
        if contribution > self.most || (contribution == self.most && because < self.because) {
            (self.most, self.because) = (contribution, because);
        }
    }
}

/// What one thread adds scores up in, from user to user.
#[derive(Debug, Default)]
pub struct Scores {
    /// By item, for models that say something of some.
    cells: Vec<Cell>,
    touched: Vec<u32>,
    /// By item, for models that score all.
    all: Vec<f32>,
    /// For models that look at a history in the order of time.
    pub(super) order: Vec<usize>,
    /// For models that look for a user's neighbours.
    pub(super) search: Search,
    /// For models made of models: where one of those adds up, and what it said.
    pub(super) inner: Option<Box<Self>>,
    pub(super) said: Vec<f32>,
}

impl Scores {
    fn cell(&mut self, item: u32) -> &mut Cell {
        let cell = &mut self.cells[item as usize];
        if cell.sum == 0.0 {
            self.touched.push(item);
        }
        cell
    }

    /// Adds what the item `because` of the history contributes, above 0, to the score of `item`.
    pub fn add(&mut self, item: u32, contribution: f32, because: u32) {
        let cell = self.cell(item);
        cell.sum += contribution;
        cell.heed(contribution, because);
    }

    /// Raises the score of `item` to what the item `because` of the history contributes, above 0, where that is more.
    pub fn raise(&mut self, item: u32, contribution: f32, because: u32) {
        let cell = self.cell(item);
        cell.heed(contribution, because);
        cell.sum = cell.most;
    }

    /// The scores of all items, 0 each, to be written by a model that scores them all.
    pub fn all(&mut self, n_items: usize) -> &mut [f32] {
        self.all.resize(n_items, 0.0);
        &mut self.all
    }

    /// Puts what `model` gives each of its items for a user into `into`, 0 where nothing speaks for an item.
    pub(super) fn of(&mut self, model: &dyn Recommender, user: History<'_>, into: &mut Vec<f32>) {
        self.begin(model.n_items());
        model.score(user, self);
        into.clear();
        into.extend_from_slice(&self.all);
        into.resize(model.n_items(), 0.0);
        for item in self.touched.drain(..) {
            into[item as usize] = std::mem::take(&mut self.cells[item as usize]).sum;
        }
    }

    fn begin(&mut self, n_items: usize) {
        self.all.clear();
        if self.cells.len() < n_items {
            self.cells.resize(n_items, Cell::default());
        }
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
fn better(a: &Scored, b: &Scored) -> std::cmp::Ordering {
    b.score.total_cmp(&a.score).then(a.item.cmp(&b.item))
}

/// The at most `k` best of what is offered, scores above 0: what is below the k-th best so far is passed over.
#[derive(Debug)]
pub struct Best<'a> {
    k: usize,
    threshold: f32,
    list: &'a mut Vec<Scored>,
}

impl<'a> Best<'a> {
    /// Into `list`, which is emptied.
    pub fn new(k: usize, list: &'a mut Vec<Scored>) -> Self {
        list.clear();
        Self { k, threshold: if k == 0 { f32::INFINITY } else { 0.0 }, list }
    }

    /// Offers the scores of the items from `first` on, after those of all items before them; of items that are not there the score is 0.
    pub fn offer_all(&mut self, scores: &[f32], first: u32, filter: Filter<'_>) {
        const RUN: usize = 16;
        for (run, at) in scores.chunks(RUN).zip((first..).step_by(RUN)) {
            // No way out of the loop in between, so that it is one of vectors. Of equal scores the first item is the better one.
            if run.iter().fold(false, |any, s| any | (*s > self.threshold)) {
                for (&score, item) in run.iter().zip(at..) {
                    if score > self.threshold && score.is_finite() && filter.passes(item) {
                        self.push(Scored { item, score, because: None });
                    }
                }
            }
        }
    }

    /// Offers an item, in any order of items.
    pub fn offer(&mut self, scored: Scored, filter: Filter<'_>) {
        if scored.score >= self.threshold && scored.score > 0.0 && scored.score.is_finite() && filter.passes(scored.item) {
            self.push(scored);
        }
    }

    fn push(&mut self, scored: Scored) {
        self.list.push(scored);
        if self.list.len() >= self.k.saturating_mul(2).max(16) {
            self.select();
            self.threshold = self.list[self.k - 1].score;
        }
    }

    fn select(&mut self) {
        if self.list.len() > self.k {
            self.list.select_nth_unstable_by(self.k - 1, better);
            self.list.truncate(self.k);
        }
    }

    /// Leaves the best, the best first.
    pub fn finish(mut self) {
        self.select();
        self.list.sort_unstable_by(better);
    }
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
    // What nothing speaks for is not recommended.
    let mut best = Best::new(k, out);
    best.offer_all(&scores.all, 0, filter);
    for item in scores.touched.drain(..) {
        let Cell { sum, most, because } = std::mem::take(&mut scores.cells[item as usize]);
        best.offer(Scored { item, score: sum, because: (most > 0.0).then_some(because) }, filter);
    }
    best.finish();
    if !scores.all.is_empty() {
        out.iter_mut().for_each(|s| s.because = model.because(user, s.item));
    }
}
