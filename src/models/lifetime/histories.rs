//! From customers to what the likelihood needs: distinct repeat histories, and counts by x and by T.

use std::ops::Range;

use super::Counts;
use crate::models::ModelError;

/// Largest x: 22 bits of a sort key.
const MOST_PURCHASES: u32 = (1 << 22) - 1;
/// Largest T, more than 5,000 years: 21 bits of a sort key.
const LONGEST: u32 = (1 << 21) - 1;
/// Customers who bought on a second day without whom r cannot be told from α: one repeater shows a rate, two show how rates differ.
const FEWEST_REPEATERS: usize = 2;
/// Rows of one unit of parallel work. Fixed, so that sums do not depend on the number of threads.
const PIECE: usize = 4_096;

/// Customers with the same repeat history; x is that of the piece.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub t_x: u32,
    pub t: u32,
    pub customers: f64,
}

/// Consecutive rows with one x; those with x = 0 come first, and have t_x = 0.
#[derive(Clone, Debug)]
pub struct Piece {
    pub x: u32,
    pub rows: Range<usize>,
}

/// The customers with one x > 0, and their rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Frequency {
    pub x: u32,
    pub customers: u64,
    pub rows: Range<usize>,
}

/// Customers and their repeat purchases in total, for one T.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed {
    pub customers: u64,
    pub purchases: u64,
    /// Customers with x = 0.
    pub once: u64,
}

/// All customers, compressed; equal for any order of the customers.
#[derive(Debug)]
pub struct Histories {
    /// By x, T and t_x.
    pub rows: Vec<Row>,
    pub pieces: Vec<Piece>,
    pub by_x: Vec<Frequency>,
    /// Index T.
    pub by_t: Vec<Observed>,
    pub customers: u64,
    pub purchases: u64,
    /// Days under observation, of all customers.
    pub exposure: f64,
    /// Distinct rows.
    pub distinct: usize,
    /// Repeat purchases at an age of so many days; empty where the days are not known.
    pub ages: Vec<u64>,
}

impl Histories {
    /// # Errors
    /// `TooLittleData` without two customers who bought on a second day; `Option` for a history that cannot be.
    pub fn new(model: &str, counts: Counts<'_>) -> Result<Self, ModelError> {
        let repeaters = counts.x.iter().filter(|&&x| x > 0).count();
        if repeaters < FEWEST_REPEATERS {
            check(counts)?;
            return Err(too_little(model, repeaters, counts.x.len()));
        }
        Self::of_any(counts)
    }

    /// The same for a part of the customers, which may be without a second purchase.
    pub fn of_any(counts: Counts<'_>) -> Result<Self, ModelError> {
        check(counts)?;
        let customers = counts.x.len();
        let repeaters = counts.x.iter().filter(|&&x| x > 0).count();
        let mut by_t = vec![Observed::default(); counts.t.iter().max().map_or(0, |&t| t as usize + 1)];
        for (&x, &t) in counts.x.iter().zip(counts.t) {
            let observed = &mut by_t[t as usize];
            observed.customers += 1;
            observed.purchases += u64::from(x);
            observed.once += u64::from(x == 0);
        }
        let of_once = by_t.iter().enumerate().filter(|(_, o)| o.once > 0);
        let once: Vec<Row> = of_once.map(|(t, o)| Row { t_x: 0, t: t as u32, customers: o.once as f64 }).collect();
        let (rows, by_x) = distinct_rows(counts, repeaters, once);
        Ok(Self {
            pieces: pieces(&by_x, rows.len()),
            by_x,
            customers: customers as u64,
            purchases: by_t.iter().map(|o| o.purchases).sum(),
            exposure: by_t.iter().enumerate().map(|(t, o)| t as f64 * o.customers as f64).sum(),
            distinct: rows.len(),
            ages: counts.days.map(|d| d.ages(0..d.ends.len(), by_t.len())).unwrap_or_default(),
            rows,
            by_t,
        })
    }
}

fn too_little(model: &str, repeaters: usize, customers: usize) -> ModelError {
    ModelError::TooLittleData(if customers == 0 {
        format!("no customer has purchased; {model} learns from customers who bought on two or more days")
    } else {
        format!(
            "{repeaters} of {customers} customer{} bought on a second day; {model} needs at least {FEWEST_REPEATERS} who did: give it a longer history",
            if customers == 1 { "" } else { "s" }
        )
    })
}

fn check(counts: Counts<'_>) -> Result<(), ModelError> {
    let Counts { x, t_x, t, .. } = counts;
    let refuse = |option: &str, given: String, allowed: String| Err(ModelError::Option { option: option.into(), given, allowed });
    if x.len() != t_x.len() || x.len() != t.len() {
        return refuse("counts", format!("{} x, {} t_x and {} t", x.len(), t_x.len(), t.len()), "one of each for every customer".into());
    }
    for i in 0..x.len() {
        if t_x[i] > t[i] {
            return refuse("t_x", t_x[i].to_string(), format!("the last purchase lies at or before the day of observation, t = {}", t[i]));
        }
        if t[i] > LONGEST {
            return refuse("t", t[i].to_string(), format!("at most {LONGEST} days; are these seconds?"));
        }
        if x[i] > MOST_PURCHASES {
            return refuse("x", x[i].to_string(), format!("at most {MOST_PURCHASES} days with a purchase"));
        }
    }
    Ok(())
}

