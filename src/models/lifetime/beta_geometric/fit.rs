//! Maximum likelihood: Newton's method on ln r, ln α, ln a, ln b with analytic first and second derivatives.
//!
//! Only histories with x > 0 need an exponential and a logarithm each; everything else depends on x alone or on T alone and is summed from counts.
//! With η = ln α: ∂ ln(1+T/α)/∂η = −q and ∂q/∂η = −q(1−q), where q = T/(α+T).

use rayon::prelude::*;

use super::super::histories::{Frequency, Histories, Piece, Row};
use super::super::optimise::{Derivatives, Sums};
use super::super::process::Likelihood;
use super::super::special::{ln_rising, ln_rising_derivatives, softplus};
use super::BetaGeometric;

impl<const FIRST: u8> Likelihood for BetaGeometric<FIRST> {
    // e^±12 for r, a and b, and for α times in days between a fraction of a second and geological ages.
    const LOWER: &'static [f64] = &[-12.0; 4];
    const UPPER: &'static [f64] = &[12.0, 27.0, 12.0, 12.0];
    const BY_PURCHASE: &'static [f64] = &[0.0, -1.0, 0.0, 0.0];
    const BY_LIFETIME: &'static [f64] = &[0.0, 0.0, 1.0, 0.0];

    fn log_likelihood(&self, x: f64, t_x: f64, t: f64) -> f64 {
        let chances = Self::chances(x);
        let beta = ln_rising(self.b, chances) - ln_rising(self.a + self.b, chances);
        let alive = ln_rising(self.r, x) + beta - x * self.alpha.ln() - (self.r + x) * (t / self.alpha).ln_1p();
        if chances > 0.0 { alive + softplus(self.log_odds_departed(x, t_x, t)) } else { alive }
    }

    /// The observed mean rate, spread as most shops are, and one departure in four purchases.
    fn start(histories: &Histories, _: &[f64]) -> Vec<f64> {
        let r: f64 = 0.5;
        let alpha = r * histories.exposure.max(1.0) / histories.purchases as f64;
        vec![r.ln(), alpha.ln(), 0.0, 3.0_f64.ln()]
    }

    fn sums(histories: &Histories, at: &[f64]) -> Sums {
        let &[r, alpha, a, b] = at else { return Sums::zero(at.len()) };
        let model = Self { r: r.exp(), alpha: alpha.exp(), a: a.exp(), b: b.exp() };
        let day = |d: usize| Day::new(d as f64, model.alpha);
        log_likelihood(histories, &model, &(0..histories.by_t.len()).map(day).collect::<Vec<_>>()).into()
    }
}

/// ln(1 + d/α) and d/(α + d) for one day d.
#[derive(Clone, Copy)]
pub(in crate::models::lifetime) struct Day {
    pub log: f64,
    pub share: f64,
}

impl Day {
    pub fn new(d: f64, alpha: f64) -> Self {
        Self { log: (d / alpha).ln_1p(), share: d / (alpha + d) }
    }
}

/// The log-likelihood of all customers with its derivatives by the log-parameters, given what the days are.
pub(super) fn log_likelihood<const FIRST: u8>(histories: &Histories, model: &BetaGeometric<FIRST>, days: &[Day]) -> Derivatives<4> {
    let mut total = of_exposure(histories, model.alpha.ln(), model.r, 1, days);
    total += &of_frequency::<FIRST>(histories, [model.r, model.a, model.b], 1);
    let with_a_chance: Vec<&Piece> = histories.pieces.iter().filter(|piece| piece.x + u32::from(FIRST) > 0).collect();
    let parts: Vec<_> =
        with_a_chance.par_iter().map(|piece| of_departure(piece, &histories.rows[piece.rows.clone()], model, days)).collect();
    for part in &parts {
        total += part;
    }
    total
}

