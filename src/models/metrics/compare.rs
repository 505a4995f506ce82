//! Two models on the same rows: is one better?

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::calibration::Z;

/// Whether more of a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

/// The figure of the second model minus that of the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    pub first: f64,
    pub second: f64,
    pub difference: f64,
    /// The 95 % interval of the difference.
    pub low: f64,
    pub high: f64,
    /// How likely the second is the better one.
    pub p_better: f64,
}

/// Draws with replacement of as many rows as there are, the same for both models, `draws` times: the percentile interval of the difference, and the share of
/// draws in which the second is better, equal ones counting half (Efron & Tibshirani 1993, "An introduction to the bootstrap", §13.3). Draws without a figure are left
/// out. The same for any number of threads. `None` if there is no figure of all rows, or of no draw.
pub fn paired_bootstrap<L: Copy + Sync>(
    scores: [&[f64]; 2],
    labels: &[L],
    figure: impl Fn(&[f64], &[L]) -> Option<f64> + Sync,
    better: Better,
    draws: usize,
    seed: u64,
) -> Option<Difference> {
    let known = |scores: &[f64], labels: &[L]| figure(scores, labels).filter(|v| v.is_finite());
    let (n, first, second) = (labels.len(), known(scores[0], labels)?, known(scores[1], labels)?);
    let draw = |draw: usize| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(draw as u64);
        let rows: Vec<usize> = (0..n).map(|_| rng.random_range(0..n)).collect();
        let labels: Vec<L> = rows.iter().map(|&r| labels[r]).collect();
        let of = |scores: &[f64]| known(&rows.iter().map(|&r| scores[r]).collect::<Vec<_>>(), &labels);
        Some(of(scores[1])? - of(scores[0])?)
    };
    if n == 0 {
        return None;
    }
    let drawn: Vec<Option<f64>> = (0..draws).into_par_iter().map(draw).collect();
    let mut differences: Vec<f64> = drawn.into_iter().flatten().collect();
    differences.sort_unstable_by(f64::total_cmp);
    let last = differences.len().checked_sub(1)? as f64;
    let quantile = |q: f64| {
        let place = q * last;
        let (below, above) = (differences[place.floor() as usize], differences[place.ceil() as usize]);
        below + (above - below) * place.fract()
    };
    let below = differences.partition_point(|d| *d < 0.0) as f64;
    let not_above = differences.partition_point(|d| *d <= 0.0) as f64;
    let higher = 1.0 - (below + not_above) / 2.0 / (last + 1.0);
    let p_better = if better == Better::Higher { higher } else { 1.0 - higher };
    Some(Difference { first, second, difference: second - first, low: quantile(0.025), high: quantile(0.975), p_better })
}

/// What [`delong`] finds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AucDifference {
    pub first: f64,
    pub second: f64,
    /// Second − first, its standard error and 95 % interval.
    pub difference: f64,
    pub standard_error: f64,
    pub low: f64,
    pub high: f64,
    /// Of no difference, two-sided.
    pub p_value: f64,
    /// That the second is higher, by the normal distribution.
    pub p_better: f64,
}

/// The areas under two ROC curves on the same rows (DeLong, DeLong & Clarke-Pearson 1988), by the midranks of Sun & Xu 2014, "Fast implementation of DeLong's
/// algorithm", IEEE Signal Processing Letters 21(11): O(rows · ln rows). `None` with fewer than two rows of either class.
pub fn delong(scores: [&[f64]; 2], positive: &[bool]) -> Option<AucDifference> {
    let positives = positive.iter().filter(|p| **p).count();
    let negatives = positive.len() - positives;
    if positives < 2 || negatives < 2 {
        return None;
    }
    let [a, b] = scores.map(|s| Placements::of(s, positive));
    let variance = |a: &[f64], b: &[f64]| {
        let n = a.len() as f64;
        let mean = a.iter().zip(b).map(|(a, b)| b - a).sum::<f64>() / n;
        a.iter().zip(b).map(|(a, b)| (b - a - mean).powi(2)).sum::<f64>() / (n - 1.0) / n
    };
    let difference = b.auc - a.auc;
    let standard_error = (variance(&a.positives, &b.positives) + variance(&a.negatives, &b.negatives)).sqrt();
    let z = if difference == 0.0 { 0.0 } else { difference / standard_error.max(f64::MIN_POSITIVE) };
    Some(AucDifference {
        first: a.auc,
        second: b.auc,
        difference,
        standard_error,
        low: difference - Z * standard_error,
        high: difference + Z * standard_error,
        p_value: libm::erfc(z.abs() / std::f64::consts::SQRT_2),
        p_better: 0.5 * libm::erfc(-z / std::f64::consts::SQRT_2),
    })
}

