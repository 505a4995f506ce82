//! Maximum likelihood for BG/BB with analytic first and second derivatives by ln α, ln β, ln γ, ln δ.
//!
//! ln w_k is a sum of logarithms of ascending factorials, which are tabulated with their derivatives for every k. For one x and one n the sums
//! Σ_{k≥t_x} w_k of all t_x are partial sums of each other, so that a row costs little once n is done. With π_k = w_k/L:
//! ∇ ln L = Σ π_k ∇ln w_k and ∇² ln L = Σ π_k (∇² ln w_k + ∇ln w_k ∇ln w_kᵀ) − ∇ln L ∇ln Lᵀ.

use rayon::prelude::*;

use super::super::super::histories::{Histories, Row};
use super::super::super::optimise::{Derivatives, Sums};
use super::super::super::process::Likelihood;
use super::super::sums::ln_beta_ratio;
use super::{BgBb, possible};

impl Likelihood for BgBb {
    const LOWER: &'static [f64] = &[-12.0; 4];
    const UPPER: &'static [f64] = &[12.0; 4];
    const BY_PURCHASE: &'static [f64] = &[0.0; 4];
    const BY_LIFETIME: &'static [f64] = &[0.0; 4];

    fn log_likelihood(&self, x: f64, t_x: f64, t: f64) -> f64 {
        let Self { alpha, beta, gamma, delta } = *self;
        let [x, t_x, n] = possible(x, t_x, t);
        let purchases = ln_beta_ratio(alpha, beta, x) + ln_beta_ratio(beta, alpha + x, n - x);
        let odds = self.ln_odds_departed(x, t_x, n);
        purchases + ln_beta_ratio(delta, gamma, n) + odds.max(0.0) + (-odds.abs()).exp().ln_1p()
    }

    /// The observed share of opportunities with a purchase, somewhat raised for those who have departed, and one departure in seven opportunities.
    fn start(histories: &Histories, _: &[f64]) -> Vec<f64> {
        let share = (1.3 * histories.purchases as f64 / histories.exposure.max(1.0)).clamp(0.01, 0.9);
        vec![(2.0 * share).ln(), (2.0 * (1.0 - share)).ln(), 0.5_f64.ln(), 3.0_f64.ln()]
    }

    fn sums(histories: &Histories, at: &[f64]) -> Sums {
        let &[alpha, beta, gamma, delta] = at else { return Sums::zero(at.len()) };
        let model = Self { alpha: alpha.exp(), beta: beta.exp(), gamma: gamma.exp(), delta: delta.exp() };
        let tables = Tables::new(&model, histories.by_t.len() as u32);
        let parts: Vec<_> = histories.pieces.par_iter().map(|piece| tables.of_rows(piece.x, &histories.rows[piece.rows.clone()])).collect();
        let mut total = Derivatives::zero();
        for part in &parts {
            total += part;
        }
        total.into()
    }
}

/// ln (z)_m, and its first two derivatives by z, for m = 0, 1, …, most.
fn rising(z: f64, most: u32) -> Vec<[f64; 3]> {
    let mut at = [0.0; 3];
    let mut table = vec![at];
    for m in 0..most {
        let factor = z + f64::from(m);
        at = [at[0] + factor.ln(), at[1] + 1.0 / factor, at[2] - 1.0 / (factor * factor)];
        table.push(at);
    }
    table
}

/// ln w_k and its derivatives; the second ones of each pair of parameters that shares a beta function.
struct Term {
    value: f64,
    gradient: [f64; 4],
    /// By (α, α), (α, β), (β, β) and (γ, γ), (γ, δ), (δ, δ).
    of_purchase: [f64; 3],
    of_departure: [f64; 3],
}

struct Tables {
    model: BgBb,
    alpha: Vec<[f64; 3]>,
    beta: Vec<[f64; 3]>,
    delta: Vec<[f64; 3]>,
    alpha_beta: Vec<[f64; 3]>,
    gamma_delta: Vec<[f64; 3]>,
}

impl Tables {
    /// For up to `most` opportunities.
    fn new(model: &BgBb, most: u32) -> Self {
        let BgBb { alpha, beta, gamma, delta } = *model;
        let [alpha, beta, delta, alpha_beta, gamma_delta] = [alpha, beta, delta, alpha + beta, gamma + delta].map(|z| rising(z, most));
        Self { model: *model, alpha, beta, delta, alpha_beta, gamma_delta }
    }

    /// Of x purchases at k opportunities: until a departure, or until today.
    fn term(&self, x: u32, k: u32, departed: bool) -> Term {
        let BgBb { alpha: a, beta: b, gamma: c, delta: d } = self.model;
        let (x, k) = (x as usize, k as usize);
        let (of_a, of_b, of_ab) = (self.alpha[x], self.beta[k - x], self.alpha_beta[k]);
        let (of_d, of_cd) = (self.delta[k], self.gamma_delta[k + usize::from(departed)]);
        let once = f64::from(u8::from(departed));
        let by_c = -c * of_cd[1];
        let gradient = [a * (of_a[1] - of_ab[1]), b * (of_b[1] - of_ab[1]), once + by_c, d * (of_d[1] - of_cd[1])];
        Term {
            value: of_a[0] + of_b[0] - of_ab[0] + once * c.ln() + of_d[0] - of_cd[0],
            gradient,
            of_purchase: [gradient[0] + a * a * (of_a[2] - of_ab[2]), -a * b * of_ab[2], gradient[1] + b * b * (of_b[2] - of_ab[2])],
            of_departure: [by_c - c * c * of_cd[2], -c * d * of_cd[2], gradient[3] + d * d * (of_d[2] - of_cd[2])],
        }
    }

