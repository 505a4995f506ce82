//! Maximum likelihood: Newton's method on ln r, ln α, ln a, ln b with analytic first and second derivatives.
//!
//! Only histories with x > 0 need an exponential and a logarithm each; everything else depends on x alone or on T alone and is summed from counts.
//! With η = ln α: ∂ ln(1+T/α)/∂η = −q and ∂q/∂η = −q(1−q), where q = T/(α+T).

use rayon::prelude::*;

use super::super::optimise::{Derivatives, Problem};
use super::super::special::ln_rising_derivatives;
use super::super::{Counts, Fit};
use super::BgNbd;
use super::compress::{Frequency, Histories, Piece, Row};
use crate::models::{Control, ModelError};

/// e^±12 for r, a and b, and for α times in days between a fraction of a second and geological ages.
const PROBLEM: Problem<4> = Problem { model: "bg_nbd", lower: [-12.0; 4], upper: [12.0, 27.0, 12.0, 12.0] };

impl BgNbd {
    /// Fits the four parameters by maximum likelihood, from `start` or from a start of its own.
    ///
    /// The answer is bitwise the same for any order of the customers and any number of threads.
    ///
    /// # Errors
    /// `TooLittleData` if fewer than two customers bought on a second day, `Option` for an impossible history or start, `Cancelled`, `NotConverged`.
    pub fn fit(counts: Counts<'_>, start: Option<BgNbd>, control: &Control) -> Result<Fit<BgNbd>, ModelError> {
        let histories = Histories::new(counts)?;
        let start = match start {
            Some(given) => given.checked_logarithms()?,
            None => own_start(&histories),
        };
        let scale = 1.0 / histories.customers as f64;
        let optimum = PROBLEM.maximise(start, control, |at| log_likelihood(&histories, at).scaled(scale))?;
        let [r, alpha, a, b] = optimum.at.map(f64::exp);
        Ok(Fit {
            params: BgNbd { r, alpha, a, b },
            log_likelihood: optimum.value / scale,
            customers: histories.customers,
            rows: histories.distinct,
            evaluations: optimum.evaluations,
            gradient_norm: optimum.gradient_norm,
            on_edge: optimum.on_edge,
        })
    }

    fn checked_logarithms(self) -> Result<[f64; 4], ModelError> {
        let Self { r, alpha, a, b } = self;
        if [r, alpha, a, b].iter().all(|v| v.is_finite() && *v > 0.0) {
            return Ok([r.ln(), alpha.ln(), a.ln(), b.ln()]);
        }
        let given = format!("r {r}, alpha {alpha}, a {a}, b {b}");
        Err(ModelError::Option { option: "start".into(), given, allowed: "four positive numbers".into() })
    }
}

/// The observed mean rate, spread as most shops are, and one departure in four purchases.
fn own_start(histories: &Histories) -> [f64; 4] {
    let r: f64 = 0.5;
    let alpha = r * histories.exposure.max(1.0) / histories.purchases as f64;
    [r.ln(), alpha.ln(), 0.0, 3.0_f64.ln()]
}

/// ln(1 + d/α) and d/(α + d) for one day d.
#[derive(Clone, Copy)]
struct Day {
    log: f64,
    share: f64,
}

/// The log-likelihood of all customers with its derivatives by the log-parameters.
fn log_likelihood(histories: &Histories, at: &[f64; 4]) -> Derivatives<4> {
    let [r, alpha, a, b] = at.map(f64::exp);
    let model = BgNbd { r, alpha, a, b };
    let days: Vec<Day> =
        (0..histories.by_t.len()).map(|d| d as f64).map(|d| Day { log: (d / alpha).ln_1p(), share: d / (alpha + d) }).collect();
    let mut total = of_exposure(histories, at, r, &days);
    total += &of_frequency(histories, &model);
    let parts: Vec<_> =
        histories.pieces.par_iter().map(|piece| of_departure(piece, &histories.rows[piece.rows.clone()], &model, &days)).collect();
    for part in &parts {
        total += part;
    }
    total
}

