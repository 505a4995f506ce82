//! Bayes' rule on counts: how often evidence is followed by a purchase.
//!
//! A trial looks at a customer at a moment: B, whether there was evidence in the window up to it; A, whether there is a purchase within the horizon
//! after it. P(A|B) = P(B|A)·P(A) / P(B), all four from counts.

use std::ops::{AddAssign, Range};

/// How customers are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trials {
    /// At `n` moments from `first_us` on, `step_us` apart: evidence in (moment − window, moment], a purchase in (moment, moment + horizon].
    Moments { first_us: i64, step_us: i64, n: i64, window_us: i64, horizon_us: i64 },
    /// Once: evidence at any time, and a purchase with it or after the first of it.
    Once,
}

/// Trials with evidence (B), with a purchase (A), with both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub evidence: u64,
    pub purchase: u64,
    pub both: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.evidence += other.evidence;
        self.purchase += other.purchase;
        self.both += other.both;
    }
}

/// k of n, where there is an n.
pub fn share(k: u64, n: u64) -> Option<f64> {
    (n > 0).then(|| k as f64 / n as f64)
}

/// Laplace's rule of succession: (k + 1) / (n + 2).
pub fn smoothed(k: u64, n: u64) -> f64 {
    (k + 1) as f64 / (n + 2) as f64
}

impl Trials {
    /// The moments of a log: the last one so that its horizon ends with the log, the first one so that its window begins with it or later, `most` at
    /// most. All times in µs; `None` where the log is too short for one.
    pub fn moments(begin_us: i64, end_us: i64, window_us: i64, horizon_us: i64, step_us: i64, most: u64) -> Option<Self> {
        let step_us = step_us.max(1);
        let last_us = end_us.saturating_sub(horizon_us);
        let room = last_us.checked_sub(begin_us.saturating_add(window_us)).filter(|room| *room >= 0)?;
        let n = (room / step_us + 1).min(i64::try_from(most).unwrap_or(i64::MAX));
        Some(Self::Moments { first_us: last_us - (n - 1) * step_us, step_us, n, window_us, horizon_us })
    }

    /// How many trials there are of a customer whose first event was then.
    pub fn of(&self, known_us: i64) -> u64 {
        match self {
            Self::Moments { n, .. } => (n - self.index(known_us)) as u64,
            Self::Once => 1,
        }
    }

    /// The number of moments before a time.
    fn index(&self, us: i64) -> i64 {
        let Self::Moments { first_us, step_us, n, .. } = self else { return 0 };
        let since = us.saturating_sub(*first_us);
        (since.div_euclid(*step_us) + i64::from(since.rem_euclid(*step_us) > 0)).clamp(0, *n)
    }

    /// What came of one customer, whose first event was at `known_us`: times of evidence and of purchases, ascending.
    pub fn tally(&self, evidence: impl Iterator<Item = i64>, purchases: impl Iterator<Item = i64>, known_us: i64) -> Tally {
        match *self {
            Self::Once => {
                let (first, last) = (evidence.min(), purchases.max());
                let both = first.zip(last).is_some_and(|(seen, bought)| bought >= seen);
                Tally { evidence: first.is_some().into(), purchase: last.is_some().into(), both: both.into() }
            }
            Self::Moments { window_us, horizon_us, .. } => {
                let b = runs(evidence.map(|us| self.index(us)..self.index(us.saturating_add(window_us))));
                let known = self.index(known_us);
                let a = runs(purchases.map(|us| self.index(us.saturating_sub(horizon_us)).max(known)..self.index(us)));
                Tally { evidence: length(&b), purchase: length(&a), both: common(&a, &b) }
            }
        }
    }
}

/// Ranges whose ends ascend, joined where they meet.
fn runs(ranges: impl Iterator<Item = Range<i64>>) -> Vec<Range<i64>> {
    let mut out: Vec<Range<i64>> = vec![];
    for r in ranges.filter(|r| !r.is_empty()) {
        match out.last_mut() {
            Some(last) if r.start <= last.end => last.end = last.end.max(r.end),
            _ => out.push(r),
        }
    }
    out
}

fn length(runs: &[Range<i64>]) -> u64 {
    runs.iter().map(|r| (r.end - r.start) as u64).sum()
}

/// How much two lists of runs have in common.
fn common(a: &[Range<i64>], b: &[Range<i64>]) -> u64 {
    let (mut i, mut j, mut sum) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        sum += (a[i].end.min(b[j].end) - a[i].start.max(b[j].start)).max(0) as u64;
        if a[i].end < b[j].end { i += 1 } else { j += 1 }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::hash::{GOLDEN, split_mix};

    /// Every moment looked at one by one.
    fn by_hand(trials: &Trials, evidence: &[i64], purchases: &[i64], known: i64) -> (u64, Tally) {
        let Trials::Moments { first_us, step_us, n, window_us, horizon_us } = *trials else { unreachable!() };
        let (mut looked_at, mut out) = (0, Tally::default());
        for moment in (0..n).map(|i| first_us + i * step_us).filter(|m| known <= *m) {
            let b = evidence.iter().any(|&t| t > moment - window_us && t <= moment);
            let a = purchases.iter().any(|&t| t > moment && t <= moment + horizon_us);
            looked_at += 1;
            out += Tally { evidence: b.into(), purchase: a.into(), both: (a && b).into() };
        }
        (looked_at, out)
    }

    #[test]
    fn counts_are_those_of_every_moment_looked_at() {
        let mut seed = 7;
        let mut draw = |n: u64| {
            seed = split_mix(seed).wrapping_add(GOLDEN);
            (seed % n) as i64
        };
        for _ in 0..2000 {
            let (window, horizon, step) = (draw(9) + 1, draw(12) + 1, draw(5) + 1);
            let Some(trials) = Trials::moments(draw(20) - 10, 40 + draw(20), window, horizon, step, draw(30) as u64 + 1) else { continue };
            let mut times = |n: u64| {
                let mut t: Vec<i64> = (0..draw(n)).map(|_| draw(60)).collect();
                t.sort_unstable();
                t
            };
            let (evidence, purchases) = (times(6), times(6));
            let known = evidence.iter().chain(&purchases).min().copied().unwrap_or(60) - draw(5);
            let (n, expected) = by_hand(&trials, &evidence, &purchases, known);
            assert_eq!(trials.tally(evidence.iter().copied(), purchases.iter().copied(), known), expected, "{trials:?}");
            assert_eq!(trials.of(known), n);
        }
    }

    #[test]
    fn once_is_in_order() {
        let tally = |e: &[i64], p: &[i64]| Trials::Once.tally(e.iter().copied(), p.iter().copied(), 0);
        assert_eq!(tally(&[5], &[1, 5]), Tally { evidence: 1, purchase: 1, both: 1 });
        assert_eq!(tally(&[5, 6], &[4]), Tally { evidence: 1, purchase: 1, both: 0 });
        assert_eq!(tally(&[], &[4]), Tally { evidence: 0, purchase: 1, both: 0 });
    }

    #[test]
    fn a_log_has_room_or_not() {
        assert_eq!(Trials::moments(0, 9, 5, 5, 1, 10), None);
        assert_eq!(
            Trials::moments(0, 10, 5, 5, 1, 10),
            Some(Trials::Moments { first_us: 5, step_us: 1, n: 1, window_us: 5, horizon_us: 5 })
        );
        assert!(Trials::moments(i64::MIN, i64::MAX, i64::MAX, i64::MAX, 0, u64::MAX).is_none_or(|t| t.of(i64::MIN) > 0));
    }
}
