//! How long subscriptions last: the shifted-beta-geometric model (Fader and Hardie, "How to project customer retention", Journal of Interactive Marketing
//! 21, 2007) and the beta-discrete-Weibull (Fader, Hardie, Liu, Davin and Steenburgh, "'How to project customer retention' revisited: the role of duration
//! dependence", Journal of Interactive Marketing 43, 2018).
//!
//! A subscription is renewed at the end of every contract period, or is not, with a probability that differs between customers: it outlasts t renewals
//! with probability (1−θ)^(t^c), with θ ~ Beta(a, b). c = 1 is the shifted-beta-geometric model, in which each customer's own chance to leave stays the
//! same; with c > 1 it grows with tenure, with c < 1 it falls.
//!
//! ```text
//! S(t)     = B(a, b + t^c)/B(a, b)                the subscription outlasts t renewals
//! P(T = t) = S(t−1) − S(t)                        it ends at the t-th
//! r(t)     = S(t)/S(t−1)                          retention rate; (b+t−1)/(a+b+t−1) for c = 1
//! ln L     = Σ ln P(T = x+1) over those who left + Σ ln S(x) over the others, x the renewals made
//! E(m)     = Σ_{j=1}^{m} S(x+j)/S(x)              renewals to come of a subscription that has been renewed x times
//! ```
//!
//! As a [`Process`] in contract periods a customer has x renewals, and t = x while the subscription runs and t = x + 1 once it has ended, so that P(alive) is
//! 1 or 0. Horizons count renewals that fall due; one that is not whole lies linearly between its neighbours.

use super::super::histories::{Histories, Piece};
use super::super::optimise::{Derivatives, Sums};
use super::super::process::{Alive, Likelihood, MOST_COUNTS, Process};
use super::super::special::trigamma;
use super::sums::{
    discounted_evenly, interpolated, interpolated_counts, ln_beta_ratio, polygamma_differences, sum_of_beta_ratios, sum_of_smooth,
};

/// Shifted-beta-geometric: c = 1; its α and β are `a` and `b`.
pub type ShiftedBetaGeometric = Retention<2>;
/// Beta-discrete-Weibull.
pub type BetaDiscreteWeibull = Retention<3>;

/// The parameters, of which `N` are estimated: probabilities to leave at the first renewal are Beta(`a`, `b`), tenure counts with the power `c`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retention<const N: usize> {
    pub a: f64,
    pub b: f64,
    pub c: f64,
}

impl<const N: usize> Retention<N> {
    /// S(t): the share of subscriptions that outlast t renewals.
    pub fn survival(&self, t: f64) -> f64 {
        ln_beta_ratio(self.b, self.a, self.tenure(t)).exp()
    }

    /// r(t), t ≥ 1: the share of those who come to the t-th renewal that renew.
    pub fn retention_rate(&self, t: f64) -> f64 {
        self.ln_kept(t - 1.0, 1.0).exp()
    }

    /// t^c.
    fn tenure(&self, t: f64) -> f64 {
        if self.c == 1.0 { t } else { t.powf(self.c) }
    }

    /// (t+j)^c − t^c.
    fn ageing(&self, t: f64, j: f64) -> f64 {
        if t == 0.0 || self.c == 1.0 { self.tenure(j) } else { self.tenure(t) * (self.c * (j / t).ln_1p()).exp_m1() }
    }

    /// ln S(t+j)/S(t).
    fn ln_kept(&self, t: f64, j: f64) -> f64 {
        ln_beta_ratio(self.b + self.tenure(t), self.a, self.ageing(t, j))
    }

    /// ln S(t) with its derivatives by ln a, ln b, ln c.
    fn ln_survival(&self, t: f64) -> Derivatives<3> {
        let Self { a, b, c } = *self;
        let tenure = self.tenure(t);
        let [a_first, a_second] = polygamma_differences(a + b, tenure);
        let [b_first, _] = polygamma_differences(b, tenure);
        let [end_first, end_second] = polygamma_differences(b + tenure, a);
        let [_, start_second] = polygamma_differences(b, a);
        // ∂ tenure/∂ ln c and its own.
        let log = if t > 0.0 { c * t.ln() } else { 0.0 };
        let (by_c, by_c_twice) = (tenure * log, tenure * log * (1.0 + log));
        let (by_a, by_b) = (-a * a_first, b * (b_first - a_first));
        let at_end = trigamma(a + b + tenure);
        Derivatives {
            value: ln_beta_ratio(b, a, tenure),
            gradient: [by_a, by_b, -end_first * by_c],
            hessian: [
                [by_a - a * a * a_second, 0.0, 0.0],
                [-a * b * a_second, by_b + b * b * (start_second - end_second), 0.0],
                [-a * at_end * by_c, -b * end_second * by_c, -end_second * by_c * by_c - end_first * by_c_twice],
            ],
        }
    }

