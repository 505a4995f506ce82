//! Maximum likelihood: Newton's method on the log-parameters with analytic first and second derivatives.
//!
//! Of ln L only softplus(D) depends on x, t_x and T together; everything else is summed from counts by x and by T. D is computed from the state of the
//! customer at t_x, Gamma(r+x, rate α′ = α+t_x) and the aged lifetime, and its derivatives by that state are carried back to the parameters.
//! With h_i the derivatives of the logarithm of the integrand and E its mean, ∂_i ln ∫ = E[h_i] and ∂_ij ln ∫ = E[h_ij + h_i h_j] − E[h_i] E[h_j].

use rayon::prelude::*;

use super::super::histories::{Histories, Row};
use super::super::optimise::{Derivatives, Sums};
use super::super::process::{Likelihood, Process};
use super::super::special::{ln_rising, ln_rising_derivatives, softplus};
use super::Nbd;
use super::lifetime::{Lifetime, departing};
use super::quadrature::{Node, integrate};

/// A lifetime that knows its derivatives by the log-parameters of the model: r, α, and its own in their order.
pub(super) trait Differentiable<const N: usize>: Lifetime {
    /// Those of ln S, without its value.
    fn survival_derivatives(&self, at: &Self::Point) -> Derivatives<N>;

    /// Those of ln f, without its value.
    fn density_derivatives(&self, at: &Self::Point) -> Derivatives<N>;

    /// From derivatives by the log-parameters of `self.aged(age)` to those by its own.
    fn by_own(&self, age: f64, aged: Derivatives<N>) -> Derivatives<N>;
}

/// A lifetime that can be fitted.
pub(super) trait Fitted: Lifetime {
    /// Of the model: r, α and its own.
    const LOWER: &'static [f64];
    const UPPER: &'static [f64];
    const BY_PURCHASE: &'static [f64];
    const BY_LIFETIME: &'static [f64];

    /// To start from where customers are observed for `time`.
    fn guess(time: f64) -> Self;

    /// The log-likelihood with its derivatives by the log-parameters.
    fn sums(histories: &Histories, model: &Nbd<Self>) -> Sums;
}

/// The places of r and α among the parameters.
const R: usize = 0;
const ALPHA: usize = 1;

impl<L: Fitted> Likelihood for Nbd<L> {
    const LOWER: &'static [f64] = L::LOWER;
    const UPPER: &'static [f64] = L::UPPER;
    const BY_PURCHASE: &'static [f64] = L::BY_PURCHASE;
    const BY_LIFETIME: &'static [f64] = L::BY_LIFETIME;

    fn log_likelihood(&self, x: f64, t_x: f64, t: f64) -> f64 {
        let survival = self.lifetime.ln_survival(&self.lifetime.point(&Node::alone(t)));
        let alive = ln_rising(self.r, x) - x * self.alpha.ln() - (self.r + x) * (t / self.alpha).ln_1p() + survival;
        alive + softplus(self.ln_odds_departed(x, t_x, t))
    }

    /// The observed mean rate, over the three quarters of the time that the guessed lifetimes last.
    fn start(histories: &Histories, _: &[f64]) -> Vec<f64> {
        let r: f64 = 0.5;
        let alpha = 0.75 * r * histories.exposure.max(1.0) / histories.purchases as f64;
        let lifetime = L::guess(histories.exposure.max(1.0) / histories.customers as f64);
        Self { r, alpha, lifetime }.values().iter().map(|v| v.ln()).collect()
    }

    fn sums(histories: &Histories, at: &[f64]) -> Sums {
        let values: Vec<f64> = at.iter().map(|a| a.exp()).collect();
        L::sums(histories, &Self::of_values(&values))
    }
}

impl<const N: usize> Derivatives<N> {
    /// The derivatives by ln r and ln α of −k ln(1 + t/α), k = r + x, given ln(1 + t/α) and t/(α+t).
    #[inline]
    fn set_waiting(&mut self, r: f64, k: f64, log: f64, share: f64) {
        self.gradient[R] = -r * log;
        self.gradient[ALPHA] = k * share;
        self.hessian[R][R] = -r * log;
        self.hessian[ALPHA][R] = r * share;
        self.hessian[ALPHA][ALPHA] = -k * share * (1.0 - share);
    }