    /// Over rows with one x, ordered by n and then t_x.
    fn of_rows(&self, x: u32, rows: &[Row]) -> Derivatives<4> {
        let mut total = Derivatives::zero();
        for same_n in rows.chunk_by(|a, b| a.t == b.t) {
            let mut sum: Option<(u32, Partial)> = None;
            for row in same_n.iter().rev() {
                // x ≤ t_x in a history that can be.
                let x = x.min(row.t_x);
                let (_, partial) = match &mut sum {
                    Some(known) if known.0 == x => known,
                    other => other.insert((x, Partial::new(row.t, &self.term(x, row.t, false)))),
                };
                while partial.from > row.t_x {
                    partial.from -= 1;
                    partial.add(&self.term(x, partial.from, true));
                }
                partial.add_to(row.customers, &mut total);
            }
        }
        total
    }
}

/// Σ_{k ≥ from} w_k e^−scale, with the same sums of the terms of its derivatives.
struct Partial {
    from: u32,
    scale: f64,
    weight: f64,
    gradient: [f64; 4],
    hessian: [[f64; 4]; 4],
}

impl Partial {
    fn new(from: u32, term: &Term) -> Self {
        let mut new = Self { from, scale: term.value, weight: 0.0, gradient: [0.0; 4], hessian: [[0.0; 4]; 4] };
        new.add(term);
        new
    }

    fn add(&mut self, term: &Term) {
        /// Far from where an exponential overflows.
        const LARGE: f64 = 300.0;
        if term.value > self.scale + LARGE {
            let smaller = (self.scale - term.value).exp();
            self.scale = term.value;
            self.weight *= smaller;
            self.gradient.iter_mut().chain(self.hessian.iter_mut().flatten()).for_each(|v| *v *= smaller);
        }
        let weight = (term.value - self.scale).exp();
        self.weight += weight;
        let g = &term.gradient;
        for i in 0..4 {
            self.gradient[i] += weight * g[i];
            for j in 0..=i {
                self.hessian[i][j] += weight * g[i] * g[j];
            }
        }
        for (from, [first, both, second]) in [(0, term.of_purchase), (2, term.of_departure)] {
            self.hessian[from][from] += weight * first;
            self.hessian[from + 1][from] += weight * both;
            self.hessian[from + 1][from + 1] += weight * second;
        }
    }

    /// Adds ln of the sum, and its derivatives, for so many customers.
    fn add_to(&self, customers: f64, total: &mut Derivatives<4>) {
        let gradient = self.gradient.map(|g| g / self.weight);
        total.value += customers * (self.scale + self.weight.ln());
        for i in 0..4 {
            total.gradient[i] += customers * gradient[i];
            for j in 0..=i {
                total.hessian[i][j] += customers * (self.hessian[i][j] / self.weight - gradient[i] * gradient[j]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Beta, Distribution};

    use super::*;
    use crate::models::lifetime::check::{Customers, derivatives_equal_differences, fit_is_finite, fit_recovers};

    const TRUTH: BgBb = BgBb { alpha: 1.2, beta: 2.5, gamma: 0.7, delta: 6.0 };

    fn simulated(customers: usize, periods: u32) -> Customers {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (shares, departures) = (Beta::new(TRUTH.alpha, TRUTH.beta).unwrap(), Beta::new(TRUTH.gamma, TRUTH.delta).unwrap());
        let mut made = Customers::default();
        for _ in 0..customers {
            let n = rng.random_range(periods / 2..=periods);
            let (p, theta) = (shares.sample(&mut rng), departures.sample(&mut rng));
            let (mut x, mut t_x) = (0, 0);
            for i in 1..=n {
                if rng.random::<f64>() < theta {
                    break;
                }
                if rng.random::<f64>() < p {
                    (x, t_x) = (x + 1, i);
                }
            }
            made.push(x, t_x, n);
        }
        made
    }

    #[test]
    fn derivatives_are_those_of_the_likelihood() {
        for at in [[0.1, 0.9, -0.3, 1.8], [-2.0, 1.5, 1.2, -1.0], [3.0, 5.0, -4.0, 2.0]] {
            derivatives_equal_differences::<BgBb>(&simulated(500, 40), &at, 1e-7);
        }
        // Histories of hundreds of periods, and some that cannot be.
        let mut made = simulated(200, 700);
        made.push(5, 3, 9);
        made.push(2, 0, 9);
        derivatives_equal_differences::<BgBb>(&made, &[0.1, 0.9, -0.3, 1.8], 1e-7);
    }

    #[test]
    fn recovers_the_truth_whatever_the_order_and_the_threads() {
        fit_recovers(TRUTH, simulated(40_000, 30), 0.1);
    }

    #[test]
    fn data_without_an_inner_maximum_end_at_finite_parameters() {
        fit_is_finite::<BgBb>(&[]);
    }
}
