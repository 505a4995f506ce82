//! Baskets: what was bought together.

use rayon::prelude::*;

use super::Feedback;
/// Sets of items, one an order of a user. Basket `b` has the items `items[offsets[b]..offsets[b + 1]]`, distinct and ascending, each below `n_items`.
#[derive(Debug, Clone, PartialEq)]
pub struct Baskets {
    pub n_items: usize,
    pub offsets: Vec<usize>,
    pub items: Vec<u32>,
    /// Whose each basket is.
    pub users: Vec<u32>,
    /// When each was bought, µs.
    pub ts_us: Vec<i64>,
}

impl Baskets {
    /// Everything a user has had as one basket, as of the latest of it.
    pub fn of_users(feedback: &Feedback) -> Self {
        let users = 0..feedback.n_users() as u32;
        let latest = |u: u32| feedback.history(u).last_us.iter().copied().max().unwrap_or(0);
        Self {
            n_items: feedback.n_items(),
            offsets: feedback.weights.offsets.clone(),
            items: feedback.weights.columns.clone(),
            ts_us: users.clone().map(latest).collect(),
            users: users.collect(),
        }
    }

    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items of a basket, ascending.
    pub fn basket(&self, b: usize) -> &[u32] {
        &self.items[self.offsets[b]..self.offsets[b + 1]]
    }

    /// In how many baskets each item is.
    pub fn item_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.n_items];
        self.items.iter().for_each(|&i| counts[i as usize] += 1);
        counts
    }

    /// Each user's baskets in the order of time, of equal times the later in the table last, by user from 0 to the largest.
    pub fn by_user(&self) -> Vec<Vec<u32>> {
        let mut of = vec![vec![]; self.users.iter().max().map_or(0, |&u| u as usize + 1)];
        self.users.iter().zip(0..).for_each(|(&u, b)| of[u as usize].push(b));
        of.par_iter_mut().for_each(|row: &mut Vec<u32>| row.sort_by_key(|&b| self.ts_us[b as usize]));
        of
    }
}

/// The baskets that have each item.
#[derive(Debug)]
pub struct ByItem {
    offsets: Vec<usize>,
    baskets: Vec<u32>,
}

impl ByItem {
    pub fn new(baskets: &Baskets) -> Self {
        let mut offsets = vec![0];
        let mut total = 0;
        for n in baskets.item_counts() {
            total += n as usize;
            offsets.push(total);
        }
        let (mut at, mut of) = (offsets.clone(), vec![0; total]);
        for b in 0..baskets.len() {
            for &i in baskets.basket(b) {
                of[at[i as usize]] = b as u32;
                at[i as usize] += 1;
            }
        }
        Self { offsets, baskets: of }
    }

    /// Ascending; none of an item that no basket has.
    pub fn baskets(&self, item: u32) -> &[u32] {
        let end = self.offsets.get(item as usize + 1).copied().unwrap_or(0);
        &self.baskets[self.offsets.get(item as usize).copied().unwrap_or(0).min(end)..end]
    }

    /// The baskets that have every one of `items`, ascending; none for no items.
    pub fn with_all(&self, items: &[u32]) -> Vec<u32> {
        let Some(&rarest) = items.iter().min_by_key(|&&i| (self.baskets(i).len(), i)) else { return vec![] };
        let others: Vec<&[u32]> = items.iter().filter(|i| **i != rarest).map(|&i| self.baskets(i)).collect();
        self.baskets(rarest).iter().copied().filter(|b| others.iter().all(|o| o.binary_search(b).is_ok())).collect()
    }
}

/// Counts of a few of many items: all zero between two uses.
#[derive(Debug)]
pub(super) struct Counts {
    counts: Vec<u32>,
    touched: Vec<u32>,
}

impl Counts {
    pub fn new(n_items: usize) -> Self {
        Self { counts: vec![0; n_items], touched: vec![] }
    }

    pub fn add(&mut self, item: u32) {
        let count = &mut self.counts[item as usize];
        if *count == 0 {
            self.touched.push(item);
        }
        *count += 1;
    }

    /// Items and counts by ascending item.
    pub fn take(&mut self) -> Vec<(u32, u32)> {
        let mut items = std::mem::take(&mut self.touched);
        items.sort_unstable();
        items.into_iter().map(|i| (i, std::mem::take(&mut self.counts[i as usize]))).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Each of `n` baskets of a handful of users has an item with a probability that falls from 0.6 with its code.
    pub fn random(seed: u64, n: usize, n_items: usize) -> Baskets {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut out = Baskets { n_items, offsets: vec![0], items: vec![], users: vec![], ts_us: vec![] };
        for _ in 0..n {
            out.items.extend((0..n_items as u32).filter(|&i| rng.random::<f64>() < 0.6 / (1.0 + 0.3 * f64::from(i))));
            out.offsets.push(out.items.len());
            out.users.push(rng.random_range(0..6));
            out.ts_us.push(rng.random_range(0..20));
        }
        out
    }

    /// How many baskets have all of `items`, the slow way.
    pub fn having(baskets: &Baskets, items: &[u32]) -> u32 {
        (0..baskets.len()).filter(|&b| items.iter().all(|i| baskets.basket(b).contains(i))).count() as u32
    }

    #[test]
    fn counts_are_those_of_brute_force() {
        for seed in 0..10 {
            let b = random(seed, 40, 9);
            let by_item = ByItem::new(&b);
            assert!((0..9).all(|i| b.item_counts()[i as usize] == having(&b, &[i])));
            assert_eq!(by_item.with_all(&[4, 0, 2]).len() as u32, having(&b, &[0, 2, 4]));
            assert!(by_item.with_all(&[0, 77]).is_empty() && by_item.with_all(&[]).is_empty());
        }
    }
}