    /// ln P(T = t), t ≥ 1, with its derivatives: ln S(t−1) + ln(1 − e^q) with q = ln S(t) − ln S(t−1).
    fn ln_end(&self, t: f64) -> Derivatives<3> {
        let (mut sum, after) = (self.ln_survival(t - 1.0), self.ln_survival(t));
        let q = self.ln_kept(t - 1.0, 1.0);
        let left = -q.exp_m1();
        // The first two derivatives of ln(1 − e^q) by q.
        let (first, second) = (-q.exp() / left, -q.exp() / (left * left));
        let by = |i: usize| after.gradient[i] - sum.gradient[i];
        let step = [by(0), by(1), by(2)];
        sum.value += left.ln();
        for i in 0..3 {
            sum.gradient[i] += first * step[i];
            for j in 0..=i {
                let twice = after.hessian[i][j] - sum.hessian[i][j];
                sum.hessian[i][j] += first * twice + second * step[i] * step[j];
            }
        }
        sum
    }

    /// ln L of one customer, with its derivatives.
    fn of_customer(&self, x: f64, t: f64) -> Derivatives<3> {
        if t > x { self.ln_end(x + 1.0) } else { self.ln_survival(x) }
    }
}

impl<const N: usize> Process for Retention<N> {
    const NAME: &'static str = if N == 2 { "sbg" } else { "beta_discrete_weibull" };
    const PARAMETERS: &'static [&'static str] = if N == 2 { &["alpha", "beta"] } else { &["a", "b", "c"] };
    type Alive = AliveRetention;

    fn values(&self) -> Vec<f64> {
        [self.a, self.b, self.c][..N].to_vec()
    }

    fn of_values(values: &[f64]) -> Self {
        Self { a: values[0], b: values[1], c: values.get(2).copied().unwrap_or(1.0) }
    }

    fn p_alive(&self, x: f64, _: f64, t: f64) -> f64 {
        if t > x { 0.0 } else { 1.0 }
    }

    fn alive(&self, x: f64, _: f64, _: f64) -> AliveRetention {
        AliveRetention { model: Retention { a: self.a, b: self.b, c: self.c }, renewed: x }
    }

    /// There are no covariates.
    fn shifted(&self, _: f64, _: f64) -> Self {
        *self
    }
}

impl<const N: usize> Likelihood for Retention<N> {
    // c between a chance to leave that all but vanishes after the first renewal and one that comes in a year or never.
    const LOWER: &'static [f64] = if N == 2 { &[-12.0; 2] } else { &[-12.0, -12.0, -3.0] };
    const UPPER: &'static [f64] = if N == 2 { &[12.0; 2] } else { &[12.0, 12.0, 3.0] };
    const BY_PURCHASE: &'static [f64] = if N == 2 { &[0.0; 2] } else { &[0.0; 3] };
    const BY_LIFETIME: &'static [f64] = if N == 2 { &[0.0; 2] } else { &[0.0; 3] };

    fn log_likelihood(&self, x: f64, _: f64, t: f64) -> f64 {
        if t > x { ln_beta_ratio(self.b, self.a, self.tenure(x)) + (-self.ln_kept(x, 1.0).exp_m1()).ln() } else { self.survival(x).ln() }
    }

    /// The observed share of renewals that were not made, spread evenly.
    fn start(histories: &Histories, _: &[f64]) -> Vec<f64> {
        let left: f64 = each(histories).map(|(x, t, customers)| if t > x { customers } else { 0.0 }).sum();
        let share = (left / (left + histories.purchases as f64)).clamp(0.01, 0.9);
        vec![0.0, ((1.0 - share) / share).ln(), 0.0][..N].to_vec()
    }