    /// By ln p instead of ln q, where q = p + constant and `share` = p/q = ∂ ln q/∂ ln p.
    pub(super) fn scale_by(&mut self, i: usize, share: f64) {
        for j in 0..N {
            self.hessian[i.max(j)][i.min(j)] *= share;
        }
        self.hessian[i][i] = share * (self.hessian[i][i] + self.gradient[i] * (1.0 - share));
        self.gradient[i] *= share;
    }
}

/// The log-likelihood of all customers with its derivatives by the log-parameters.
pub(super) fn log_likelihood<L: Differentiable<N>, const N: usize>(histories: &Histories, model: &Nbd<L>) -> Derivatives<N> {
    let mut total = while_alive(histories, model);
    let parts: Vec<_> =
        histories.pieces.par_iter().map(|piece| of_departure(f64::from(piece.x), &histories.rows[piece.rows.clone()], model)).collect();
    for part in &parts {
        total += part;
    }
    total
}

/// ln (r)_x − x ln α − (r+x) ln(1 + T/α) + ln S(T), over all customers.
fn while_alive<L: Differentiable<N>, const N: usize>(histories: &Histories, model: &Nbd<L>) -> Derivatives<N> {
    let Nbd { r, alpha, lifetime } = model;
    let mut sum = Derivatives::zero();
    let purchases = histories.purchases as f64;
    sum.value = -purchases * alpha.ln();
    sum.gradient[ALPHA] = -purchases;
    for (t, observed) in histories.by_t.iter().enumerate().filter(|(_, o)| o.customers > 0) {
        let t = t as f64;
        let customers = observed.customers as f64;
        let (log, share) = ((t / alpha).ln_1p(), t / (alpha + t));
        let spread = r * customers;
        let shape = spread + observed.purchases as f64;
        let at = lifetime.point(&Node::alone(t));
        let mut d = lifetime.survival_derivatives(&at);
        d *= customers;
        d.value = customers * lifetime.ln_survival(&at) - shape * log;
        d.set_waiting(spread, shape, log, share);
        sum += &d;
    }
    for frequency in &histories.by_x {
        let customers = frequency.customers as f64;
        let [value, first, second] = ln_rising_derivatives(*r, frequency.x);
        sum.value += customers * value;
        sum.gradient[R] += customers * r * first;
        sum.hessian[R][R] += customers * (r * first + r * r * second);
    }
    sum
}

/// softplus(D) over rows with one x. With P = e^D/(1+e^D) its derivatives are P·D_i and P·D_ij + P(1−P)·D_i·D_j.
fn of_departure<L: Differentiable<N>, const N: usize>(x: f64, rows: &[Row], model: &Nbd<L>) -> Derivatives<N> {
    let mut sum = Derivatives::zero();
    for row in rows.iter().filter(|row| row.t > row.t_x) {
        let (t_x, h) = (f64::from(row.t_x), f64::from(row.t - row.t_x));
        let d = ln_odds_derivatives(model, x, t_x, h);
        let small = (-d.value.abs()).exp();
        let inverse = 1.0 / (1.0 + small);
        let departed = row.customers * if d.value > 0.0 { inverse } else { small * inverse };
        let unsure = row.customers * small * inverse * inverse;
        sum.value += row.customers * (d.value.max(0.0) + small.ln_1p());
        for i in 0..N {
            sum.gradient[i] += departed * d.gradient[i];
            for j in 0..=i {
                sum.hessian[i][j] += departed * d.hessian[i][j] + unsure * d.gradient[i] * d.gradient[j];
            }
        }
    }
    sum
}

