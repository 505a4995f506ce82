//! BG/NBD: how often a customer will purchase again (Fader, Hardie and Lee 2005; "the paper" below), and its modified form MBG/NBD (Batislam, Denizel and
//! Filiztekin, "Empirical validation and comparison of models for customer base analysis", International Journal of Research in Marketing 24, 2007).
//!
//! While alive a customer purchases at random with rate λ, and after each purchase departs with probability p. Over the customers λ is
//! Gamma(r, rate α) and p is Beta(a, b). In MBG/NBD the customer may depart after the first purchase as well, so that of c = x + 1 chances to depart
//! instead of c = x none was taken. For a customer with x, t_x, T:
//!
//! ```text
//! L         = (r)_x α^r (b)_c/(a+b)_c · (α+T)^−(r+x) · (1 + [c>0] e^D)        eq. 6
//! D         = ln a/(b+c−1) + (r+x) ln (α+T)/(α+t_x)
//! P(alive)  = 1 / (1 + [c>0] e^D)
//! E(τ)      = P(alive) · E[purchases in (T, T+τ] | alive]                      eq. 10, see `expectation`
//! P(none in h) = 1 − P(alive)·(1 − ((α+T)/(α+T+h))^(r+x))
//! ```
//!
//! The last line is exact: who is alive departs only after a purchase. In BG/NBD a customer without a repeat purchase is alive with probability 1, which is
//! why 1 − P(alive) must not be read as the probability of churn.

mod burst;
mod expectation;
pub(super) mod fit;

pub use burst::{BG_NBD_BURST, BurstBgNbd};

use faer::traits::pulp::Arch;
use rayon::prelude::*;

use super::Counts;
use super::exp::exp;
use super::predict::CUSTOMERS;
use super::process::{Alive, MOST_COUNTS, Process};
use super::special::{beta_inc, ln_rising, negative_binomial};
use crate::models::ModelType;

/// `model_type = 'bg_nbd'`.
pub static BG_NBD: ModelType = super::parametric::<BgNbd>("BG/NBD: Poisson purchases, departure after a repeat purchase", true);

/// `model_type = 'mbg_nbd'`.
pub static MBG_NBD: ModelType =
    super::parametric::<MbgNbd>("MBG/NBD: Poisson purchases, departure after any purchase, the first included", true);

/// BG/NBD.
pub type BgNbd = BetaGeometric<0>;
/// MBG/NBD.
pub type MbgNbd = BetaGeometric<1>;

/// The parameters: purchase rates are Gamma(`r`, rate `alpha`) a day, departure probabilities Beta(`a`, `b`). `FIRST` is 1 where a customer may depart after
/// the first purchase, else 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BetaGeometric<const FIRST: u8> {
    pub r: f64,
    /// In days (or whatever unit of time the caller keeps to).
    pub alpha: f64,
    pub a: f64,
    pub b: f64,
}

impl<const FIRST: u8> BetaGeometric<FIRST> {
    /// Chances to depart that were not taken by a customer who is alive.
    fn chances(x: f64) -> f64 {
        x + f64::from(FIRST)
    }

    /// D: ln of the odds of having departed, for at least one chance to.
    fn log_odds_departed(&self, x: f64, t_x: f64, t: f64) -> f64 {
        (self.a / (self.b + Self::chances(x) - 1.0)).ln() + (self.r + x) * ((t - t_x) / (self.alpha + t_x)).ln_1p()
    }
}