/// −kx ln α − (r+kx) ln(1 + T/α), over all customers, for purchases of k `stages`.
pub(in crate::models::lifetime) fn of_exposure(histories: &Histories, ln_alpha: f64, r: f64, stages: u32, days: &[Day]) -> Derivatives<4> {
    let mut sum = Derivatives::zero();
    let k = f64::from(stages);
    let purchases = k * histories.purchases as f64;
    sum.value = -purchases * ln_alpha;
    sum.gradient[1] = -purchases;
    for (observed, day) in histories.by_t.iter().zip(days) {
        let spread = r * observed.customers as f64;
        let shape = spread + k * observed.purchases as f64;
        sum.value -= shape * day.log;
        sum.gradient[0] -= spread * day.log;
        sum.gradient[1] += shape * day.share;
        sum.hessian[1][0] += spread * day.share;
        sum.hessian[1][1] -= shape * day.share * (1.0 - day.share);
    }
    sum.hessian[0][0] = sum.gradient[0];
    sum
}

/// ln (r)_kx + ln (b)_c − ln (a+b)_c, over all customers, for purchases of k `stages` and c chances to depart that were not taken.
pub(in crate::models::lifetime) fn of_frequency<const FIRST: u8>(
    histories: &Histories,
    [r, a, b]: [f64; 3],
    stages: u32,
) -> Derivatives<4> {
    let mut sum = Derivatives::zero();
    let once: u64 = histories.by_t.iter().map(|o| o.once).sum();
    for (x, customers) in std::iter::once((0, once)).chain(histories.by_x.iter().map(|&Frequency { x, customers, .. }| (x, customers))) {
        let n = customers as f64;
        let chances = x + u32::from(FIRST);
        let [of_r, of_b, of_ab] = [(r, stages * x), (b, chances), (a + b, chances)].map(|(z, n)| ln_rising_derivatives(z, n));
        let (by_a, by_b) = (-a * of_ab[1], b * (of_b[1] - of_ab[1]));
        sum.value += n * (of_r[0] + of_b[0] - of_ab[0]);
        sum.gradient[0] += n * r * of_r[1];
        sum.gradient[2] += n * by_a;
        sum.gradient[3] += n * by_b;
        sum.hessian[0][0] += n * (r * of_r[1] + r * r * of_r[2]);
        sum.hessian[2][2] += n * (by_a - a * a * of_ab[2]);
        sum.hessian[3][2] -= n * a * b * of_ab[2];
        sum.hessian[3][3] += n * (by_b + b * b * (of_b[2] - of_ab[2]));
    }
    sum
}

