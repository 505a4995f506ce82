//! BG/NBD: how often a customer will purchase again (Fader, Hardie and Lee 2005; "the paper" below).
//!
//! While alive a customer purchases at random with rate λ, and after each purchase departs with probability p. Over the customers λ is
//! Gamma(r, rate α) and p is Beta(a, b). For a customer with x, t_x, T:
//!
//! ```text
//! L         = (r)_x α^r (b)_x/(a+b)_x (α+T)^−(r+x) · (1 + [x>0] e^D)          eq. 6
//! D         = ln a/(b+x−1) + (r+x) ln (α+T)/(α+t_x)
//! P(alive)  = 1 / (1 + [x>0] e^D)
//! E(τ)      = P(alive) · E[purchases in (T, T+τ] | alive]                      eq. 10, see `expectation`
//! P(none in h) = 1 − P(alive)·(1 − ((α+T)/(α+T+h))^(r+x))
//! ```
//!
//! The last line is exact: who is alive departs only after a purchase. A customer without a repeat purchase is alive with probability 1, which is
//! why 1 − P(alive) must not be read as the probability of churn.

mod compress;
mod expectation;
mod fit;
mod predict;

use std::sync::Arc;

use super::Purchases;
use super::special::{beta_inc, ln_rising};
use crate::models::{Allowed, Make, ModelType, OptionSpec, part};

/// `model_type = 'bg_nbd'`.
pub static BG_NBD: ModelType = ModelType {
    name: "bg_nbd",
    about: "BG/NBD purchases with gamma-gamma spend",
    options: &[OptionSpec {
        name: "spend",
        default: "gamma_gamma",
        allowed: Allowed::OneOf(&["gamma_gamma", "mean"]),
        about: "gamma_gamma: each customer's own expected value; mean: the same for everybody",
    }],
    make: Make::Purchases {
        fit: |counts, _, control| Ok(BgNbd::fit(counts, None, control)?.map(|model| Arc::new(model) as Arc<dyn Purchases>)),
        read: |parts| {
            let row = part(parts, TABLE)?;
            let [r, alpha, a, b] = [row.positive("r")?, row.positive("alpha")?, row.positive("a")?, row.positive("b")?];
            Ok(Arc::new(BgNbd { r, alpha, a, b }))
        },
    },
};

/// The table of one row that holds the parameters.
const TABLE: &str = "bg_nbd";

/// The parameters: purchase rates are Gamma(`r`, rate `alpha`) a day, departure probabilities Beta(`a`, `b`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BgNbd {
    pub r: f64,
    /// In days (or whatever unit of time the caller keeps to).
    pub alpha: f64,
    pub a: f64,
    pub b: f64,
}

impl BgNbd {
    /// ln L of one customer.
    pub fn log_likelihood(&self, x: f64, t_x: f64, t: f64) -> f64 {
        let beta = ln_rising(self.b, x) - ln_rising(self.a + self.b, x);
        let alive = ln_rising(self.r, x) + beta - x * self.alpha.ln() - (self.r + x) * (t / self.alpha).ln_1p();
        if x > 0.0 { alive + softplus(self.log_odds_departed(x, t_x, t)) } else { alive }
    }

    /// P(alive at T).
    pub fn p_alive(&self, x: f64, t_x: f64, t: f64) -> f64 {
        if x > 0.0 { 1.0 / (1.0 + self.log_odds_departed(x, t_x, t).exp()) } else { 1.0 }
    }

    /// Expected purchases in (T, T + horizon]; a horizon below 0 counts as 0.
    pub fn expected_purchases(&self, x: f64, t_x: f64, t: f64, horizon: f64) -> f64 {
        self.p_alive(x, t_x, t) * self.expected_purchases_alive(x, t, horizon)
    }

    /// P(no purchase in (T, T + horizon]).
    pub fn p_no_purchase(&self, x: f64, t_x: f64, t: f64, horizon: f64) -> f64 {
        let waiting = (self.r + x) * (horizon.max(0.0) / (self.alpha + t)).ln_1p();
        no_purchase(self.p_alive(x, t_x, t), waiting)
    }

    /// E[X(t)]: purchases that a new customer is expected to make within `t` of the first one (eq. 9).
    pub fn expected_purchases_new(&self, t: f64) -> f64 {
        self.expected_purchases_alive(0.0, 0.0, t)
    }

    /// P(X(t) = n): the probability that a new customer makes n purchases within `t` of the first one (eq. 8).
    pub fn probability_of(&self, n: u32, t: f64) -> f64 {
        let Self { r, alpha, a, b } = *self;
        let t = t.max(0.0);
        let count = f64::from(n);
        let (share, rest) = (t / (alpha + t), alpha / (alpha + t));
        if n == 0 {
            return (r * rest.ln()).exp();
        }
        let ln_alive = ln_rising(b, count) - ln_rising(a + b, count);
        let ln_purchases = ln_rising(r, count) - ln_rising(1.0, count) + r * rest.ln() + count * share.ln();
        let ln_departed_now = a.ln() + ln_rising(b, count - 1.0) - ln_rising(a + b, count);
        // The bracket of eq. 8, 1 − P(fewer than n purchases of a customer who never departs), is an incomplete beta function.
        (ln_alive + ln_purchases).exp() + ln_departed_now.exp() * beta_inc(count, r, share, rest)
    }

    /// D: ln of the odds of having departed, for x > 0.
    fn log_odds_departed(&self, x: f64, t_x: f64, t: f64) -> f64 {
        (self.a / (self.b + x - 1.0)).ln() + (self.r + x) * ((t - t_x) / (self.alpha + t_x)).ln_1p()
    }
}

/// ln(1 + e^d) without overflow.
fn softplus(d: f64) -> f64 {
    d.max(0.0) + (-d.abs()).exp().ln_1p()
}

/// P(no purchase): departed, or alive and waiting; `waiting` is −ln of the probability of waiting. A sum of positive terms keeps all digits.
fn no_purchase(p_alive: f64, waiting: f64) -> f64 {
    ((1.0 - p_alive) + p_alive * (-waiting).exp()).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CDNOW: BgNbd = BgNbd { r: 0.243, alpha: 4.414, a: 0.793, b: 2.426 };

    #[test]
    fn probabilities_of_counts_sum_to_one_and_have_the_expected_mean() {
        let probabilities: Vec<f64> = (0..400).map(|n| CDNOW.probability_of(n, 39.0)).collect();
        let mean: f64 = probabilities.iter().enumerate().map(|(n, p)| n as f64 * p).sum();
        assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((mean - CDNOW.expected_purchases_new(39.0)).abs() < 1e-10);
    }

    #[test]
    fn churn_is_one_minus_the_chance_of_the_first_purchase() {
        let (x, t_x, t, h) = (4.0, 10.0, 35.0, 13.0);
        let stays = ((CDNOW.alpha + t) / (CDNOW.alpha + t + h)).powf(CDNOW.r + x);
        let expected = 1.0 - CDNOW.p_alive(x, t_x, t) * (1.0 - stays);
        assert!((CDNOW.p_no_purchase(x, t_x, t, h) - expected).abs() < 1e-14);
        assert_eq!(CDNOW.p_no_purchase(x, t_x, t, 0.0), 1.0);
        assert_eq!(CDNOW.p_alive(0.0, 0.0, 1e4), 1.0);
    }
}
