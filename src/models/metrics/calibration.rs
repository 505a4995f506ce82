//! Whether probabilities mean what they say. Slices are parallel; probabilities lie in [0, 1].

use crate::models::lifetime::normal_quantile;

/// Mean squared error of probabilities (Brier 1950). `None` without rows.
pub fn brier(probability: &[f64], positive: &[bool]) -> Option<f64> {
    let sum: f64 = probability.iter().zip(positive).map(|(p, y)| (p - f64::from(u8::from(*y))).powi(2)).sum();
    (!probability.is_empty()).then(|| sum / probability.len() as f64)
}

/// How rows are put into bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bins {
    /// [0, 1] in pieces of equal width; those without rows are left out.
    EqualWidth(usize),
    /// As many rows in each, by ascending probability. Equal probabilities across a border count in part on each side.
    EqualMass(usize),
}

/// What a bin predicted and what came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationBin {
    pub rows: u64,
    pub predicted: f64,
    /// Share of positives, with its 95 % interval by Wilson.
    pub observed: f64,
    pub low: f64,
    pub high: f64,
}

/// By ascending probability; only bins that have rows.
pub fn calibration_bins(probability: &[f64], positive: &[bool], bins: Bins) -> Vec<CalibrationBin> {
    let n = probability.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| probability[a].total_cmp(&probability[b]));
    // Positives as far as each row, those of equal probabilities spread evenly over them.
    let mut positives = vec![0.0];
    for tied in order.chunk_by(|&a, &b| probability[a] == probability[b]) {
        let before = positives[positives.len() - 1];
        let hits = tied.iter().filter(|&&i| positive[i]).count() as f64;
        positives.extend((1..=tied.len()).map(|i| before + hits * i as f64 / tied.len() as f64));
    }
    let (Bins::EqualWidth(k) | Bins::EqualMass(k)) = bins;
    let k = k.max(1);
    let ends: Vec<usize> = match bins {
        Bins::EqualWidth(_) => {
            let piece = |p: f64| ((p * k as f64) as usize).min(k - 1);
            (0..k).map(|bin| order.partition_point(|&i| piece(probability[i]) <= bin)).collect()
        }
        Bins::EqualMass(_) => (1..=k).map(|bin| (n as u128 * bin as u128).div_ceil(k as u128) as usize).collect(),
    };
    let mut start = 0;
    let mut out = vec![];
    for end in ends.into_iter().filter(|end| *end > 0) {
        if end > start {
            let rows = (end - start) as f64;
            let predicted = order[start..end].iter().map(|&i| probability[i]).sum::<f64>() / rows;
            let held = positives[end] - positives[start];
            let (low, high) = wilson(held, rows);
            out.push(CalibrationBin { rows: rows as u64, predicted, observed: held / rows, low, high });
            start = end;
        }
    }
    out
}

/// Expected calibration error: Σ rows of the bin / rows · |predicted − observed| (Naeini, Cooper & Hauskrecht 2015, AAAI '15). `None` without rows.
pub fn ece(probability: &[f64], positive: &[bool], bins: Bins) -> Option<f64> {
    let sum: f64 = calibration_bins(probability, positive, bins).iter().map(|b| b.rows as f64 * (b.predicted - b.observed).abs()).sum();
    (!probability.is_empty()).then(|| sum / probability.len() as f64)
}

/// The 97.5 % quantile of the normal distribution.
pub(super) const Z: f64 = 1.959963984540054;

/// The 95 % interval of a share, k of n > 0 (Wilson 1927).
pub fn wilson(k: f64, n: f64) -> (f64, f64) {
    interval(k, n, Z)
}

/// The same at another level in (0, 1).
pub fn wilson_at(k: f64, n: f64, level: f64) -> (f64, f64) {
    interval(k, n, normal_quantile(f64::midpoint(1.0, level)))
}

fn interval(k: f64, n: f64, z: f64) -> (f64, f64) {
    let square = z * z;
    let middle = (k + square / 2.0) / (n + square);
    let half = z / (n + square) * (k * (n - k).max(0.0) / n + square / 4.0).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: [f64; 12] = [0.93, 0.81, 0.78, 0.7, 0.61, 0.55, 0.52, 0.5, 0.4, 0.3, 0.2, 0.1];
    const Y: [bool; 12] = [true, true, false, true, false, true, true, false, false, true, false, false];

    /// protocols/score.py; scipy's binomtest(3, 10).proportion_ci(method='wilson').
    #[test]
    fn as_the_peers() {
        let of = |bins: Bins| ece(&P, &Y, bins).unwrap();
        let pairs = [
            (of(Bins::EqualWidth(10)), 0.2649999999999999),
            (of(Bins::EqualMass(10)), 0.32333333333333325),
            (of(Bins::EqualWidth(5)), 0.16499999999999995),
            (of(Bins::EqualMass(5)), 0.19666666666666663),
            (brier(&[0.9, 0.8, 0.8, 0.7, 0.6, 0.55, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1], &Y).unwrap(), 0.211875),
            (wilson(3.0, 10.0).0, 0.10779126740630102),
            (wilson(3.0, 10.0).1, 0.6032218525388546),
        ];
        for (got, expected) in pairs {
            assert!((got - expected).abs() < 1e-12, "{got} against {expected}");
        }
    }

    #[test]
    fn bins_hold_all_rows_whatever_their_order() {
        let (p, y) = ([0.5, 0.5, 0.5, 0.5, 1.0, 0.0], [true, false, false, false, true, false]);
        let (q, z) = ([0.0, 0.5, 0.5, 1.0, 0.5, 0.5], [false, false, false, true, false, true]);
        for bins in [Bins::EqualWidth(10), Bins::EqualMass(3), Bins::EqualMass(40)] {
            let all = calibration_bins(&p, &y, bins);
            assert_eq!(all, calibration_bins(&q, &z, bins));
            assert_eq!(all.iter().map(|b| b.rows).sum::<u64>(), 6);
            assert!(all.iter().all(|b| b.low <= b.observed && b.observed <= b.high));
        }
        assert_eq!((ece(&[], &[], Bins::EqualMass(10)), brier(&[], &[])), (None, None));
        assert!(calibration_bins(&[], &[], Bins::EqualWidth(0)).is_empty());
    }
}
