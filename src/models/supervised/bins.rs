//! Columns cut into at most 254 bins of about as many rows each, as histogram trees read them (Ke et al. 2017, "LightGBM", NeurIPS 30,
//! §2.1).

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::Matrix;
use crate::models::{Control, ModelError};

/// Most bins of known values; one more is for what is not known.
const BINS: usize = 254;
/// Where there are more rows, cuts are made from a sample of about so many.
const SAMPLE: usize = 200_000;

/// A column in bins: 0 to `cuts.len()` for known values, ascending, and one more for those that are not known.
#[derive(Debug)]
pub struct Binned {
    pub codes: Vec<u8>,
    /// A value is in the first bin whose cut it does not exceed, and in the last known one if there is none.
    pub cuts: Vec<f64>,
    /// Whether rows differ in this column.
    pub varies: bool,
}

impl Binned {
    /// The bin of values that are not known.
    pub fn missing(&self) -> u8 {
        self.cuts.len() as u8 + 1
    }

    /// Whether a bin goes left where known values do up to this bin.
    pub fn left(&self, last: u8, missing_left: bool) -> impl Fn(u8) -> bool + use<> {
        // No bin of unknown values: one that goes left anyway.
        let missing = if missing_left { self.missing() } else { 0 };
        move |code| code <= last || code == missing
    }

    fn of(column: &[f64], sample: Option<&[usize]>) -> Self {
        let known = |v: &f64| !v.is_nan();
        let mut values: Vec<f64> = match sample {
            Some(rows) => rows.iter().map(|&r| column[r]).filter(known).collect(),
            None => column.iter().copied().filter(known).collect(),
        };
        values.sort_unstable_by(f64::total_cmp);
        let cuts = cuts(&values);
        let missing = cuts.len() as u8 + 1;
        let code = |v: &f64| if v.is_nan() { missing } else { cuts.partition_point(|cut| cut < v) as u8 };
        let codes: Vec<u8> = column.iter().map(code).collect();
        let varies = codes.iter().any(|c| *c != codes[0]);
        Self { codes, cuts, varies }
    }
}

/// All columns of a matrix.
#[derive(Debug)]
pub struct Bins {
    pub columns: Vec<Binned>,
}

impl Bins {
    /// # Errors
    /// Cancelled.
    pub fn of(x: &Matrix, seed: u64, control: &Control) -> Result<Self, ModelError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let share = SAMPLE as f64 / x.rows as f64;
        let sample: Option<Vec<usize>> = (share < 1.0).then(|| (0..x.rows).filter(|_| rng.random::<f64>() < share).collect());
        let one = |column: &Vec<f64>| {
            control.check()?;
            Ok(Binned::of(column, sample.as_deref()))
        };
        Ok(Self { columns: x.columns.par_iter().map(one).collect::<Result<_, ModelError>>()? })
    }

    /// The columns in which rows differ.
    pub fn varying(&self) -> Vec<u32> {
        self.columns.iter().zip(0..).filter(|(c, _)| c.varies).map(|(_, i)| i).collect()
    }
}

/// Cuts between bins of ascending values: midpoints between neighbours. A value that comes so often that it would fill a bin has one to
/// itself, and the others share the bins that are left.
fn cuts(values: &[f64]) -> Vec<f64> {
    let mut distinct: Vec<(f64, usize)> = Vec::new();
    for &v in values {
        match distinct.last_mut() {
            Some((last, times)) if *last == v => *times += 1,
            _ => distinct.push((v, 1)),
        }
    }
    let between = |i: usize| {
        let (a, b) = (distinct[i].0, distinct[i + 1].0);
        let middle = a / 2.0 + b / 2.0;
        if middle >= a && middle < b { middle } else { a }
    };
    if distinct.len() <= BINS {
        return (1..distinct.len()).map(|i| between(i - 1)).collect();
    }
    let even = values.len() as f64 / BINS as f64;
    let alone = |i: usize| distinct[i].1 as f64 >= even;
    let (mut rows_left, mut bins_left) = (values.len(), BINS);
    for i in (0..distinct.len()).filter(|&i| alone(i)) {
        rows_left -= distinct[i].1;
        bins_left -= 1;
    }
    let mut cuts = Vec::with_capacity(BINS);
    let mut filled = 0;
    for (i, &(_, times)) in distinct.iter().enumerate().take(distinct.len() - 1) {
        let share = rows_left as f64 / bins_left.max(1) as f64;
        filled += times;
        let full = alone(i) || filled as f64 >= share || (alone(i + 1) && filled as f64 >= share / 2.0);
        if full && cuts.len() + 1 < BINS {
            cuts.push(between(i));
            if !alone(i) {
                rows_left -= filled.min(rows_left);
                bins_left = bins_left.saturating_sub(1);
            }
            filled = 0;
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_even_and_frequent_values_stand_alone() {
        let mut column: Vec<f64> = (0..10_000).map(|i| f64::from(i * 7919 % 10_000)).collect();
        column.extend(vec![5_000.0; 3_000]);
        column.push(f64::NAN);
        let binned = Binned::of(&column, None);
        assert!(binned.cuts.len() > 250 && binned.cuts.len() < BINS && binned.cuts.is_sorted());
        let mut counts = [0; 256];
        binned.codes.iter().for_each(|&c| counts[c as usize] += 1);
        assert_eq!(counts[binned.missing() as usize], 1);
        assert_eq!(counts[binned.codes[10_000] as usize], 3_001);
        assert_eq!(counts.iter().filter(|&&n| n > 80).count(), 1);
        for (v, &code) in column.iter().zip(&binned.codes).filter(|(v, _)| !v.is_nan()) {
            assert!(binned.cuts.get(code as usize).is_none_or(|cut| v <= cut) && (code == 0 || binned.cuts[code as usize - 1] < *v));
        }
        // Neighbours with nothing between them, and the largest numbers there are.
        let next = 1.0 + f64::EPSILON;
        assert_eq!(cuts(&[1.0, next]), [1.0]);
        assert!(cuts(&[-f64::MAX, f64::MAX])[0].abs() < 1.0);
        assert!(!Binned::of(&[f64::NAN; 3], None).varies && !Binned::of(&[2.0; 3], None).varies);
        assert!(Binned::of(&[2.0, f64::NAN], None).varies);
    }
}
