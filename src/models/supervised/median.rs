//! The conditional median of a label, given what a model predicts: what has the least absolute error.
//!
//! Powell (1984), "Least absolute deviations estimation for the censored regression model", J. Econometrics 25: the median of a label that is never below 0 is
//! max(0, a·p + b) where that of the uncensored one is a·p + b, and a and b minimise Σ|y − max(0, a·p + b)|. The sum is not convex: the place −b/a where the line leaves 0
//! is looked for on a grid of quantiles of p and then between its neighbours, the slope given the place being a weighted median. Of labels that the line without
//! the 0 fits no worse, least absolute deviations (Koenker & Bassett 1978), convex in the slope.

use rayon::prelude::*;

/// `max(slope·p + intercept, 0)`, or without the 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Median {
    /// Not negative.
    pub slope: f64,
    pub intercept: f64,
    pub censored: bool,
}

/// Quantiles of the predictions where the line may leave 0.
const PLACES: usize = 50;
/// Rows that are looked at: more would not move two numbers, and take seconds.
const MOST_ROWS: usize = 100_000;
/// Steps of golden sections.
const STEPS: usize = 40;
/// No slope is larger.
const STEEPEST: f64 = 1e6;
const GOLDEN: f64 = 0.618_033_988_749_894_8;

impl Median {
    pub(super) fn of(&self, p: f64) -> f64 {
        let line = self.slope * p + self.intercept;
        if self.censored { line.max(0.0) } else { line }
    }

    /// Of rows with a prediction and a label, all finite, in any order. Of more than [`MOST_ROWS`], every n-th by prediction is taken.
    pub(super) fn fit(predictions: &[f64], labels: &[f64]) -> Self {
        let largest = predictions.iter().chain(labels).fold(0.0, |most: f64, v| most.max(v.abs()));
        if largest == 0.0 {
            return Self { slope: 1.0, intercept: 0.0, censored: true };
        }
        let mut rows: Vec<(f64, f64)> = predictions.iter().zip(labels).map(|(p, y)| (p / largest, y / largest)).collect();
        rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let (predictions, labels): (Vec<f64>, Vec<f64>) = rows.iter().step_by(rows.len().div_ceil(MOST_ROWS)).copied().unzip();
        let fitted = Self::of_small(&predictions, &labels);
        Self { intercept: fitted.intercept * largest, ..fitted }
    }

    /// Of values within ±1, whose sums are finite, by rising prediction.
    fn of_small(predictions: &[f64], labels: &[f64]) -> Self {
        let never_below = labels.iter().all(|y| *y >= 0.0);
        let error = |m: &Self| -> f64 { predictions.iter().zip(labels).map(|(p, y)| (y - m.of(*p)).abs()).sum() };
        let line = Self { censored: never_below, ..uncensored(predictions, labels) };
        let hinge = censored(predictions, labels);
        if error(&hinge) <= error(&line) { hinge } else { line }
    }
}

/// Where a function is least between two ends, if it has one valley there.
fn golden(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    let (mut a, mut b) = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
    let (mut fa, mut fb) = (f(a), f(b));
    for _ in 0..STEPS {
        if fa <= fb {
            (high, b, fb) = (b, a, fa);
            a = high - GOLDEN * (high - low);
            fa = f(a);
        } else {
            (low, a, fa) = (a, b, fb);
            b = low + GOLDEN * (high - low);
            fb = f(b);
        }
    }
    if fa <= fb { a } else { b }
}

/// The line through a place on the axis, 0 before it, of the least error.
fn through(place: f64, predictions: &[f64], labels: &[f64]) -> (Median, f64) {
    let mut ratios: Vec<(f64, f64)> =
        predictions.iter().zip(labels).filter(|(p, _)| **p > place).map(|(p, y)| (y / (p - place), p - place)).collect();
    ratios.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let half = ratios.iter().map(|r| r.1).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    let slope = ratios.iter().find(|r| {
        sum += r.1;
        sum >= half
    });
    let slope = slope.map_or(0.0, |r| r.0).clamp(0.0, STEEPEST);
    let line = Median { slope, intercept: -slope * place, censored: true };
    let error = predictions.iter().zip(labels).map(|(p, y)| (y - line.of(*p)).abs()).sum();
    (line, error)
}

fn censored(predictions: &[f64], labels: &[f64]) -> Median {
    let mut places: Vec<f64> = (0..PLACES).map(|k| predictions[k * predictions.len() / PLACES]).collect();
    places.dedup();
    let errors: Vec<f64> = places.par_iter().map(|&place| through(place, predictions, labels).1).collect();
    let mut best = 0;
    for (at, error) in errors.iter().enumerate() {
        if *error < errors[best] {
            best = at;
        }
    }
    let (low, high) = (places[best.saturating_sub(1)], places[(best + 1).min(places.len() - 1)]);
    let between = golden(low, high, |place| through(place, predictions, labels).1);
    let (a, b) = (through(places[best], predictions, labels), through(between, predictions, labels));
    if b.1 < a.1 { b.0 } else { a.0 }
}

