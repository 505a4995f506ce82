//! The best products of the factors of users with those of items, in tiles of users and items.

use super::dense::{GROUP, LANES, Panels};
use super::scores::Best;
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
                best.offer_all(scores, (start * LANES) as u32, *filter);
            }
        }
    }
    best.into_iter().for_each(Best::finish);
}
