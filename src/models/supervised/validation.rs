//! Splitting rows so that a customer is on one side only, and columns that are too good to be true.

use rayon::prelude::*;

use super::Matrix;
use crate::models::hash::{GOLDEN, split_mix, unit};
use crate::models::metrics::{roc_auc, spearman};

/// A column that alone orders the labels this well has probably seen them.
const TOO_GOOD: f64 = 0.99;
/// Rows of either class, or rows in all, below which a column may order them by chance.
const FEWEST: usize = 10;

/// A number in [0, 1) of a key and a seed.
fn place(hash: u64, seed: u64) -> f64 {
    let mix = |x: u64| split_mix(x.wrapping_add(GOLDEN));
    unit(mix(mix(hash) ^ mix(!seed)))
}

/// Whether the rows of a key (its hash) are in the test part: always the same for a key and a seed, and a larger fraction keeps those of a smaller one.
pub fn split_by_key(hash: u64, seed: u64, test_fraction: f64) -> bool {
    place(hash, seed) < test_fraction
}

/// Columns that alone tell the label, with how well: of 0/1 labels the area under the ROC curve or 1 − it, else Spearman's rank correlation without its sign. Looked
/// at with what is not known below all values, above them, and left out: a date of cancellation that only those have who cancelled tells it, too.
pub fn suspicious_columns(x: &Matrix, y: &[f64]) -> Vec<(usize, f64)> {
    let binary = y.iter().all(|v| *v == 0.0 || *v == 1.0);
    let strength = |values: &[f64], labels: &[f64]| {
        let strength = if binary {
            let positive: Vec<bool> = labels.iter().map(|v| *v == 1.0).collect();
            let positives = positive.iter().filter(|p| **p).count();
            let auc = roc_auc(values, &positive);
            if positives.min(labels.len() - positives) < FEWEST { f64::NAN } else { auc.max(1.0 - auc) }
        } else if labels.len() < 2 * FEWEST {
            f64::NAN
        } else {
            spearman(values, labels).abs()
        };
        Some(strength).filter(|s| *s > TOO_GOOD)
    };
    let one = |(column, values): (usize, &Vec<f64>)| {
        let filled = |with: f64| values.iter().map(|v| if v.is_nan() { with } else { *v }).collect::<Vec<f64>>();
        let (known, labels): (Vec<f64>, Vec<f64>) = values.iter().zip(y).filter(|(v, _)| !v.is_nan()).map(|(v, y)| (*v, *y)).unzip();
        let mut best = strength(&known, &labels);
        if known.len() < values.len() {
            for with in [f64::NEG_INFINITY, f64::INFINITY] {
                best = best.into_iter().chain(strength(&filled(with), y)).reduce(f64::max);
            }
        }
        best.map(|s| (column, s))
    };
    x.columns.par_iter().enumerate().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_on_one_side_and_the_sides_are_of_the_size_asked_for() {
        // Keys that differ in few bits, and seeds too.
        for seed in 0..4 {
            let test: Vec<u64> = (0..20_000).filter(|&key| split_by_key(key, seed, 0.2)).collect();
            assert!((3_800..4_200).contains(&test.len()), "{}", test.len());
            assert!(test.iter().all(|&key| split_by_key(key, seed, 0.3)));
            let again = test.iter().filter(|&&key| split_by_key(key, seed + 1, 0.2)).count();
            assert!((700..900).contains(&again), "{again}");
        }
        assert!(!split_by_key(7, 1, 0.0) && split_by_key(7, 1, 1.0));
    }

    #[test]
    fn columns_that_know_the_label_are_found() {
        let y: Vec<f64> = (0..60).map(|i| f64::from(u8::from(i % 3 == 0))).collect();
        let i = || (0..60).map(f64::from);
        let columns: Vec<Vec<f64>> = vec![
            i().collect(),
            // The label reversed; known only where the label is 1; known of a few rows, and right there.
            y.iter().map(|v| 5.0 - v).collect(),
            y.iter().zip(i()).map(|(v, i)| if *v == 1.0 { i } else { f64::NAN }).collect(),
            y.iter().zip(i()).map(|(v, i)| if i < 9.0 { *v } else { f64::NAN }).collect(),
            vec![1e300; 60],
            vec![f64::NAN; 60],
        ];
        let x = Matrix { rows: 60, columns };
        assert_eq!(suspicious_columns(&x, &y), [(1, 1.0), (2, 1.0)]);
        let amount: Vec<f64> = i().map(|v| v * v).collect();
        assert_eq!(suspicious_columns(&x, &amount), [(0, 1.0), (2, 1.0)]);
        let none = Matrix::default();
        assert!(suspicious_columns(&none, &[]).is_empty());
        assert!(suspicious_columns(&x.take(&[0, 1, 2]), &y[..3]).is_empty());
    }
}
