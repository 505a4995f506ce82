//! E[purchases in (T, T+τ] | alive at T], for any parameters and counts.
//!
//! At T the customer's rate is Gamma(k, rate A) with k = r+x and A = α+T, and the departure probability Beta(a, b), where b is that of the population plus
//! the chances not taken. With s = τ/A
//!
//! ```text
//! N = ∫₀¹ Beta(p; a, b) · (1 − (1+ps)^−k)/p dp                                                            (1)
//!   = c/(a−1) · (1 − (1−z)^(a−1) ₂F₁(a+b−1−k, a−1; c; z)),   c = a+b−1,  z = s/(1+s)                       (2)
//! ```
//!
//! (2) is eq. 10 of the paper after Euler's transformation, in which x survives only in the denominator of the series: nothing overflows, and a larger x
//! converges sooner. The first term of ₂F₁ is taken out with `exp_m1` and a−1 is divided out of the rest, so that a = 1 is no pole:
//!
//! ```text
//! N = −c·expm1((a−1)L)/(a−1) − e^((a−1)L) Σ_{n≥1} (a+b−1−k)_n (a)_{n−1} / ((a+b)_{n−1} n!) zⁿ,   L = ln(1−z)
//! ```
//!
//! Where that series would cancel, overflow or crawl, (1) is integrated instead: dearer, but all terms are positive and any parameters do.

use super::super::special::beta_mean;
use super::AliveBetaGeometric;

/// Longest horizon that is told apart from a longer one; it keeps the arithmetic of absurd horizons finite.
const LONGEST: f64 = 1e12;
const SERIES_TERMS: u32 = 2_000;
/// Largest ratio of what is subtracted in the series to what remains.
const CANCELLATION: f64 = 1e3;
const LARGEST_EXPONENT: f64 = 500.0;

impl AliveBetaGeometric {
    /// E[purchases in (T, T + horizon] | alive at T].
    pub(super) fn expected_purchases(&self, horizon: f64) -> f64 {
        if horizon.is_nan() || horizon <= 0.0 {
            return 0.0;
        }
        let s = horizon.min(LONGEST) / self.scale;
        self.series(s).unwrap_or_else(|| self.quadrature(s)).max(0.0)
    }

    /// Equation (2); `None` where it would lose more than some three digits, overflow, or not converge soon.
    fn series(&self, s: f64) -> Option<f64> {
        let Self { k, a, b, .. } = *self;
        let c = a + b - 1.0;
        let upper = c - k;
        let l = -s.ln_1p();
        if -l * upper.max(a - 1.0) > LARGEST_EXPONENT {
            return None;
        }
        let (z, one_minus_z) = (s / (1.0 + s), 1.0 / (1.0 + s));
        let mut term = upper * z;
        let mut sum = term;
        let mut largest = term.abs();
        for n in 1..=SERIES_TERMS {
            // The terms that follow are at most as large as a geometric series in z.
            if term.abs() <= 1e-16 * one_minus_z * sum.abs() {
                let exponent = (a - 1.0) * l;
                let first = if exponent == 0.0 { -l } else { -exponent.exp_m1() / (a - 1.0) };
                let value = c * first - exponent.exp() * sum;
                let kept = value.is_finite() && (c * first).abs() + exponent.exp() * largest <= CANCELLATION * value;
                return kept.then_some(value);
            }
            let n = f64::from(n);
            term *= (upper + n) * (a + n - 1.0) * z / ((c + n) * (n + 1.0));
            sum += term;
            largest = largest.max(term.abs());
        }
        None
    }

    /// Equation (1) by quadrature over p.
    fn quadrature(&self, s: f64) -> f64 {
        let Self { k, a, b, .. } = *self;
        // Purchases given p; k·s, those of a customer who never departs, is their bound.
        let purchases = |p: f64, _: f64| -(-k * (p * s).ln_1p()).exp_m1() / p;
        let ends = [(1e-17 / (a + b + 1.0 + s * (k + 1.0))).ln(), ((a + b + k + 1.0) / 1e-17).ln()];
        beta_mean(a, b, ends, k * s, purchases)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::models::lifetime::Alive;

    fn between(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
        (low.ln() + rng.random::<f64>() * (high / low).ln()).exp()
    }

    #[test]
    fn series_and_quadrature_agree() {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut compared = 0;
        for _ in 0..2_000 {
            let [r, a, b] = [(0.05, 8.0), (0.02, 20.0), (0.05, 60.0)].map(|(low, high)| between(&mut rng, low, high));
            let (x, s) = (between(&mut rng, 1.0, 1_000.0).floor() - 1.0, between(&mut rng, 1e-3, 60.0));
            let alive = AliveBetaGeometric { k: r + x, scale: 1.0, a, b: b + x };
            if let Some(series) = alive.series(s) {
                let quadrature = alive.quadrature(s);
                assert!((series - quadrature).abs() <= 1e-10 * quadrature, "{alive:?} s = {s}: {series} against {quadrature}");
                compared += 1;
            }
        }
        assert!(compared > 1_000, "{compared} comparisons");
    }

    #[test]
    fn is_finite_bounded_and_monotone_for_wild_parameters() {
        let mut rng = ChaCha8Rng::seed_from_u64(12);
        for _ in 0..500 {
            let [r, alpha, a, b] = std::array::from_fn(|_| between(&mut rng, 1e-5, 1e5));
            for x in [0.0, 1.0, 3.0, 2e3, 1e5] {
                let t = if x == 3.0 { 0.0 } else { between(&mut rng, 1.0, 10_957.0) };
                let alive = AliveBetaGeometric { k: r + x, scale: alpha + t, a, b: b + x };
                let mut before = 0.0;
                for horizon in [0.0, 1.0, 30.0, 365.0, 10_957.0, 1e300] {
                    let n = alive.expected(horizon);
                    let bound = (r + x) * horizon / (alpha + t);
                    assert!(n.is_finite() && n >= before * (1.0 - 1e-11) && n <= bound * (1.0 + 1e-9), "{alive:?} h = {horizon}: {n}");
                    before = n;
                }
            }
        }
    }
}