/// Of each positive the share of negatives below it, of each negative the share of positives above it, ties counting half: V₁₀ and V₀₁.
struct Placements {
    auc: f64,
    positives: Vec<f64>,
    negatives: Vec<f64>,
}

impl Placements {
    fn of(scores: &[f64], positive: &[bool]) -> Self {
        let of_class = |class: bool| -> Vec<f64> { scores.iter().zip(positive).filter(|(_, p)| **p == class).map(|(s, _)| *s).collect() };
        let (x, y) = (of_class(true), of_class(false));
        let (m, n) = (x.len() as f64, y.len() as f64);
        let all = super::value::ranks(scores);
        let (mut among_x, mut among_y) = (super::value::ranks(&x).into_iter(), super::value::ranks(&y).into_iter());
        let (mut positives, mut negatives) = (vec![], vec![]);
        for (rank, p) in all.iter().zip(positive) {
            if *p {
                positives.push((rank - among_x.next().unwrap_or(0.0)) / n);
            } else {
                negatives.push(1.0 - (rank - among_y.next().unwrap_or(0.0)) / m);
            }
        }
        Self { auc: positives.iter().sum::<f64>() / m, positives, negatives }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::metrics::{mae, roc_auc};

    const A: [f64; 12] = [0.9, 0.8, 0.8, 0.7, 0.6, 0.55, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1];
    const B: [f64; 12] = [0.6, 0.9, 0.3, 0.8, 0.5, 0.4, 0.7, 0.2, 0.35, 0.55, 0.1, 0.35];
    const Y: [bool; 12] = [true, true, false, true, false, true, true, false, false, true, false, false];

    /// By numpy from all pairs of a positive and a negative, after DeLong's equations.
    #[test]
    fn delong_is_that_of_all_pairs() {
        let d = delong([&A, &B], &Y).unwrap();
        let expected = [0.7222222222222222, 0.9722222222222222, 0.25, 0.15214515486254615, 0.10034824646229075];
        for (got, expected) in [d.first, d.second, d.difference, d.standard_error, d.p_value].iter().zip(expected) {
            assert!((got - expected).abs() < 1e-12, "{got} against {expected}");
        }
        assert!((d.p_better - (1.0 - d.p_value / 2.0)).abs() < 1e-12);
        let same = delong([&A, &A], &Y).unwrap();
        assert_eq!((same.difference, same.p_value, same.p_better), (0.0, 1.0, 0.5));
        assert!(delong([&A, &B], &[true; 12]).is_none());
    }

    /// With many rows the bootstrap finds what DeLong finds.
    #[test]
    fn bootstrap_agrees_with_delong_and_is_of_its_seed() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let positive: Vec<bool> = (0..800).map(|i| i % 3 == 0).collect();
        let mut noisy = |weight: f64| -> Vec<f64> {
            positive.iter().map(|p| f64::from(u8::from(*p)) * weight + rng.random_range(0.0..1.0) + rng.random_range(0.0..1.0)).collect()
        };
        let (a, b) = (noisy(0.6), noisy(0.7));
        let auc = |s: &[f64], y: &[bool]| Some(roc_auc(s, y));
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| paired_bootstrap([&a, &b], &positive, auc, Better::Higher, 600, 1)).unwrap()
        };
        let (drawn, exact) = (on(1), delong([&a, &b], &positive).unwrap());
        assert_eq!(drawn, on(3));
        assert!((drawn.difference - exact.difference).abs() < 1e-12);
        let width = exact.high - exact.low;
        assert!((drawn.low - exact.low).abs() < 0.15 * width && (drawn.high - exact.high).abs() < 0.15 * width, "{drawn:?} {exact:?}");
        assert!((drawn.p_better - exact.p_better).abs() < 0.05, "{drawn:?} {exact:?}");
    }

    #[test]
    fn of_an_error_less_is_better() {
        let labels = [1.0, 2.0, 3.0, 4.0];
        let error = |p: &[f64], a: &[f64]| Some(mae(p, a));
        let of = |scores, better| paired_bootstrap(scores, &labels, error, better, 50, 0);
        let d = of([&[1.5, 2.5, 3.5, 4.5], &labels], Better::Lower).unwrap();
        assert_eq!((d.difference, d.low, d.high, d.p_better), (-0.5, -0.5, -0.5, 1.0));
        assert_eq!(of([&labels, &labels], Better::Higher).unwrap().p_better, 0.5);
        assert!(paired_bootstrap([&[], &[]], &[], error, Better::Lower, 50, 0).is_none());
        let no_class = |s: &[f64], y: &[bool]| Some(roc_auc(s, y));
        assert!(paired_bootstrap([&A, &B], &[true; 12], no_class, Better::Higher, 50, 0).is_none());
    }
}
