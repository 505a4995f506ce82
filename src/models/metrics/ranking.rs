//! Ranking with binary relevance, and what lists are like as a whole. No list has an item twice; `truth` is ascending.
//!
//! Of one list: [Manning, Raghavan & Schütze 2008, "Introduction to information retrieval", §8.4], and Järvelin & Kekäläinen 2002, ACM TOIS 20(4), for NDCG.
//! Of all lists: Shani & Gunawardana 2011, "Evaluating recommendation systems", in "Recommender systems handbook", §8.3.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Σ rel_i / log₂(i + 1) over the first k, divided by the same of an ideal list of min(|truth|, k).
pub fn ndcg_at_k(recommended: &[u32], truth: &[u32], k: usize) -> f64 {
    let gain = |i: usize| 1.0 / ((i + 2) as f64).log2();
    let ideal: f64 = (0..truth.len().min(k)).map(gain).sum();
    if ideal > 0.0 { hits(recommended, truth, k).map(gain).fold(0.0, |a, b| a + b) / ideal } else { 0.0 }
}

/// 1 if any of the first k is relevant.
pub fn hit_rate_at_k(recommended: &[u32], truth: &[u32], k: usize) -> f64 {
    f64::from(u8::from(hits(recommended, truth, k).next().is_some()))
}

/// Relevant among the first k / k, however short the list is; 0 for k = 0.
pub fn precision_at_k(recommended: &[u32], truth: &[u32], k: usize) -> f64 {
    hits(recommended, truth, k).count() as f64 / k.max(1) as f64
}

/// Relevant among the first k / |truth|; 0 without any truth.
pub fn recall_at_k(recommended: &[u32], truth: &[u32], k: usize) -> f64 {
    hits(recommended, truth, k).count() as f64 / truth.len().max(1) as f64
}

/// Σ rel_i · precision@i over the first k / min(|truth|, k); its mean over users is MAP@k.
pub fn average_precision_at_k(recommended: &[u32], truth: &[u32], k: usize) -> f64 {
    let precisions = hits(recommended, truth, k).zip(1..).map(|(place, found)| f64::from(found) / (place + 1) as f64);
    precisions.fold(0.0, |a, b| a + b) / truth.len().min(k).max(1) as f64
}

/// 1 / place of the first relevant item, places from 1, 0 where none is; its mean over users is MRR (Voorhees 1999, TREC-8).
pub fn reciprocal_rank(recommended: &[u32], truth: &[u32]) -> f64 {
    hits(recommended, truth, usize::MAX).next().map_or(0.0, |place| 1.0 / (place + 1) as f64)
}

/// Places of the relevant among the first k, from 0.
fn hits(recommended: &[u32], truth: &[u32], k: usize) -> impl Iterator<Item = usize> {
    recommended.iter().take(k).enumerate().filter(|(_, item)| truth.binary_search(item).is_ok()).map(|(place, _)| place)
}

/// How often each of `n_items` is in a list; items from `n_items` on are left out.
fn exposure<L: AsRef<[u32]>>(lists: &[L], n_items: usize) -> Vec<u64> {
    let mut exposure = vec![0; n_items];
    for &item in lists.iter().flat_map(|l| l.as_ref()) {
        if let Some(times) = exposure.get_mut(item as usize) {
            *times += 1;
        }
    }
    exposure
}

/// Items that are in any list / `n_items`; 0 without items.
pub fn coverage<L: AsRef<[u32]>>(lists: &[L], n_items: usize) -> f64 {
    exposure(lists, n_items).iter().filter(|&&times| times > 0).count() as f64 / n_items.max(1) as f64
}

/// The Gini coefficient of how often items are recommended, Σ_i (2i − n − 1) · x_i / ((n − 1) · Σ x), x ascending, i from 1: 0 where all n items are
/// equally often, 1 where one item is all that is. `None` without recommendations, or with fewer than two items.
pub fn exposure_gini<L: AsRef<[u32]>>(lists: &[L], n_items: usize) -> Option<f64> {
    let mut exposure = exposure(lists, n_items);
    exposure.sort_unstable();
    let (n, total) = (n_items as f64, exposure.iter().sum::<u64>() as f64);
    let sum: f64 = exposure.iter().zip(1..).map(|(&x, i)| (2.0 * f64::from(i) - n - 1.0) * x as f64).sum();
    (n_items > 1 && total > 0.0).then(|| sum / ((n - 1.0) * total))
}

/// Mean over the items of a list of −log₂(share of the users who had the item), in bits (Zhou et al. 2010, PNAS 107(10)). `users_with` is by item; an item that
/// nobody had counts as one that one user had. `None` of an empty list, or without users.
pub fn novelty(list: &[u32], users_with: &[u32], n_users: usize) -> Option<f64> {
    let bits = |item: &u32| -(f64::from(users_with.get(*item as usize).copied().unwrap_or(0).max(1)) / n_users as f64).min(1.0).log2();
    // Adding 0 makes a sum of −0 a 0.
    (n_users > 0 && !list.is_empty()).then(|| list.iter().map(bits).sum::<f64>() / list.len() as f64 + 0.0)
}

/// How often the bootstrap draws, unless another number is asked for.
pub const BOOTSTRAP_DRAWS: usize = 1_000;