/// D with its derivatives by the log-parameters of the model.
fn ln_odds_derivatives<L: Differentiable<N>, const N: usize>(model: &Nbd<L>, x: f64, t_x: f64, h: f64) -> Derivatives<N> {
    let (r, k, alpha, lifetime) = (model.r, model.r + x, model.alpha + t_x, model.lifetime.aged(t_x));
    let integrand = departing(&lifetime, k, alpha);
    let mut mean = Derivatives::zero();
    let integral = integrate(&integrand, h, |node| {
        let at = lifetime.point(node);
        let weight = integrand.ln_at(node, &at).exp() * node.dt;
        let mut d = lifetime.density_derivatives(&at);
        d.set_waiting(r, k, node.log_over(alpha), node.t / (alpha + node.t));
        for i in 0..N {
            mean.gradient[i] += weight * d.gradient[i];
            for j in 0..=i {
                mean.hessian[i][j] += weight * (d.hessian[i][j] + d.gradient[i] * d.gradient[j]);
            }
        }
        weight
    });
    let end = lifetime.point(&Node::alone(h));
    let (log, share) = ((h / alpha).ln_1p(), h / (alpha + h));
    let mut at_end = lifetime.survival_derivatives(&end);
    at_end.value = lifetime.ln_survival(&end) - k * log;
    at_end.set_waiting(r, k, log, share);
    let scale = 1.0 / integral;
    mean.gradient.iter_mut().for_each(|g| *g *= scale);
    for i in 0..N {
        for j in 0..=i {
            mean.hessian[i][j] = mean.hessian[i][j] * scale - mean.gradient[i] * mean.gradient[j] - at_end.hessian[i][j];
        }
    }
    for i in 0..N {
        mean.gradient[i] -= at_end.gradient[i];
    }
    mean.value = lifetime.ln_density_at_0() + integral.ln() - at_end.value;
    mean.scale_by(ALPHA, model.alpha / alpha);
    model.lifetime.by_own(t_x, mean)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, Exp, Gamma};

    use super::super::{GammaGompertz, GgompertzNbd, Pareto, ParetoNbd};
    use super::*;
    use crate::models::lifetime::check::{Customers, derivatives_equal_differences, fit_is_finite, fit_recovers};

    /// `end` gives a lifetime with that chance to be outlived.
    fn simulated<L: Fitted>(truth: Nbd<L>, end: impl Fn(f64) -> f64, customers: usize, days: u32) -> Customers {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let rates = Gamma::new(truth.r, 1.0 / truth.alpha).unwrap();
        let mut made = Customers::default();
        for _ in 0..customers {
            let t = rng.random_range(days / 2..days);
            let waiting = Exp::new(rates.sample(&mut rng).max(1e-12)).unwrap();
            let until = end(1.0 - rng.random::<f64>()).min(f64::from(t));
            let (mut x, mut last) = (0, 0.0);
            loop {
                let next = last + waiting.sample(&mut rng);
                if next > until {
                    break;
                }
                (x, last) = (x + 1, next);
            }
            made.push(x, last as u32, t);
        }
        made
    }

    const PARETO: ParetoNbd = Nbd { r: 0.6, alpha: 25.0, lifetime: Pareto { s: 0.8, beta: 90.0 } };
    const GOMPERTZ: GgompertzNbd = Nbd { r: 0.6, alpha: 25.0, lifetime: GammaGompertz { b: 0.015, s: 0.8, beta: 30.0 } };

    fn by_pareto(customers: usize) -> Customers {
        let Pareto { s, beta } = PARETO.lifetime;
        simulated(PARETO, |survival| beta * (survival.powf(-1.0 / s) - 1.0), customers, 700)
    }

    fn by_gompertz(customers: usize) -> Customers {
        let GammaGompertz { b, s, beta } = GOMPERTZ.lifetime;
        simulated(GOMPERTZ, |survival| (beta * (survival.powf(-1.0 / s) - 1.0)).ln_1p() / b, customers, 700)
    }

    #[test]
    fn derivatives_are_those_of_the_likelihood() {
        for at in [[-0.4, 3.0, -0.2, 4.0], [1.5, 0.3, 1.2, 5.0], [-1.0, 5.0, 0.5, -3.0]] {
            derivatives_equal_differences::<ParetoNbd>(&by_pareto(500), &at, 1e-7);
        }
        for at in [[-0.4, 3.0, -4.0, -0.2, 3.0], [1.5, 0.3, -9.0, 1.2, -3.0], [-1.0, 5.0, -2.0, 0.5, 7.0]] {
            derivatives_equal_differences::<GgompertzNbd>(&by_gompertz(500), &at, 1e-7);
        }
    }

    #[test]
    fn recovers_the_truth_whatever_the_order_and_the_threads() {
        fit_recovers(PARETO, by_pareto(40_000), 0.1);
        fit_recovers(GOMPERTZ, by_gompertz(40_000), 0.15);
    }

    #[test]
    fn data_without_an_inner_maximum_end_at_finite_parameters() {
        fit_is_finite::<ParetoNbd>(&[]);
        fit_is_finite::<GgompertzNbd>(&[]);
    }
}