impl<const FIRST: u8> Process for BetaGeometric<FIRST> {
    const NAME: &'static str = if FIRST == 0 { "bg_nbd" } else { "mbg_nbd" };
    const PARAMETERS: &'static [&'static str] = &["r", "alpha", "a", "b"];
    type Alive = AliveBetaGeometric;

    fn values(&self) -> Vec<f64> {
        vec![self.r, self.alpha, self.a, self.b]
    }

    fn of_values(values: &[f64]) -> Self {
        Self { r: values[0], alpha: values[1], a: values[2], b: values[3] }
    }

    fn p_alive(&self, x: f64, t_x: f64, t: f64) -> f64 {
        if Self::chances(x) > 0.0 { 1.0 / (1.0 + self.log_odds_departed(x, t_x, t).exp()) } else { 1.0 }
    }

    fn alive(&self, x: f64, _: f64, t: f64) -> AliveBetaGeometric {
        AliveBetaGeometric { k: self.r + x, scale: self.alpha + t, a: self.a, b: self.b + Self::chances(x) }
    }

    /// One exponential a customer, many at once, with the logarithms of the days and the odds of the counts in tables.
    fn p_alive_all(&self, counts: Counts<'_>) -> Option<Vec<f64>> {
        const BLOCK: usize = 256;
        let Counts { x, t_x, t, .. } = counts;
        assert!(x.len() == t_x.len() && x.len() == t.len(), "x, t_x and t differ in length");
        let longest = t.par_iter().chain(t_x).with_min_len(CUSTOMERS).copied().max().unwrap_or(0);
        let log = |day: u32| (f64::from(day) / self.alpha).ln_1p();
        let logs: Vec<f64> = (0..=longest.min(TABULATED)).map(log).collect();
        let log = |day: u32| logs.get(day as usize).copied().unwrap_or_else(|| log(day));
        // Without a chance to depart there are no odds of having departed.
        let odds = |x: u32| if x == 0 && FIRST == 0 { 0.0 } else { self.a / (self.b + Self::chances(f64::from(x)) - 1.0) };
        let table: Vec<f64> = (0..=TABULATED_COUNTS).map(odds).collect();
        let odds = |x: u32| table.get(x as usize).copied().unwrap_or_else(|| odds(x));
        let block = |(block, out): (usize, &mut [f64])| {
            let from = block * BLOCK;
            let (mut exponent, mut before) = ([0.0; BLOCK], [0.0; BLOCK]);
            let of = from..from + out.len();
            for (j, ((&x, &t_x), &t)) in x[of.clone()].iter().zip(&t_x[of.clone()]).zip(&t[of]).enumerate() {
                exponent[j] = (self.r + f64::from(x)) * (log(t) - log(t_x));
                before[j] = odds(x);
            }
            Arch::new().dispatch(|| {
                for ((out, exponent), before) in out.iter_mut().zip(&exponent).zip(&before) {
                    *out = 1.0 / (1.0 + before * exp(*exponent));
                }
            });
        };
        let mut out = vec![0.0; x.len()];
        out.par_chunks_mut(BLOCK).enumerate().with_min_len(CUSTOMERS / BLOCK).for_each(block);
        Some(out)
    }

    /// α and, by the rate of departure, a and 1/b, as in CLVTools: γ > 0 on `lifetime` makes departure likelier.
    fn shifted(&self, purchase: f64, lifetime: f64) -> Self {
        Self { alpha: self.alpha * (-purchase).exp(), a: self.a * lifetime.exp(), ..*self }
    }

    /// Equation 8 of the paper in closed form for BG/NBD.
    fn probability_of(&self, n: u32, t: f64) -> f64 {
        let Self { r, alpha, a, b } = *self;
        let t = t.max(0.0);
        let count = f64::from(n);
        let (share, rest) = (t / (alpha + t), alpha / (alpha + t));
        let first = f64::from(FIRST);
        // With FIRST, who departed after the first purchase makes no other.
        let departed_at_once = first * a / (a + b);
        if n == 0 {
            return departed_at_once + (1.0 - departed_at_once) * (r * rest.ln()).exp();
        }
        let ln_alive = ln_rising(b, count + first) - ln_rising(a + b, count + first);
        let ln_purchases = ln_rising(r, count) - ln_rising(1.0, count) + r * rest.ln() + count * share.ln();
        let ln_departed_now = a.ln() + ln_rising(b, count + first - 1.0) - ln_rising(a + b, count + first);
        // The bracket of eq. 8, 1 − P(fewer than n purchases of a customer who never departs), is an incomplete beta function.
        (ln_alive + ln_purchases).exp() + ln_departed_now.exp() * beta_inc(count, r, share, rest)
    }
}

/// Days whose logarithm is tabulated, some 180 years, and counts whose odds are.
const TABULATED: u32 = 1 << 16;
const TABULATED_COUNTS: u32 = 255;

/// A customer who is alive: rate Gamma(k, rate `scale`), departure probability Beta(a, b), both as they are known at T.
#[derive(Clone, Copy, Debug)]
pub struct AliveBetaGeometric {
    k: f64,
    scale: f64,
    a: f64,
    b: f64,
}

impl Alive for AliveBetaGeometric {
    fn expected(&self, h: f64) -> f64 {
        self.expected_purchases(h)
    }

    fn none(&self, h: f64) -> f64 {
        (-self.k * (h.max(0.0) / self.scale).ln_1p()).exp()
    }