/// The percentile interval of the mean of `values`, one a user (Efron & Tibshirani 1993, "An introduction to the bootstrap", §13.3): users are drawn with
/// replacement, as many as there are, `draws` times, and the quantiles (1 ∓ level) / 2 of the means taken, linear between them. The same for any
/// number of threads. `None` without values or draws, or for a level outside (0, 1).
pub fn bootstrap_interval(values: &[f64], level: f64, draws: usize, seed: u64) -> Option<(f64, f64)> {
    if values.is_empty() || draws == 0 || !(level > 0.0 && level < 1.0) {
        return None;
    }
    let draw = |draw: usize| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(draw as u64);
        (0..values.len()).map(|_| values[rng.random_range(0..values.len())]).sum::<f64>() / values.len() as f64
    };
    let mut means: Vec<f64> = (0..draws).into_par_iter().map(draw).collect();
    means.sort_unstable_by(f64::total_cmp);
    let quantile = |q: f64| {
        let place = q * (draws - 1) as f64;
        let (below, above) = (means[place.floor() as usize], means[place.ceil() as usize]);
        below + (above - below) * place.fract()
    };
    Some((quantile((1.0 - level) / 2.0), quantile((1.0 + level) / 2.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_examples() {
        assert_eq!(ndcg_at_k(&[7, 3], &[3], 10), 1.0 / 3f64.log2());
        assert_eq!(ndcg_at_k(&[3, 7, 9], &[3, 7], 10), 1.0);
        assert_eq!(ndcg_at_k(&[7, 3], &[3], 1), 0.0);
        assert_eq!((hit_rate_at_k(&[7, 3], &[3], 2), hit_rate_at_k(&[7, 3], &[3], 1), hit_rate_at_k(&[], &[], 3)), (1.0, 0.0, 0.0));
    }

    /// Relevant at places 1, 3 and 6 of 6, one of four never found.
    #[test]
    fn precision_recall_and_their_means() {
        let (list, truth) = ([4, 9, 2, 8, 7, 5], [2, 4, 5, 6]);
        assert_eq!((precision_at_k(&list, &truth, 3), precision_at_k(&list, &truth, 10)), (2.0 / 3.0, 0.3));
        assert_eq!((recall_at_k(&list, &truth, 3), recall_at_k(&list, &truth, 10)), (0.5, 0.75));
        assert_eq!(average_precision_at_k(&list, &truth, 10), (1.0 + 2.0 / 3.0 + 3.0 / 6.0) / 4.0);
        assert_eq!(average_precision_at_k(&list, &truth, 2), 1.0 / 2.0);
        assert_eq!((reciprocal_rank(&list, &truth), reciprocal_rank(&list, &[2]), reciprocal_rank(&list, &[1])), (1.0, 1.0 / 3.0, 0.0));
        for none in [
            precision_at_k(&[], &[], 0),
            recall_at_k(&list, &[], 5),
            average_precision_at_k(&list, &[], 5),
            average_precision_at_k(&list, &truth, 0),
        ] {
            assert_eq!(none, 0.0);
        }
    }

    #[test]
    fn lists_as_a_whole() {
        let lists = [vec![0, 1], vec![0, 2], vec![]];
        assert_eq!((coverage(&lists, 4), coverage(&lists, 0)), (0.75, 0.0));
        // Exposures 0 1 1 2: (−3·0 − 1·1 + 1·1 + 3·2) / (3·4)
        assert_eq!(exposure_gini(&lists, 4), Some(0.5));
        assert_eq!((exposure_gini(&[[0, 1]], 2), exposure_gini(&[[0]], 9), exposure_gini(&[[0u32; 0]], 9)), (Some(0.0), Some(1.0), None));
        // Had by 4, 1 and none of 4: 0, 2 and 2 bits.
        assert_eq!((novelty(&[0, 1], &[4, 1], 4), novelty(&[2], &[4, 1], 4)), (Some(1.0), Some(2.0)));
        assert_eq!((novelty(&[0], &[4], 4), novelty(&[], &[4], 4), novelty(&[0], &[], 0)), (Some(0.0), None, None));
    }

    /// Of n draws of 0 and 1, half each, the mean has the standard deviation 1 / (2√n): 95 % of the means are within 1.96 of it.
    #[test]
    fn bootstrap_is_that_of_theory_and_of_its_seed() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let (low, high) = bootstrap_interval(&values, 0.95, 4_000, 1).unwrap();
        assert!((low - (0.5 - 1.96 / 40.0)).abs() < 0.004 && (high - (0.5 + 1.96 / 40.0)).abs() < 0.004, "{low} {high}");
        let on = |threads: usize, seed: u64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bootstrap_interval(&values, 0.9, BOOTSTRAP_DRAWS, seed))
        };
        assert!(on(1, 5) == on(3, 5) && on(1, 5) != on(1, 6));
        assert_eq!((bootstrap_interval(&[2.5], 0.9, 7, 0), bootstrap_interval(&[], 0.9, 7, 0)), (Some((2.5, 2.5)), None));
        assert!(bootstrap_interval(&values, 1.0, 7, 0).is_none() && bootstrap_interval(&values, f64::NAN, 7, 0).is_none());
    }
}