    fn sums(histories: &Histories, at: &[f64]) -> Sums {
        let model = Self::of_values(&at.iter().map(|v| v.exp()).collect::<Vec<_>>());
        let mut total = Derivatives::<N>::zero();
        for (x, t, customers) in each(histories) {
            let one = model.of_customer(x, t);
            total.value += customers * one.value;
            for i in 0..N {
                total.gradient[i] += customers * one.gradient[i];
                for j in 0..=i {
                    total.hessian[i][j] += customers * one.hessian[i][j];
                }
            }
        }
        total.into()
    }
}

/// x, t and the number of customers of each distinct history.
fn each(histories: &Histories) -> impl Iterator<Item = (f64, f64, f64)> {
    let of_piece = |piece: &Piece| (f64::from(piece.x), piece.rows.clone());
    histories
        .pieces
        .iter()
        .map(of_piece)
        .flat_map(|(x, rows)| histories.rows[rows].iter().map(move |row| (x, f64::from(row.t), row.customers)))
}

/// A subscription that runs and has been renewed so many times.
#[derive(Clone, Copy, Debug)]
pub struct AliveRetention {
    model: Retention<3>,
    renewed: f64,
}

impl AliveRetention {
    /// S(x+j)/S(x).
    fn kept(&self, j: f64) -> f64 {
        self.model.ln_kept(self.renewed, j).exp()
    }

    fn expected_of(&self, m: f64) -> f64 {
        let Retention { a, b, c } = self.model;
        if c == 1.0 {
            let b = b + self.renewed;
            return b / (a + b) * sum_of_beta_ratios(b + 1.0, a, m);
        }
        sum_of_smooth(m, |j| self.kept(j))
    }

    fn counts_of(&self, m: f64) -> Vec<f64> {
        let m = m.min(MOST_COUNTS as f64 - 1.0) as usize;
        let mut table = Vec::with_capacity(m + 1);
        let mut kept = 1.0;
        for j in 0..m {
            let next = self.model.ln_kept(self.renewed + j as f64, 1.0);
            table.push(kept * -next.exp_m1());
            kept *= next.exp();
        }
        table.push(kept);
        table
    }
}

/// Horizons beyond this many renewals are not told apart from it.
const LONGEST: f64 = 1e12;

impl Alive for AliveRetention {
    fn expected(&self, h: f64) -> f64 {
        interpolated(h.clamp(0.0, LONGEST), |m| self.expected_of(m))
    }

    fn none(&self, h: f64) -> f64 {
        let due = h.clamp(0.0, 1.0);
        (1.0 - due) - due * self.model.ln_kept(self.renewed, 1.0).exp_m1()
    }

    fn counts(&self, h: f64) -> Vec<f64> {
        interpolated_counts(h.clamp(0.0, LONGEST), |m| self.counts_of(m))
    }

    fn scale(&self) -> f64 {
        self.model.a + self.model.b + self.renewed
    }

    fn discounted(&self, h: f64, delta: f64) -> f64 {
        discounted_evenly(h.max(0.0), delta, |j| self.kept(j))
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Beta, Distribution};

    use super::*;
    use crate::models::lifetime::check::{Customers, derivatives_equal_differences, fit_is_finite, fit_recovers, wild};

    const GEOMETRIC: ShiftedBetaGeometric = Retention { a: 0.7, b: 1.8, c: 1.0 };
    const WEIBULL: BetaDiscreteWeibull = Retention { a: 0.7, b: 3.5, c: 1.6 };

    /// Renewals in order, each made with the customer's own chance to, until one is not or the observation ends.
    fn simulated<const N: usize>(truth: Retention<N>, customers: usize) -> Customers {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let leaving = Beta::new(truth.a, truth.b).unwrap();
        let mut made = Customers::default();
        for _ in 0..customers {
            let (theta, periods): (f64, u32) = (leaving.sample(&mut rng), rng.random_range(6..=24));
            let kept = |t: u32| (1.0 - theta).powf(f64::from(t + 1).powf(truth.c) - f64::from(t).powf(truth.c));
            let x = (0..periods).find(|&t| rng.random::<f64>() >= kept(t)).unwrap_or(periods);
            made.push(x, x, if x == periods { x } else { x + 1 });
        }
        made
    }

