//! Predictions for all customers at once.
//!
//! What is expected of a customer who is alive depends on x and T only, and is computed once for each distinct pair; P(alive) is one exponential a
//! customer. The answers are those of the functions on one customer, independent of the number of threads.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use rayon::prelude::*;

use super::super::special::integrate;
use super::super::{Counts, Purchases};
use super::{BgNbd, TABLE, no_purchase};
use crate::models::{Control, ModelError, Part};

/// Customers handed to a thread at a time.
const CUSTOMERS: usize = 8_192;
/// Distinct pairs between two looks at the control.
const PAIRS: usize = 128;
/// Days whose logarithm is tabulated, some 180 years.
const TABULATED: u32 = 1 << 16;
const DAYS_A_YEAR: f64 = 365.25;

impl Purchases for BgNbd {
    fn parameters(&self) -> Vec<(&'static str, f64)> {
        vec![("r", self.r), ("alpha", self.alpha), ("a", self.a), ("b", self.b)]
    }

    fn p_alive_all(&self, counts: Counts<'_>) -> Vec<f64> {
        let log = ln_days(self.alpha, counts);
        for_each_customer(counts, |i| self.p_alive_by_table(&log, counts.x[i], counts.t_x[i], counts.t[i]))
    }

    fn expected_purchases_all(&self, counts: Counts<'_>, horizon_days: f64, control: &Control) -> Result<Vec<f64>, ModelError> {
        check_horizon(horizon_days)?;
        if_alive(counts, control, |x, t| self.expected_purchases_alive(x, t, horizon_days)).map(|expected| survived(self, counts, expected))
    }

    /// ∫ e^(−δτ) dE(τ) = e^(−δH) E(H) + δ ∫ e^(−δτ) E(τ) dτ with δ = ln(1 + rate) / 365.25, by Gauss–Legendre over ln(1 + τ/(α+T)), in which E is
    /// smooth; the relative error is tested to be below 1e-9 up to ten years and 50 % a year.
    fn discounted_purchases_all(
        &self,
        counts: Counts<'_>,
        horizon_days: f64,
        annual_rate: f64,
        control: &Control,
    ) -> Result<Vec<f64>, ModelError> {
        check_horizon(horizon_days)?;
        if !(annual_rate.is_finite() && annual_rate >= 0.0) {
            return Err(refused("discount_rate", annual_rate, "a rate a year of 0 or more, such as 0.1 for 10 %"));
        }
        let delta = annual_rate.ln_1p() / DAYS_A_YEAR;
        if_alive(counts, control, |x, t| self.discounted_purchases_alive(x, t, horizon_days, delta))
            .map(|expected| survived(self, counts, expected))
    }

    fn p_no_purchase_all(&self, counts: Counts<'_>, horizon_days: f64) -> Vec<f64> {
        let log = ln_days(self.alpha, counts);
        // ln (α+T+h)/(α+T), for each T.
        let stretch = Tabulated::new(longest(counts), |t| (horizon_days.max(0.0) / (self.alpha + t)).ln_1p());
        for_each_customer(counts, |i| {
            let (x, t) = (counts.x[i], counts.t[i]);
            no_purchase(self.p_alive_by_table(&log, x, counts.t_x[i], t), (self.r + f64::from(x)) * stretch.of(t))
        })
    }

    fn to_parts(&self) -> Vec<Part> {
        vec![Part::row(TABLE, &self.parameters())]
    }
}

impl BgNbd {
    /// P(alive at T), with the logarithms of [`ln_days`].
    fn p_alive_by_table(&self, log: &Tabulated<impl Fn(f64) -> f64>, x: u32, t_x: u32, t: u32) -> f64 {
        if x == 0 {
            return 1.0;
        }
        let x = f64::from(x);
        let exponent = (self.r + x) * (log.of(t) - log.of(t_x));
        1.0 / (1.0 + self.a / (self.b + x - 1.0) * exponent.exp())
    }

    /// Discounted purchases in (T, T + horizon] of a customer who is alive at T; `delta` is the continuous rate of interest a day.
    fn discounted_purchases_alive(&self, x: f64, t: f64, horizon: f64, delta: f64) -> f64 {
        let whole = self.expected_purchases_alive(x, t, horizon);
        if delta == 0.0 || horizon == 0.0 {
            return whole;
        }
        let scale = self.alpha + t;
        let end = (horizon / scale).ln_1p();
        let panels = ((end / 3.0).ceil() + (delta * horizon / 4.0).ceil()).clamp(1.0, 64.0) as u32;
        let saved = integrate(end, panels, |u| {
            let tau = scale * u.exp_m1();
            (-delta * tau).exp() * self.expected_purchases_alive(x, t, tau) * (scale + tau)
        });
        (-delta * horizon).exp() * whole + delta * saved
    }
}

fn check_horizon(days: f64) -> Result<(), ModelError> {
    if days.is_finite() && days >= 0.0 { Ok(()) } else { Err(refused("horizon", days, "a number of days, 0 or more")) }
}

fn refused(option: &str, given: f64, allowed: &str) -> ModelError {
    ModelError::Option { option: option.into(), given: given.to_string(), allowed: allowed.into() }
}

fn for_each_customer(counts: Counts<'_>, f: impl Fn(usize) -> f64 + Sync + Send) -> Vec<f64> {
    assert!(counts.x.len() == counts.t_x.len() && counts.x.len() == counts.t.len(), "x, t_x and t differ in length");
    (0..counts.x.len()).into_par_iter().with_min_len(CUSTOMERS).map(f).collect()
}

/// P(alive) times what was expected of the living.
fn survived(model: &BgNbd, counts: Counts<'_>, IfAlive { values, of_customer }: IfAlive) -> Vec<f64> {
    let log = ln_days(model.alpha, counts);
    for_each_customer(counts, |i| model.p_alive_by_table(&log, counts.x[i], counts.t_x[i], counts.t[i]) * values[of_customer[i] as usize])
}