/// −x ln α − (r+x) ln(1 + T/α), over all customers.
fn of_exposure(histories: &Histories, at: &[f64; 4], r: f64, days: &[Day]) -> Derivatives<4> {
    let mut sum = Derivatives::zero();
    let purchases = histories.purchases as f64;
    sum.value = -purchases * at[1];
    sum.gradient[1] = -purchases;
    for (observed, day) in histories.by_t.iter().zip(days) {
        let spread = r * observed.customers as f64;
        let shape = spread + observed.purchases as f64;
        sum.value -= shape * day.log;
        sum.gradient[0] -= spread * day.log;
        sum.gradient[1] += shape * day.share;
        sum.hessian[1][0] += spread * day.share;
        sum.hessian[1][1] -= shape * day.share * (1.0 - day.share);
    }
    sum.hessian[0][0] = sum.gradient[0];
    sum
}

/// ln (r)_x + ln (b)_x − ln (a+b)_x, over the customers with x > 0.
fn of_frequency(histories: &Histories, model: &BgNbd) -> Derivatives<4> {
    let BgNbd { r, a, b, .. } = *model;
    let mut sum = Derivatives::zero();
    for &Frequency { x, customers, .. } in &histories.by_x {
        let n = customers as f64;
        let [of_r, of_b, of_ab] = [r, b, a + b].map(|z| ln_rising_derivatives(z, x));
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

/// ln(1 + e^D) over rows with one x > 0, where D = ln a − ln(b+x−1) + (r+x)·e and e = ln (α+T)/(α+t_x).
///
/// With P = e^D/(1+e^D) its derivatives are P·D_i and P·D_ij + P(1−P)·D_i·D_j, and of D only ∂D/∂ln r = r·e, ∂D/∂η = (r+x)·f with
/// f = q(t_x) − q(T), and their own derivatives change from row to row.
fn of_departure(piece: &Piece, rows: &[Row], model: &BgNbd, days: &[Day]) -> Derivatives<4> {
    let BgNbd { r, a, b, .. } = *model;
    let x = f64::from(piece.x);
    let shape = r + x;
    let offset = (a / (b + x - 1.0)).ln();
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
    let by_b = -b / (b + x - 1.0);
    let by_b_twice = by_b * (x - 1.0) / (b + x - 1.0);
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

    use super::*;

    struct Customers {
        x: Vec<u32>,
        t_x: Vec<u32>,
        t: Vec<u32>,
    }

    impl Customers {
        fn counts(&self) -> Counts<'_> {
            Counts { x: &self.x, t_x: &self.t_x, t: &self.t }
        }
    }

    fn simulated(truth: BgNbd, customers: usize, days: u32) -> Customers {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (rates, departures) = (Gamma::new(truth.r, 1.0 / truth.alpha).unwrap(), Beta::new(truth.a, truth.b).unwrap());
        let mut made = Customers { x: vec![], t_x: vec![], t: vec![] };
        for _ in 0..customers {
            let t = rng.random_range(days / 2..days);
            let waiting = Exp::new(rates.sample(&mut rng).max(1e-12)).unwrap();
            let p = departures.sample(&mut rng);
            let (mut x, mut last) = (0, 0.0);
            loop {
                let next = last + waiting.sample(&mut rng);
                if next > f64::from(t) {
                    break;
                }
                (x, last) = (x + 1, next);
                if rng.random::<f64>() < p {
                    break;
                }
            }
            made.x.push(x);
            made.t_x.push(last as u32);
            made.t.push(t);
        }
        made
    }

    const TRUTH: BgNbd = BgNbd { r: 0.6, alpha: 25.0, a: 0.8, b: 2.4 };

    #[test]
    fn derivatives_equal_differences() {
        let made = simulated(TRUTH, 500, 400);
        let histories = Histories::new(made.counts()).unwrap();
        for at in [[-0.4, 3.0, -0.2, 0.9], [1.5, 0.3, 1.2, -1.0]] {
            let here = log_likelihood(&histories, &at);
            for i in 0..4 {
                let (mut up, mut down) = (at, at);
                up[i] += 1e-5;
                down[i] -= 1e-5;
                let (up, down) = (log_likelihood(&histories, &up), log_likelihood(&histories, &down));
                assert!(((up.value - down.value) / 2e-5 - here.gradient[i]).abs() < 1e-7 * here.value.abs());
                for j in i..4 {
                    assert!(((up.gradient[j] - down.gradient[j]) / 2e-5 - here.hessian[j][i]).abs() < 1e-7 * here.value.abs());
                }
            }
        }
    }

    #[test]
    fn recovers_the_truth_whatever_the_order_and_the_threads() {
        let mut made = simulated(TRUTH, 40_000, 700);
        let control = Control::default();
        let fit = BgNbd::fit(made.counts(), None, &control).unwrap();
        for (found, truth) in [(fit.params.r, TRUTH.r), (fit.params.alpha, TRUTH.alpha), (fit.params.a, TRUTH.a), (fit.params.b, TRUTH.b)] {
            assert!((found / truth - 1.0).abs() < 0.1, "{fit:?}");
        }
        let by_customer: f64 =
            (0..made.x.len()).map(|i| fit.params.log_likelihood(f64::from(made.x[i]), f64::from(made.t_x[i]), f64::from(made.t[i]))).sum();
        assert!((by_customer - fit.log_likelihood).abs() < 1e-10 * by_customer.abs());

        for values in [&mut made.x, &mut made.t_x, &mut made.t] {
            values.reverse();
        }
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(alone.install(|| BgNbd::fit(made.counts(), None, &control)).unwrap(), fit);
        let elsewhere = BgNbd { r: 5.0, alpha: 1.0, a: 0.05, b: 30.0 };
        let again = BgNbd::fit(made.counts(), Some(elsewhere), &control).unwrap().params;
        assert!((again.r / fit.params.r - 1.0).abs() < 1e-6 && (again.b / fit.params.b - 1.0).abs() < 1e-6);
    }

    #[test]
    fn data_without_an_inner_maximum_end_at_finite_parameters() {
        let cases: [(&[u32], &[u32], &[u32]); 5] = [
            (&[1, 1], &[5, 5], &[5, 5]),
            (&[40, 40, 40], &[40, 40, 40], &[40, 40, 40]),
            (&[1, 1, 0], &[1, 1, 0], &[3_000, 3_000, 3_000]),
            (&[2, 100_000, 0], &[10, 10_950, 0], &[20, 10_957, 0]),
            (&[1, 3, 2_000], &[0, 0, 0], &[0, 0, 0]),
        ];
        for (x, t_x, t) in cases {
            let fit = BgNbd::fit(Counts { x, t_x, t }, None, &Control::default()).unwrap();
            assert!(fit.log_likelihood.is_finite(), "{fit:?}");
            for i in 0..x.len() {
                let [x, t_x, t] = [x[i], t_x[i], t[i]].map(f64::from);
                let (alive, expected) = (fit.params.p_alive(x, t_x, t), fit.params.expected_purchases(x, t_x, t, 365.0));
                assert!((0.0..=1.0).contains(&alive) && expected.is_finite() && expected >= 0.0, "{fit:?}");
            }
        }
        let start = Some(BgNbd { r: -1.0, alpha: 1.0, a: 1.0, b: 1.0 });
        let error = BgNbd::fit(Counts { x: &[1, 1], t_x: &[1, 1], t: &[2, 2] }, start, &Control::default()).unwrap_err();
        assert!(error.to_string().contains("'start' = r -1, alpha 1, a 1, b 1: four positive numbers"));
    }
}