    /// With S purchases of a customer who never departs and A(n) = E[(1−p)^n] = (b)_n/(a+b)_n:
    /// P(n) = P(S = n)·A(n) + P(S ≥ n)·(A(n−1) − A(n)), the second term for n > 0.
    fn counts(&self, h: f64) -> Vec<f64> {
        let h = h.max(0.0);
        let mut table = negative_binomial(self.k, h / (self.scale + h), self.scale / (self.scale + h), MOST_COUNTS);
        // What a table that was cut off leaves out lies beyond it.
        let mut beyond = if table.len() == MOST_COUNTS { (1.0 - table.iter().sum::<f64>()).max(0.0) } else { 0.0 };
        let cut_off = beyond;
        let mut stays: Vec<f64> = Vec::with_capacity(table.len());
        stays.push(1.0);
        for n in 1..table.len() {
            let n = n as f64;
            stays.push(stays[stays.len() - 1] * (self.b + n - 1.0) / (self.a + self.b + n - 1.0));
        }
        for n in (0..table.len()).rev() {
            let here = table[n];
            beyond += here;
            // A(n−1) − A(n) = A(n−1)·a/(a+b+n−1)
            let leaves = if n == 0 { 0.0 } else { stays[n - 1] * self.a / (self.a + self.b + n as f64 - 1.0) };
            table[n] = here * stays[n] + beyond * leaves;
        }
        let last = table.len() - 1;
        table[last] += cut_off * stays[last];
        table
    }

    fn scale(&self) -> f64 {
        self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::lifetime::check::wild;

    const CDNOW: BgNbd = BgNbd { r: 0.243, alpha: 4.414, a: 0.793, b: 2.426 };
    const MODIFIED: MbgNbd = MbgNbd { r: 0.525, alpha: 6.183, a: 0.891, b: 1.614 };

    fn has_the_expected_mean(model: impl Process) {
        for (n, p) in model.alive(0.0, 0.0, 0.0).counts(39.0).iter().enumerate().take(30) {
            let p = p * model.p_alive(0.0, 0.0, 0.0) + if n == 0 { 1.0 - model.p_alive(0.0, 0.0, 0.0) } else { 0.0 };
            let closed = model.probability_of(n as u32, 39.0);
            assert!((closed - p).abs() < 1e-12, "{n}: {closed} against {p}");
        }
        let probabilities: Vec<f64> = (0..400).map(|n| model.probability_of(n, 39.0)).collect();
        let mean: f64 = probabilities.iter().enumerate().map(|(n, p)| n as f64 * p).sum();
        assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((mean - model.expected_purchases_new(39.0)).abs() < 1e-10);
    }

    #[test]
    fn probabilities_of_counts_sum_to_one_and_have_the_expected_mean() {
        has_the_expected_mean(CDNOW);
        has_the_expected_mean(MODIFIED);
        let alive = CDNOW.alive(2_000.0, 38.0, 39.0);
        let counts = alive.counts(39.0);
        let mean: f64 = counts.iter().enumerate().map(|(n, p)| n as f64 * p).sum();
        assert!((mean / alive.expected(39.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn wild_parameters_have_sane_answers() {
        wild(|between| BgNbd { r: between(1e-5, 1e5), alpha: between(1e-5, 1e5), a: between(1e-5, 1e5), b: between(1e-5, 1e5) });
        wild(|between| MbgNbd { r: between(1e-5, 1e5), alpha: between(1e-5, 1e5), a: between(1e-5, 1e5), b: between(1e-5, 1e5) });
    }

    #[test]
    fn churn_is_one_minus_the_chance_of_the_first_purchase() {
        let (x, t_x, t, h) = (4.0, 10.0, 35.0, 13.0);
        let stays = ((CDNOW.alpha + t) / (CDNOW.alpha + t + h)).powf(CDNOW.r + x);
        let expected = 1.0 - CDNOW.p_alive(x, t_x, t) * (1.0 - stays);
        assert!((CDNOW.p_no_purchase(x, t_x, t, h) - expected).abs() < 1e-14);
        assert_eq!(CDNOW.p_no_purchase(x, t_x, t, 0.0), 1.0);
        assert_eq!(CDNOW.p_alive(0.0, 0.0, 1e4), 1.0);
        assert!(MODIFIED.p_alive(0.0, 0.0, 1e4) < 0.05);
    }
}
