//! How far a sample has moved from a reference.

use std::collections::BTreeMap;

/// The population stability index over bins, Σ (q − p) · ln(q / p) with p and q the shares of the reference and of the sample (Siddiqi 2006, "Credit risk scorecards";
/// Kullback's J-divergence). A bin that one side has no rows in counts as half a row there. Below .1 is usually called stable, above .25 a shift.
/// `None` if either side has no rows.
fn index(bins: impl Iterator<Item = (u64, u64)>, reference: usize, sample: usize) -> Option<f64> {
    let share = |count: u64, of: usize| (count as f64).max(0.5) / of as f64;
    let one = |(p, q): (u64, u64)| {
        let (p, q) = (share(p, reference), share(q, sample));
        (q - p) * (q / p).ln()
    };
    // Adding 0 makes the sum of nothing a 0, not −0.
    (reference > 0 && sample > 0).then(|| bins.filter(|(p, q)| p + q > 0).map(one).sum::<f64>() + 0.0)
}

/// The stability index of numbers, over `bins` of as many reference rows as ties allow: a bin ends with the reference's quantile i / `bins`, the next begins
/// above it. What is not known (NaN) is a bin of its own.
pub fn psi(reference: &[f64], sample: &[f64], bins: usize) -> Option<f64> {
    let known = known(reference);
    let bins = bins.max(1);
    let mut edges: Vec<f64> = (1..bins).filter_map(|i| known.get((known.len() * i).div_ceil(bins).max(1) - 1).copied()).collect();
    edges.dedup();
    let mut counts = vec![(0, 0); edges.len() + 2];
    let bin = |v: &f64| if v.is_nan() { edges.len() + 1 } else { edges.partition_point(|e| e < v) };
    reference.iter().for_each(|v| counts[bin(v)].0 += 1);
    sample.iter().for_each(|v| counts[bin(v)].1 += 1);
    index(counts.into_iter(), reference.len(), sample.len())
}

/// The stability index of levels, each a bin, `None` for what is not known too.
pub fn psi_levels<T: Ord>(reference: &[Option<T>], sample: &[Option<T>]) -> Option<f64> {
    let mut counts: BTreeMap<&Option<T>, (u64, u64)> = BTreeMap::new();
    reference.iter().for_each(|v| counts.entry(v).or_default().0 += 1);
    sample.iter().for_each(|v| counts.entry(v).or_default().1 += 1);
    index(counts.into_values(), reference.len(), sample.len())
}

/// The statistic of Kolmogorov and Smirnov, the largest distance of the two distribution functions of what is known. `None` if a side knows nothing.
pub fn ks(reference: &[f64], sample: &[f64]) -> Option<f64> {
    let (a, b) = (known(reference), known(sample));
    let (mut i, mut j, mut largest) = (0, 0, 0.0_f64);
    while i < a.len() && j < b.len() {
        let at = a[i].min(b[j]);
        i += a[i..].iter().take_while(|v| **v <= at).count();
        j += b[j..].iter().take_while(|v| **v <= at).count();
        largest = largest.max((i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
    (!a.is_empty() && !b.is_empty()).then_some(largest)
}

/// The known values, ascending.
fn known(values: &[f64]) -> Vec<f64> {
    let mut known: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    known.sort_unstable_by(f64::total_cmp);
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_examples() {
        let reference: Vec<f64> = (0..20).map(f64::from).collect();
        let sample = [0.0, 1.0, 1.0, 5.0, 9.0, 15.0, 17.0, 19.0, 22.0, 25.0];
        // scipy's ks_2samp.
        assert_eq!(ks(&reference, &sample), Some(0.25));
        // Four bins of 5 end with 4, 9, 14 and beyond; the sample has 3, 2, 0 (half a row) and 5.
        let one = |q: f64| (q - 0.25) * (q / 0.25).ln();
        let expected = one(0.3) + one(0.2) + one(0.05) + one(0.5);
        assert!((psi(&reference, &sample, 4).unwrap() - expected).abs() < 1e-12);
        let missing = psi(&[1.0, f64::NAN], &[1.0, 1.0, 1.0, f64::NAN], 10).unwrap();
        assert!((missing - (0.25 * 1.5_f64.ln() - 0.25 * 0.5_f64.ln())).abs() < 1e-12);
        let levels = |text: &'static str| text.chars().map(|c| (c != '-').then_some(c)).collect::<Vec<_>>();
        let by_level = psi_levels(&levels("aab-"), &levels("abb-")).unwrap();
        assert!((by_level - (-0.25 * 0.5_f64.ln() + 0.25 * 2_f64.ln())).abs() < 1e-12);
    }

    #[test]
    fn the_same_has_not_moved_and_nothing_has_no_figure() {
        let same = [1.0, 1.0, 1.0, 2.0, f64::NAN, 1e300, -1e300];
        assert_eq!((psi(&same, &same, 10), ks(&same, &same)), (Some(0.0), Some(0.0)));
        assert_eq!((psi(&[], &same, 10), psi(&same, &[], 0), ks(&same, &[f64::NAN])), (None, None, None));
        assert_eq!((psi(&[f64::NAN], &[f64::NAN], 10), psi_levels::<u32>(&[], &[])), (Some(0.0), None));
        assert!(psi(&[f64::NAN], &same, 10).unwrap().is_finite());
    }
}
