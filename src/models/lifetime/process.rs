//! What a buy-till-you-die model is: the story of one customer. Fitting ([`super::fit`]) and answering for everybody ([`super::predict`]) are the same
//! for all of them.
//!
//! x, t_x and T are as in [`super::Counts`], in the unit of time of the parameters (days in a database).

use std::fmt::Debug;

use super::histories::Histories;
use super::optimise::Sums;
use super::special::integrate_to;

/// A model of one customer's purchases. All parameters are positive numbers.
pub trait Process: Copy + Debug + PartialEq + Send + Sync + 'static {
    /// Name of the model type, and of the table that holds the parameters.
    const NAME: &'static str;
    const PARAMETERS: &'static [&'static str];
    /// How many parameters, the last of them, are given and not estimated, such as a whole number that is chosen.
    const GIVEN: usize = 0;
    /// Whether what a living customer will do depends on t_x besides x and T.
    const BY_RECENCY: bool = false;
    /// What is known of a customer who is alive at T.
    type Alive: Alive;

    fn values(&self) -> Vec<f64>;

    /// The model with these parameters, in the order of `PARAMETERS`.
    fn of_values(values: &[f64]) -> Self;

    /// P(alive at T).
    fn p_alive(&self, x: f64, t_x: f64, t: f64) -> f64;

    /// The customer, given that they are alive at T.
    fn alive(&self, x: f64, t_x: f64, t: f64) -> Self::Alive;

    /// P(alive at T) of many customers at once, where there is a faster way than one after the other.
    fn p_alive_all(&self, _: super::Counts<'_>) -> Option<Vec<f64>> {
        None
    }

    /// The model of customers with covariates: `purchase` is the logarithm of what their purchase rate is multiplied by, `lifetime` that of their rate of
    /// departure.
    fn shifted(&self, purchase: f64, lifetime: f64) -> Self;

    /// Expected purchases in (T, T + h].
    fn expected_purchases(&self, x: f64, t_x: f64, t: f64, h: f64) -> f64 {
        self.p_alive(x, t_x, t) * self.alive(x, t_x, t).expected(h)
    }

    /// P(no purchase in (T, T + h]).
    fn p_no_purchase(&self, x: f64, t_x: f64, t: f64, h: f64) -> f64 {
        no_purchase(self.p_alive(x, t_x, t), self.alive(x, t_x, t).none(h))
    }

    /// E[X(t)]: purchases that a new customer is expected to make within `t` of the first one.
    fn expected_purchases_new(&self, t: f64) -> f64 {
        self.expected_purchases(0.0, 0.0, 0.0, t)
    }

    /// P(X(t) = n): the probability that a new customer makes n purchases within `t` of the first one.
    fn probability_of(&self, n: u32, t: f64) -> f64 {
        let alive = self.p_alive(0.0, 0.0, 0.0);
        let given = self.alive(0.0, 0.0, 0.0).counts(t).get(n as usize).copied().unwrap_or(0.0);
        alive * given + if n == 0 { 1.0 - alive } else { 0.0 }
    }
}

/// The future of a customer who is alive.
pub trait Alive: Send + Sync {
    /// Expected purchases within `h`; 0 for h ≤ 0.
    fn expected(&self, h: f64) -> f64;

    /// P(no purchase within `h`).
    fn none(&self, h: f64) -> f64;

    /// P(n purchases within `h`) for n = 0, 1, …; what lies beyond the last entry is below 1e-12, or in it where there are [`MOST_COUNTS`].
    fn counts(&self, h: f64) -> Vec<f64>;

    /// The time over which the pace of purchases changes, such as α + T: expectations are smooth in ln(1 + τ/scale).
    fn scale(&self) -> f64;

    /// Purchases within `h`, which may be infinite, each discounted by e^(−δτ), δ > 0:
    /// ∫ e^(−δτ) dE(τ) = e^(−δh) E(h) + δ ∫ e^(−δτ) E(τ) dτ, by Gauss–Legendre over ln(1 + τ/scale).
    fn discounted(&self, h: f64, delta: f64) -> f64 {
        discounted(self, h, delta)
    }
}

/// See [`Alive::discounted`].
pub(super) fn discounted(alive: &(impl Alive + ?Sized), h: f64, delta: f64) -> f64 {
    // e^(−FORGOTTEN) of a purchase is none.
    let end = h.min(FORGOTTEN / delta);
    let scale = alive.scale();
    let saved = integrate_to((end / scale).ln_1p(), delta * end, |u| {
        let tau = scale * u.exp_m1();
        (-delta * tau).exp() * alive.expected(tau) * (scale + tau)
    });
    (-delta * end).exp() * alive.expected(end) + delta * saved
}

/// Length of the longest table of [`Alive::counts`].
pub const MOST_COUNTS: usize = 1 << 16;
/// Discounting to less than e^−45 of a purchase ends an infinite horizon.
pub(super) const FORGOTTEN: f64 = 45.0;

/// P(no purchase): departed, or alive and waiting. A sum of positive terms keeps all digits.
pub(super) fn no_purchase(p_alive: f64, none_if_alive: f64) -> f64 {
    ((1.0 - p_alive) + p_alive * none_if_alive).min(1.0)
}

/// A process with a likelihood, fitted by Newton's method on the logarithms of its parameters.
pub trait Likelihood: Process {
    /// The box in which the log-parameters that are estimated are sought: beyond it every prediction is what it is on the bound.
    const LOWER: &'static [f64];
    const UPPER: &'static [f64];
    /// By how much each log-parameter moves with the `purchase` and the `lifetime` of [`Process::shifted`]: 0, 1 or −1.
    const BY_PURCHASE: &'static [f64];
    const BY_LIFETIME: &'static [f64];

    /// ln L of one customer.
    fn log_likelihood(&self, x: f64, t_x: f64, t: f64) -> f64;

    /// Log-parameters to start from, with the values of the parameters that are given.
    fn start(histories: &Histories, given: &[f64]) -> Vec<f64>;

    /// ln L of all customers with its first and second derivatives by the log-parameters that are estimated; `at` has the logarithms of those that are given
    /// after them. The same for any number of threads.
    fn sums(histories: &Histories, at: &[f64]) -> Sums;
}