/// The distinct histories, sorted, those with x = 0 as given; and for each x > 0 its customers and its rows.
fn distinct_rows(counts: Counts<'_>, repeaters: usize, once: Vec<Row>) -> (Vec<Row>, Vec<Frequency>) {
    let bits = |values: &[u32]| u32::BITS - values.iter().fold(0, |all, &v| all | v).leading_zeros();
    let (bits_t_x, bits_t, bits_x) = (bits(counts.t_x), bits(counts.t), bits(counts.x));
    let mut keys = Vec::with_capacity(repeaters);
    for ((&x, &t_x), &t) in counts.x.iter().zip(counts.t_x).zip(counts.t) {
        if x > 0 {
            keys.push(((u64::from(x) << bits_t | u64::from(t)) << bits_t_x) | u64::from(t_x));
        }
    }
    radix_sort(&mut keys, bits_t_x + bits_t + bits_x);

    let low = |key: u64, bits: u32| (key & ((1 << bits) - 1)) as u32;
    let mut rows = once;
    let mut by_x: Vec<Frequency> = Vec::new();
    for same in keys.chunk_by(|a, b| a == b) {
        let (t_x, t, x) = (low(same[0], bits_t_x), low(same[0] >> bits_t_x, bits_t), (same[0] >> (bits_t_x + bits_t)) as u32);
        rows.push(Row { t_x, t, customers: same.len() as f64 });
        match by_x.last_mut() {
            Some(last) if last.x == x => {
                last.customers += same.len() as u64;
                last.rows.end = rows.len();
            }
            _ => by_x.push(Frequency { x, customers: same.len() as u64, rows: rows.len() - 1..rows.len() }),
        }
    }
    (rows, by_x)
}

fn pieces(by_x: &[Frequency], rows: usize) -> Vec<Piece> {
    let once = 0..by_x.first().map_or(rows, |f| f.rows.start);
    let mut pieces = Vec::new();
    for (x, rows) in std::iter::once((0, once)).chain(by_x.iter().map(|f| (f.x, f.rows.clone()))) {
        for start in rows.clone().step_by(PIECE) {
            pieces.push(Piece { x, rows: start..rows.end.min(start + PIECE) });
        }
    }
    pieces
}

/// Sorts keys of `bits` significant bits, 11 bits a pass from the lowest.
fn radix_sort(keys: &mut Vec<u64>, bits: u32) {
    const DIGIT: u32 = 11;
    let mut sorted = vec![0; keys.len()];
    for shift in (0..bits).step_by(DIGIT as usize) {
        let digit = |key: u64| (key >> shift) as usize & ((1 << DIGIT) - 1);
        let mut ends = [0_usize; 1 << DIGIT];
        for &key in keys.iter() {
            ends[digit(key)] += 1;
        }
        let mut before = 0;
        for end in &mut ends {
            before += std::mem::replace(end, before);
        }
        for &key in keys.iter() {
            let place = &mut ends[digit(key)];
            sorted[*place] = key;
            *place += 1;
        }
        std::mem::swap(keys, &mut sorted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts<'a>(x: &'a [u32], t_x: &'a [u32], t: &'a [u32]) -> Counts<'a> {
        Counts::new(x, t_x, t)
    }

    #[test]
    fn equal_histories_become_one_row_in_any_order() {
        let histories = Histories::new("m", counts(&[2, 0, 1, 2, 0, 2], &[9, 0, 5, 9, 0, 4], &[30, 30, 30, 30, 30, 700])).unwrap();
        let rows: Vec<_> = histories.rows.iter().map(|r| (r.t_x, r.t, r.customers)).collect();
        assert_eq!(rows, [(0, 30, 2.0), (5, 30, 1.0), (9, 30, 2.0), (4, 700, 1.0)]);
        assert_eq!(histories.by_x, [Frequency { x: 1, customers: 1, rows: 1..2 }, Frequency { x: 2, customers: 3, rows: 2..4 }]);
        assert_eq!((histories.customers, histories.purchases, histories.distinct, histories.exposure), (6, 7, 4, 850.0));
    }

    #[test]
    fn says_what_is_missing_or_impossible() {
        let message = |x: &[u32], t_x: &[u32], t: &[u32]| Histories::new("m", counts(x, t_x, t)).unwrap_err().to_string();
        assert!(message(&[], &[], &[]).starts_with("no customer has purchased"));
        assert!(message(&[0, 3, 0], &[0, 8, 0], &[9, 9, 9]).starts_with("1 of 3 customers bought on a second day"));
        assert!(message(&[1, 3], &[10, 8], &[9, 9]).contains("'t_x' = 10"));
        assert!(message(&[1], &[10, 8], &[9, 9]).contains("1 x, 2 t_x and 2 t"));
        assert!(message(&[1, 1], &[1, 1], &[9, u32::MAX]).contains("at most 2097151 days"));
    }
}