    #[test]
    fn derivatives_are_those_of_the_likelihood() {
        for at in [[-0.4, 0.6, 0.3], [1.5, -1.2, -0.8], [-3.0, 4.0, 0.9]] {
            derivatives_equal_differences::<ShiftedBetaGeometric>(&simulated(GEOMETRIC, 500), &at[..2], 1e-7);
            derivatives_equal_differences::<BetaDiscreteWeibull>(&simulated(WEIBULL, 500), &at, 1e-7);
        }
    }

    #[test]
    fn recovers_the_truth_whatever_the_order_and_the_threads() {
        fit_recovers(GEOMETRIC, simulated(GEOMETRIC, 40_000), 0.1);
        fit_recovers(WEIBULL, simulated(WEIBULL, 100_000), 0.1);
    }

    #[test]
    fn data_without_an_inner_maximum_end_at_finite_parameters() {
        fit_is_finite::<ShiftedBetaGeometric>(&[]);
        fit_is_finite::<BetaDiscreteWeibull>(&[]);
    }

    #[test]
    fn is_sane_for_wild_parameters() {
        wild(|between| ShiftedBetaGeometric { a: between(1e-5, 1e5), b: between(1e-5, 1e5), c: 1.0 });
        wild(|between| BetaDiscreteWeibull { a: between(1e-5, 1e5), b: between(1e-5, 1e5), c: between(0.05, 20.0) });
    }

    #[test]
    fn rates_and_expectations_are_those_of_the_papers() {
        // Equations 5 to 7 of the first paper.
        let (mut survival, mut end) = (1.0, GEOMETRIC.a / (GEOMETRIC.a + GEOMETRIC.b));
        for t in 1..=40 {
            let rate = (GEOMETRIC.b + f64::from(t) - 1.0) / (GEOMETRIC.a + GEOMETRIC.b + f64::from(t) - 1.0);
            assert!((GEOMETRIC.retention_rate(f64::from(t)) - rate).abs() < 1e-13);
            let p = GEOMETRIC.log_likelihood(f64::from(t - 1), 0.0, f64::from(t)).exp();
            assert!((p - end).abs() < 1e-13 * p, "{t}: {p} against {end}");
            survival *= rate;
            end *= (GEOMETRIC.b + f64::from(t) - 1.0) / (GEOMETRIC.a + GEOMETRIC.b + f64::from(t));
            assert!((GEOMETRIC.survival(f64::from(t)) - survival).abs() < 1e-13);
        }
        let alive = WEIBULL.alive(4.0, 4.0, 4.0);
        let direct: f64 = (1..=1_000).map(|j| WEIBULL.survival(f64::from(4 + j)) / WEIBULL.survival(4.0)).sum();
        assert!((alive.expected(1_000.0) / direct - 1.0).abs() < 1e-11);
        let alive = GEOMETRIC.alive(4.0, 4.0, 4.0);
        let direct: f64 = (1..=1_000).map(|j| GEOMETRIC.survival(f64::from(4 + j)) / GEOMETRIC.survival(4.0)).sum();
        assert!((alive.expected(1_000.0) / direct - 1.0).abs() < 1e-11);
        assert!((alive.none(7.0) - (1.0 - GEOMETRIC.retention_rate(5.0))).abs() < 1e-14);
        assert!((WEIBULL.expected_purchases_new(2.0) - WEIBULL.survival(1.0) - WEIBULL.survival(2.0)).abs() < 1e-14);
    }

    #[test]
    fn one_power_makes_the_two_models_the_same() {
        let same = BetaDiscreteWeibull { a: GEOMETRIC.a, b: GEOMETRIC.b, c: 1.0 + 1e-14 };
        for (x, t) in [(0.0, 0.0), (0.0, 1.0), (7.0, 7.0), (30.0, 31.0)] {
            assert!((same.log_likelihood(x, x, t) - GEOMETRIC.log_likelihood(x, x, t)).abs() < 1e-11);
            let horizons = [0.3, 1.0, 12.0, 700.0].map(|h| (same.alive(x, x, t).expected(h), GEOMETRIC.alive(x, x, t).expected(h)));
            assert!(horizons.iter().all(|(a, b)| (a - b).abs() < 1e-10 * b), "{horizons:?}");
        }
    }
}