fn longest(counts: Counts<'_>) -> u32 {
    counts.t.iter().chain(counts.t_x).copied().max().unwrap_or(0)
}

/// A function of the day, tabulated for the usual days and computed for the others.
struct Tabulated<F> {
    table: Vec<f64>,
    f: F,
}

impl<F: Fn(f64) -> f64> Tabulated<F> {
    fn new(longest: u32, f: F) -> Self {
        Self { table: (0..=longest.min(TABULATED)).map(|day| f(f64::from(day))).collect(), f }
    }

    fn of(&self, day: u32) -> f64 {
        self.table.get(day as usize).copied().unwrap_or_else(|| (self.f)(f64::from(day)))
    }
}

/// ln(1 + d/α) of the days d.
fn ln_days(alpha: f64, counts: Counts<'_>) -> Tabulated<impl Fn(f64) -> f64 + use<>> {
    Tabulated::new(longest(counts), move |day| (day / alpha).ln_1p())
}

/// A quantity of customers who are alive: one value for each distinct (x, T).
struct IfAlive {
    values: Vec<f64>,
    /// Index into `values`, for each customer.
    of_customer: Vec<u32>,
}

fn if_alive(counts: Counts<'_>, control: &Control, f: impl Fn(f64, f64) -> f64 + Sync) -> Result<IfAlive, ModelError> {
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    let mut known: HashMap<u64, u32, BuildHasherDefault<PairHasher>> = HashMap::default();
    let of_customer = counts.x.iter().zip(counts.t).map(|(&x, &t)| {
        *known.entry(u64::from(x) << 32 | u64::from(t)).or_insert_with(|| {
            pairs.push((x, t));
            (pairs.len() - 1) as u32
        })
    });
    let of_customer = of_customer.collect();
    let chunks: Result<Vec<Vec<f64>>, ModelError> = pairs
        .par_chunks(PAIRS)
        .map(|chunk| {
            control.check()?;
            Ok(chunk.iter().map(|&(x, t)| f(f64::from(x), f64::from(t))).collect())
        })
        .collect();
    Ok(IfAlive { values: chunks?.concat(), of_customer })
}

/// Multiplies and folds: the keys are few, small and not hostile enough to pay for more.
#[derive(Default)]
struct PairHasher(u64);

impl Hasher for PairHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        let product = u128::from(self.0 ^ key) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CDNOW: BgNbd = BgNbd { r: 0.2426, alpha: 30.9, a: 0.793, b: 2.426 };
    const COUNTS: Counts<'_> =
        Counts { x: &[0, 0, 1, 26, 2_000, 3, 3], t_x: &[0, 0, 12, 216, 1_393, 100, 100_000], t: &[0, 272, 270, 217, 1_400, 100, 200_000] };

    #[test]
    fn all_customers_have_the_answers_of_one() {
        let control = Control::default();
        let alive = CDNOW.p_alive_all(COUNTS);
        let expected = CDNOW.expected_purchases_all(COUNTS, 365.0, &control).unwrap();
        let none = CDNOW.p_no_purchase_all(COUNTS, 90.0);
        for i in 0..COUNTS.x.len() {
            let [x, t_x, t] = [COUNTS.x[i], COUNTS.t_x[i], COUNTS.t[i]].map(f64::from);
            for (all, one) in [
                (alive[i], CDNOW.p_alive(x, t_x, t)),
                (expected[i], CDNOW.expected_purchases(x, t_x, t, 365.0)),
                (none[i], CDNOW.p_no_purchase(x, t_x, t, 90.0)),
            ] {
                assert!((all - one).abs() <= 1e-11 * one, "customer {i}: {all} against {one}");
            }
        }
    }

    #[test]
    fn discounting_equals_a_fine_sum_over_days() {
        let control = Control::default();
        for (horizon, rate) in [(365.0, 0.1), (3_650.0, 0.5), (10.0, 0.0)] {
            let discounted = CDNOW.discounted_purchases_all(COUNTS, horizon, rate, &control).unwrap();
            for (i, discounted) in discounted.iter().enumerate() {
                let [x, t_x, t] = [COUNTS.x[i], COUNTS.t_x[i], COUNTS.t[i]].map(f64::from);
                let until = |tau: f64| CDNOW.expected_purchases(x, t_x, t, tau);
                // The midpoint rule with its error of the second order extrapolated away.
                let sum = |steps: u32| -> f64 {
                    let width = horizon / f64::from(steps);
                    let at = |j: u32| f64::from(j) * width;
                    (0..steps).map(|j| (until(at(j + 1)) - until(at(j))) * (1.0 + rate).powf(-(at(j) + 0.5 * width) / DAYS_A_YEAR)).sum()
                };
                let fine = (4.0 * sum(2_000) - sum(1_000)) / 3.0;
                assert!((discounted - fine).abs() <= 1e-9 * fine, "customer {i}, {horizon} days at {rate}: {discounted} against {fine}");
            }
        }
    }

    #[test]
    fn refuses_impossible_horizons_and_rates_and_stops_when_cancelled() {
        let control = Control::default();
        assert!(CDNOW.expected_purchases_all(COUNTS, -1.0, &control).unwrap_err().to_string().starts_with("option 'horizon' = -1:"));
        let error = CDNOW.discounted_purchases_all(COUNTS, 30.0, f64::NAN, &control).unwrap_err();
        assert!(error.to_string().starts_with("option 'discount_rate' = NaN:"));
        control.cancel();
        assert_eq!(CDNOW.expected_purchases_all(COUNTS, 30.0, &control), Err(ModelError::Cancelled));
    }
}