/// ln(1 + e^D) over rows with one x, where D = ln a − ln(b+c−1) + (r+x)·e and e = ln (α+T)/(α+t_x).
///
/// With P = e^D/(1+e^D) its derivatives are P·D_i and P·D_ij + P(1−P)·D_i·D_j, and of D only ∂D/∂ln r = r·e, ∂D/∂η = (r+x)·f with
/// f = q(t_x) − q(T), and their own derivatives change from row to row.
fn of_departure<const FIRST: u8>(piece: &Piece, rows: &[Row], model: &BetaGeometric<FIRST>, days: &[Day]) -> Derivatives<4> {
    let BetaGeometric { r, a, b, .. } = *model;
    let x = f64::from(piece.x);
    let shape = r + x;
    let earlier = x + f64::from(FIRST) - 1.0;
    let offset = (a / (b + earlier)).ln();
    let mut value = 0.0;
    let [mut p, mut p_e, mut p_f, mut p_g] = [0.0; 4];
    let [mut u, mut u_e, mut u_f, mut u_ee, mut u_ef, mut u_ff] = [0.0; 6];
    for row in rows {
        let (last, now) = (days[row.t_x as usize], days[row.t as usize]);
        let e = now.log - last.log;
        let f = last.share - now.share;
        let d = offset + shape * e;
        let small = (-d.abs()).exp();
        // `ln` instead of `ln_1p`: digits lost where `small` is tiny are far below the rounding of the sum, and it is cheaper.
        value += row.customers * (d.max(0.0) + (1.0 + small).ln());
        let inverse = 1.0 / (1.0 + small);
        let departed = row.customers * if d > 0.0 { inverse } else { small * inverse };
        let unsure = row.customers * small * inverse * inverse;
        p += departed;
        p_e += departed * e;
        p_f += departed * f;
        p_g += departed * (now.share * (1.0 - now.share) - last.share * (1.0 - last.share));
        u += unsure;
        u_e += unsure * e;
        u_f += unsure * f;
        u_ee += unsure * e * e;
        u_ef += unsure * e * f;
        u_ff += unsure * f * f;
    }
    let by_b = -b / (b + earlier);
    let by_b_twice = by_b * earlier / (b + earlier);
    Derivatives {
        value,
        gradient: [r * p_e, shape * p_f, p, by_b * p],
        hessian: [
            [r * p_e + r * r * u_ee, 0.0, 0.0, 0.0],
            [r * p_f + r * shape * u_ef, shape * p_g + shape * shape * u_ff, 0.0, 0.0],
            [r * u_e, shape * u_f, u, 0.0],
            [by_b * r * u_e, by_b * shape * u_f, by_b * u, by_b_twice * p + by_b * by_b * u],
        ],
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Beta, Distribution, Exp, Gamma};

    use super::super::{BgNbd, MbgNbd};
    use super::*;
    use crate::models::Control;
    use crate::models::lifetime::check::{Customers, derivatives_equal_differences, fit_is_finite, fit_recovers};
    use crate::models::lifetime::{Counts, FitOptions, fit};

    fn simulated<const FIRST: u8>(truth: BetaGeometric<FIRST>, customers: usize, days: u32) -> Customers {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (rates, departures) = (Gamma::new(truth.r, 1.0 / truth.alpha).unwrap(), Beta::new(truth.a, truth.b).unwrap());
        let mut made = Customers::default();
        for _ in 0..customers {
            let t = rng.random_range(days / 2..days);
            let waiting = Exp::new(rates.sample(&mut rng).max(1e-12)).unwrap();
            let p = departures.sample(&mut rng);
            let (mut x, mut last) = (0, 0.0);
            while x + u32::from(FIRST) == 0 || rng.random::<f64>() >= p {
                let next = last + waiting.sample(&mut rng);
                if next > f64::from(t) {
                    break;
                }
                (x, last) = (x + 1, next);
            }
            made.push(x, last as u32, t);
        }
        made
    }

    const TRUTH: BgNbd = BgNbd { r: 0.6, alpha: 25.0, a: 0.8, b: 2.4 };
    const MODIFIED: MbgNbd = MbgNbd { r: 0.6, alpha: 25.0, a: 0.8, b: 2.4 };

    #[test]
    fn derivatives_are_those_of_the_likelihood() {
        for at in [[-0.4, 3.0, -0.2, 0.9], [1.5, 0.3, 1.2, -1.0]] {
            derivatives_equal_differences::<BgNbd>(&simulated(TRUTH, 500, 400), &at, 1e-7);
            derivatives_equal_differences::<MbgNbd>(&simulated(MODIFIED, 500, 400), &at, 1e-7);
        }
    }

    #[test]
    fn recovers_the_truth_whatever_the_order_and_the_threads() {
        fit_recovers(TRUTH, simulated(TRUTH, 40_000, 700), 0.1);
        fit_recovers(MODIFIED, simulated(MODIFIED, 40_000, 700), 0.1);
    }

    #[test]
    fn data_without_an_inner_maximum_end_at_finite_parameters() {
        fit_is_finite::<BgNbd>(&[]);
        fit_is_finite::<MbgNbd>(&[]);
        let options = FitOptions { start: Some(vec![-1.0, 1.0, 1.0, 1.0]), ..FitOptions::default() };
        let counts = Counts::new(&[1, 1], &[1, 1], &[2, 2]);
        let error = fit::<BgNbd>(counts, &options, &Control::default()).unwrap_err();
        assert!(error.to_string().contains("'start' = r -1, alpha 1, a 1, b 1: 4 positive numbers"), "{error}");
    }
}
