//! The best products of the factors of users with those of items, in tiles of users and items.

use super::dense::{GROUP, LANES, Panels};
use super::scores::better;
use super::{Filter, Scored};

/// How many users [`best_products`] takes at once: a tile of items is read once for all of them.
pub const USERS: usize = 240;
/// Panels of a tile of items, which stays in the second cache; its scores for a group of users stay in the first.
const PANELS: usize = 64;

/// Puts the at most `k` best items of each user into their lists: products above 0, the highest first, equal ones by ascending item. `users` has a row of
/// factors for each list, and each has the filter of the same place.
pub fn best_products(items: &Panels, users: &[f32], filters: &[Filter<'_>], k: usize, lists: &mut [Vec<Scored>]) {
    let stride = items.stride();
    let mut best: Vec<Best<'_>> = lists.iter_mut().map(|list| Best::new(k, list)).collect();
    let mut scores = vec![0.0; GROUP * PANELS * LANES];
    for start in (0..items.len()).step_by(PANELS) {
        let panels = start..(start + PANELS).min(items.len());
        let width = panels.len() * LANES;
        for ((rows, best), filters) in users.chunks(GROUP * stride).zip(best.chunks_mut(GROUP)).zip(filters.chunks(GROUP)) {
            let scores = &mut scores[..best.len() * width];
            items.products(panels.clone(), rows, scores);
            for ((best, scores), filter) in best.iter_mut().zip(scores.chunks_exact(width)).zip(filters) {
                best.offer(scores, (start * LANES) as u32, *filter);
            }
        }
    }
    best.into_iter().for_each(Best::finish);
}

/// The best of scores that come by ascending item: what is not above the k-th best so far is passed over.
#[derive(Debug)]
struct Best<'a> {
    k: usize,
    threshold: f32,
    list: &'a mut Vec<Scored>,
}

impl<'a> Best<'a> {
    fn new(k: usize, list: &'a mut Vec<Scored>) -> Self {
        list.clear();
        Self { k, threshold: if k == 0 { f32::INFINITY } else { 0.0 }, list }
    }

    /// Offers the scores of the items from `first` on; those that no model has an item for are 0.
    fn offer(&mut self, scores: &[f32], first: u32, filter: Filter<'_>) {
        const RUN: usize = 16;
        for (run, at) in scores.chunks(RUN).zip((first..).step_by(RUN)) {
            // No way out of the loop in between, so that it is one of vectors.
            if run.iter().fold(false, |any, s| any | (*s > self.threshold)) {
                for (&score, item) in run.iter().zip(at..) {
                    if score > self.threshold && score.is_finite() && filter.passes(item) {
                        self.push(Scored { item, score, because: None });
                    }
                }
            }
        }
    }

    fn push(&mut self, scored: Scored) {
        self.list.push(scored);
        if self.list.len() >= self.k.saturating_mul(2).max(8) {
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

    /// Leaves the at most k best, the best first.
    fn finish(mut self) {
        self.select();
        self.list.sort_unstable_by(better);
    }
}