/// The median of what a slope leaves.
fn intercept(slope: f64, predictions: &[f64], labels: &[f64]) -> f64 {
    let mut left: Vec<f64> = predictions.iter().zip(labels).map(|(p, y)| y - slope * p).collect();
    let middle = left.len().saturating_sub(1) / 2;
    if left.is_empty() { 0.0 } else { *left.select_nth_unstable_by(middle, f64::total_cmp).1 }
}

fn uncensored(predictions: &[f64], labels: &[f64]) -> Median {
    let line = |slope: f64| Median { slope, intercept: intercept(slope, predictions, labels), censored: false };
    let error = |slope: f64| -> f64 {
        let line = line(slope);
        predictions.iter().zip(labels).map(|(p, y)| (y - line.of(*p)).abs()).sum()
    };
    // Predictions are about as large as labels: the slope is about 1, or nearer to 0.
    let mut most = 2.0;
    while most < STEEPEST && error(most) < error(most / 2.0) {
        most *= 2.0;
    }
    let slope = golden(0.0, most, error);
    line(if error(0.0) <= error(slope) { 0.0 } else { slope })
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn error(m: &Median, p: &[f64], y: &[f64]) -> f64 {
        p.iter().zip(y).map(|(p, y)| (y - m.of(*p)).abs()).sum()
    }

    /// Some line of least absolute deviations goes through two of the points.
    #[test]
    fn a_line_is_the_least_of_all_through_two_points() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..20 {
            let p: Vec<f64> = (0..30).map(|_| rng.random_range(-2.0..3.0)).collect();
            let y: Vec<f64> = p.iter().map(|p| 0.7 * p - 1.0 + rng.random_range(-2.0..2.0)).collect();
            let mut least = f64::MAX;
            for i in 0..30 {
                for j in 0..i {
                    let slope = (y[i] - y[j]) / (p[i] - p[j]);
                    if slope >= 0.0 {
                        least = least.min(error(&Median { slope, intercept: y[i] - slope * p[i], censored: false }, &p, &y));
                    }
                }
            }
            let found = uncensored(&p, &y);
            assert!(error(&found, &p, &y) <= least * (1.0 + 1e-6), "{} {least}", error(&found, &p, &y));
        }
    }

    /// Censored at 0 as in Powell: the line is found that the labels came from, and no line on a fine grid is better by more than a hair.
    #[test]
    fn a_hinge_is_found_where_most_labels_are_0() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let p: Vec<f64> = (0..4_000).map(|_| rng.random_range(0.0..10.0)).collect();
        let y: Vec<f64> = p.iter().map(|p| (1.5 * p - 9.0 + rng.random_range(-1.0..1.0)).max(0.0)).collect();
        let found = Median::fit(&p, &y);
        assert!(found.censored && (found.slope - 1.5).abs() < 0.05 && (found.intercept + 9.0).abs() < 0.4, "{found:?}");
        let mut least = f64::MAX;
        for s in 0..60 {
            for b in 0..60 {
                let m = Median { slope: 1.2 + 0.01 * f64::from(s), intercept: -10.5 + 0.05 * f64::from(b), censored: true };
                least = least.min(error(&m, &p, &y));
            }
        }
        assert!(error(&found, &p, &y) < least * 1.001);
    }

    /// In any order, and every other row of many.
    #[test]
    fn order_changes_nothing_and_a_part_of_many_rows_little() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let p: Vec<f64> = (0..150_000).map(|_| rng.random_range(0.0..10.0)).collect();
        let y: Vec<f64> = p.iter().map(|p| (1.5 * p - 9.0 + rng.random_range(-1.0..1.0)).max(0.0)).collect();
        let found = Median::fit(&p, &y);
        let turned = |v: &[f64]| v.iter().rev().copied().collect::<Vec<_>>();
        assert_eq!(Median::fit(&turned(&p), &turned(&y)), found);
        assert!((found.slope - 1.5).abs() < 0.01 && (found.intercept + 9.0).abs() < 0.08, "{found:?}");
    }

    #[test]
    fn whatever_comes_it_is_a_rising_line() {
        for (p, y) in [
            (vec![], vec![]),
            (vec![1.0], vec![0.0]),
            (vec![2.0; 9], vec![0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 5.0, 5.0, 5.0]),
            (vec![1.0, 2.0, 3.0, 4.0], vec![4.0, 3.0, 2.0, 1.0]),
            (vec![-1e9, 0.0, 1e-9, 1e9], vec![-5.0, 0.0, 7.0, 1e9]),
            (vec![0.0, 0.0, 0.0, 1e-308], vec![0.0, 0.0, 0.0, 1.0]),
        ] {
            let m = Median::fit(&p, &y);
            assert!(m.slope >= 0.0 && m.slope.is_finite() && m.intercept.is_finite(), "{p:?}: {m:?}");
        }
    }
}
