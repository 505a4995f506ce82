//! Gamma-Gamma: the value of an order (Fader and Hardie 2013).
//!
//! An order is worth Gamma(p, rate ν), and ν differs between customers as Gamma(q, rate v). With the mean m of x orders and y = x·m/v
//!
//! ```text
//! ln L     = −ln B(px, q) − ln m + px·ln y − (px+q)·ln(1+y)          eq. 1a
//! E[M|x,m] = p(v + x·m) / (px + q − 1)                               eq. 5
//! ```
//!
//! x and m are those of the repeat purchases, as in the paper; a customer without any has the mean of the population, pv/(q−1).

use std::ops::Range;

use rayon::prelude::*;

use super::optimise::{Derivatives, Problem, covariance};
use super::special::{digamma, lgamma, trigamma};
use super::{Fit, Parameter};
use crate::models::{Column, Control, ModelError, Part};

/// Customers with a known order value below which the variance within customers and between them cannot be told apart at all.
const FEWEST_SPENDERS: usize = 2;
/// Rows of one unit of parallel work. Fixed, so that sums do not depend on the number of threads.
const PIECE: usize = 4_096;
/// An expected value is at most this many times the most likely one.
const MEAN_TO_MODE: f64 = 20.0;

/// e^±7 for the shapes: a standard deviation of 3 % of the mean is as good as none, and far beyond it ln B(px, q) loses its digits.
fn problem(customers: f64) -> Problem {
    Problem::plain("gamma_gamma", vec![-7.0, -7.0, -14.0], vec![7.0, 7.0, 14.0], customers)
}

/// The parameters; `v` is in the unit of money, `p` and `q` are shapes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GammaGamma {
    pub p: f64,
    pub q: f64,
    pub v: f64,
}

/// The parameters that were estimated, and how sure they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Spend {
    pub params: GammaGamma,
    /// Principal axes of the uncertainty of the log-parameters, one standard error each.
    pub axes: Vec<Vec<f64>>,
}

impl Spend {
    /// Parameters that are certain.
    pub fn known(params: GammaGamma) -> Self {
        Self { params, axes: vec![] }
    }

    /// The model moved by one standard error along each principal axis.
    pub fn axes(&self) -> impl Iterator<Item = Self> {
        let GammaGamma { p, q, v } = self.params;
        let moved = move |axis: &Vec<f64>| GammaGamma { p: p * axis[0].exp(), q: q * axis[1].exp(), v: v * axis[2].exp() };
        self.axes.iter().map(moved).map(Self::known)
    }

    /// p, q and v.
    pub fn parameters(&self) -> Vec<Parameter> {
        let GammaGamma { p, q, v } = self.params;
        let deviation = |i: usize| (!self.axes.is_empty()).then(|| self.axes.iter().map(|axis| axis[i] * axis[i]).sum::<f64>().sqrt());
        let one = |(i, (name, value)): (usize, (&str, f64))| Parameter {
            name: name.into(),
            value,
            error: deviation(i).map(|d| d * value),
            log_error: deviation(i),
        };
        [("p", p), ("q", q), ("v", v)].into_iter().enumerate().map(one).collect()
    }

    /// Of p, q and v; empty where it was not estimated.
    pub fn covariance(&self) -> Vec<Vec<f64>> {
        let GammaGamma { p, q, v } = self.params;
        covariance(&self.axes, &[p, q, v])
    }

    pub fn to_parts(&self) -> Vec<Part> {
        let GammaGamma { p, q, v } = self.params;
        let mut parts = vec![Part::row(TABLE, &[("p", p), ("q", q), ("v", v)])];
        if !self.axes.is_empty() {
            parts.push(Part::new(AXES, vec![("move", Column::F64(self.axes.concat()))]));
        }
        parts
    }

    /// Reads what [`Spend::to_parts`] wrote; `None` where it wrote nothing.
    pub fn from_parts(parts: &[Part]) -> Result<Option<Self>, ModelError> {
        let Some(row) = parts.iter().find(|p| p.name == TABLE) else { return Ok(None) };
        let params = GammaGamma { p: row.positive("p")?, q: row.positive("q")?, v: row.positive("v")? };
        let axes = match parts.iter().find(|p| p.name == AXES) {
            Some(axes) => match axes.finite("move")? {
                moves if moves.len() % 3 == 0 => moves.chunks_exact(3).map(<[f64]>::to_vec).collect(),
                moves => return Err(ModelError::Damaged(format!("{} rows in table '{AXES}', which must be a multiple of 3", moves.len()))),
            },
            None => vec![],
        };
        Ok(Some(Self { params, axes }))
    }
}

const TABLE: &str = "gamma_gamma";
const AXES: &str = "gamma_gamma_axes";

impl GammaGamma {
    /// Fits the parameters to customers with `x` repeat purchases of the mean value `mean_value`, by maximum likelihood.
    ///
    /// Customers with x = 0, and those whose value is not a positive finite number, have no say. The values may be in pence or in millions: they are
    /// fitted in units of their mean. The answer is bitwise the same for any order of the customers and any number of threads.
    ///
    /// # Errors
    /// `TooLittleData` if fewer than two customers remain, `Option` for slices of different length or an impossible start, `Cancelled`,
    /// `NotConverged`.
    pub fn fit(x: &[u32], mean_value: &[f64], start: Option<GammaGamma>, control: &Control) -> Result<Fit<Spend>, ModelError> {
        let spenders = Spenders::new(x, mean_value)?;
        let start = match start {
            Some(given) => given.checked_logarithms(spenders.unit)?,
            None => [2.0_f64.ln(), 3.0_f64.ln(), 0.0],
        };
        let optimum = problem(spenders.customers).maximise(&start, control, |at| spenders.log_likelihood(&[at[0], at[1], at[2]]).into())?;
        let [p, q, v] = [0, 1, 2].map(|i| optimum.at[i].exp());
        Ok(Fit {
            params: Spend { params: GammaGamma { p, q, v: v * spenders.unit }, axes: optimum.axes },
            log_likelihood: optimum.log_likelihood - spenders.unit.ln() * spenders.customers,
            customers: spenders.customers as u64,
            parameters: 3,
            rows: spenders.rows.len(),
            evaluations: optimum.evaluations,
            gradient_norm: optimum.gradient_norm,
            on_edge: optimum.on_edge,
        })
    }

    /// E[M | x, m], the expected value of an order of a customer whose `x` repeat purchases were worth `mean_value` on average.
    ///
    /// Without repeat purchases, or with a value that is no positive finite number, it is the mean of the population. The posterior is an inverse gamma
    /// of shape px+q, which for px+q ≤ 1 has no mean, and just above 1 one that is carried by orders nobody ever made. The answer is therefore at most
    /// 20 times the mode p(v + x·m)/(px+q+1); the bound takes effect for px+q < 1.105 and the answer stays continuous.
    pub fn expected_value(&self, x: f64, mean_value: f64) -> f64 {
        let x = if mean_value.is_finite() && mean_value > 0.0 { x.max(0.0) } else { 0.0 };
        let shape = self.p * x + self.q;
        let total = if x > 0.0 { x * mean_value } else { 0.0 };
        self.p * (self.v + total) / (shape - 1.0).max((shape + 1.0) / MEAN_TO_MODE)
    }

    /// ln L of a customer whose `x` > 0 repeat purchases were worth `mean_value` > 0 on average.
    pub fn log_likelihood(&self, x: f64, mean_value: f64) -> f64 {
        let px = self.p * x;
        let y = x * mean_value / self.v;
        -ln_beta(px, self.q) - mean_value.ln() + px * y.ln() - (px + self.q) * y.ln_1p()
    }

    fn checked_logarithms(self, unit: f64) -> Result<[f64; 3], ModelError> {
        let Self { p, q, v } = self;
        if [p, q, v].iter().all(|value| value.is_finite() && *value > 0.0) {
            return Ok([p.ln(), q.ln(), v.ln() - unit.ln()]);
        }
        let given = format!("p {p}, q {q}, v {v}");
        Err(ModelError::Option { option: "start".into(), given, allowed: "three positive numbers".into() })
    }
}

fn ln_beta(p: f64, q: f64) -> f64 {
    lgamma(p) + lgamma(q) - lgamma(p + q)
}

/// Customers with the same x and the same mean value.
struct Row {
    /// x·m in units of the mean value of all.
    total: f64,
    customers: f64,
}

/// Consecutive rows with one x, and what their likelihood does not take from the parameters.
struct Piece {
    x: f64,
    rows: Range<usize>,
    customers: f64,
    /// Σ ln m and Σ ln(x·m) over the customers, m in units of the mean value of all.
    ln_mean: f64,
    ln_total: f64,
}

struct Spenders {
    rows: Vec<Row>,
    pieces: Vec<Piece>,
    customers: f64,
    /// Mean of the mean values.
    unit: f64,
}

impl Spenders {
    fn new(x: &[u32], mean_value: &[f64]) -> Result<Self, ModelError> {
        if x.len() != mean_value.len() {
            let given = format!("{} x and {} values", x.len(), mean_value.len());
            return Err(ModelError::Option { option: "mean_value".into(), given, allowed: "one of each for every customer".into() });
        }
        // The bits of positive floats are in the order of their values.
        let mut keys: Vec<(u32, u64)> = x
            .iter()
            .zip(mean_value)
            .filter(|&(&x, &value)| x > 0 && value.is_finite() && value > 0.0)
            .map(|(&x, &value)| (x, value.to_bits()))
            .collect();
        if keys.len() < FEWEST_SPENDERS {
            return Err(ModelError::TooLittleData(format!(
                "{} of {} customers have a repeat purchase of positive value; gamma_gamma needs at least {FEWEST_SPENDERS}",
                keys.len(),
                x.len()
            )));
        }
        keys.sort_unstable();
        let customers = keys.len() as f64;
        let unit = keys.iter().map(|&(_, bits)| f64::from_bits(bits) / customers).sum();
        let mut spenders = Self { rows: Vec::new(), pieces: Vec::new(), customers, unit };
        for same_x in keys.chunk_by(|a, b| a.0 == b.0) {
            spenders.push(same_x);
        }
        Ok(spenders)
    }

    fn push(&mut self, same_x: &[(u32, u64)]) {
        let x = f64::from(same_x[0].0);
        for same in same_x.chunk_by(|a, b| a.1 == b.1) {
            let mean = f64::from_bits(same[0].1) / self.unit;
            let n = same.len() as f64;
            if self.pieces.last().is_none_or(|piece| piece.x != x || piece.rows.len() == PIECE) {
                self.pieces.push(Piece { x, rows: self.rows.len()..self.rows.len(), customers: 0.0, ln_mean: 0.0, ln_total: 0.0 });
            }
            self.rows.push(Row { total: x * mean, customers: n });
            if let Some(piece) = self.pieces.last_mut() {
                piece.rows.end += 1;
                piece.customers += n;
                piece.ln_mean += n * mean.ln();
                piece.ln_total += n * (x * mean).ln();
            }
        }
    }

    /// The log-likelihood in units of the mean value, with its derivatives by ln p, ln q, ln v.
    fn log_likelihood(&self, at: &[f64; 3]) -> Derivatives<3> {
        let parts: Vec<_> = self.pieces.par_iter().map(|piece| piece.log_likelihood(&self.rows[piece.rows.clone()], at)).collect();
        let mut total = Derivatives::zero();
        for part in &parts {
            total += part;
        }
        total
    }
}

impl Piece {
    /// With w = y/(1+y): ∂ ln(1+y)/∂ln v = −w and ∂w/∂ln v = −w(1−w).
    fn log_likelihood(&self, rows: &[Row], at: &[f64; 3]) -> Derivatives<3> {
        let [p, q, v] = at.map(f64::exp);
        let [mut log, mut w, mut w_rest] = [0.0; 3];
        for row in rows {
            let y = row.total / v;
            let share = row.total / (v + row.total);
            log += row.customers * y.ln_1p();
            w += row.customers * share;
            w_rest += row.customers * share * (v / (v + row.total));
        }
        let n = self.customers;
        let px = p * self.x;
        let shape = px + q;
        let ln_y = self.ln_total - n * at[2];
        let (at_shape, slope_at_shape) = (digamma(shape), trigamma(shape));
        let by_p = px * (n * (at_shape - digamma(px)) + ln_y - log);
        let by_q = q * (n * (at_shape - digamma(q)) - log);
        Derivatives {
            value: -n * ln_beta(px, q) - self.ln_mean + px * ln_y - shape * log,
            gradient: [by_p, by_q, shape * w - n * px],
            hessian: [
                [by_p + n * px * px * (slope_at_shape - trigamma(px)), 0.0, 0.0],
                [n * px * q * slope_at_shape, by_q + n * q * q * (slope_at_shape - trigamma(q)), 0.0],
                [px * (w - n), q * w, -shape * w_rest],
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, Gamma};

    use super::*;

    fn simulated(truth: GammaGamma, customers: usize) -> (Vec<u32>, Vec<f64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        (0..customers)
            .map(|_| {
                let x = rng.random_range(0..9);
                let rate = Gamma::new(truth.q, 1.0 / truth.v).unwrap().sample(&mut rng);
                let total = if x == 0 { 0.0 } else { Gamma::new(truth.p * f64::from(x), 1.0 / rate).unwrap().sample(&mut rng) };
                (x, total / f64::from(x.max(1)))
            })
            .unzip()
    }

    #[test]
    fn derivatives_equal_differences() {
        let (x, value) = simulated(GammaGamma { p: 6.0, q: 3.7, v: 15.0 }, 400);
        let spenders = Spenders::new(&x, &value).unwrap();
        let at = [1.2, 0.9, -0.4];
        let here = spenders.log_likelihood(&at);
        for i in 0..3 {
            let (mut up, mut down) = (at, at);
            up[i] += 1e-5;
            down[i] -= 1e-5;
            let (up, down) = (spenders.log_likelihood(&up), spenders.log_likelihood(&down));
            assert!(((up.value - down.value) / 2e-5 - here.gradient[i]).abs() < 1e-5 * here.value.abs());
            for j in i..3 {
                assert!(((up.gradient[j] - down.gradient[j]) / 2e-5 - here.hessian[j][i]).abs() < 1e-5 * here.value.abs());
            }
        }
    }

    #[test]
    fn the_unit_of_money_and_the_order_of_customers_do_not_matter() {
        let control = Control::default();
        let truth = GammaGamma { p: 6.0, q: 3.7, v: 15.0 };
        let (mut x, mut value) = simulated(truth, 20_000);
        let pounds = GammaGamma::fit(&x, &value, None, &control).unwrap();
        assert!((pounds.params.params.p / truth.p - 1.0).abs() < 0.1 && (pounds.params.params.q / truth.q - 1.0).abs() < 0.1);
        let by_customer: f64 =
            x.iter().zip(&value).filter(|&(&x, _)| x > 0).map(|(&x, &m)| pounds.params.params.log_likelihood(x.into(), m)).sum();
        assert!((by_customer - pounds.log_likelihood).abs() < 1e-9 * by_customer.abs());

        x.reverse();
        value.reverse();
        assert_eq!(GammaGamma::fit(&x, &value, None, &control).unwrap(), pounds);
        for unit in [1e-7, 1e9] {
            let scaled: Vec<f64> = value.iter().map(|m| m * unit).collect();
            let other = GammaGamma::fit(&x, &scaled, None, &control).unwrap().params.params;
            assert!((other.p / pounds.params.params.p - 1.0).abs() < 1e-7 && (other.v / unit / pounds.params.params.v - 1.0).abs() < 1e-7);
        }
    }

    #[test]
    fn degenerate_data_have_finite_answers() {
        let control = Control::default();
        let error = GammaGamma::fit(&[0, 3, 1, 2], &[1.0, 5.0, -2.0, f64::NAN], None, &control).unwrap_err();
        assert_eq!(error.to_string(), "1 of 4 customers have a repeat purchase of positive value; gamma_gamma needs at least 2");
        for (x, value) in [([1, 1, 1], [9.0, 9.0, 9.0]), ([1, 5, 90], [1e-3, 7.0, 1e8])] {
            let fit = GammaGamma::fit(&x, &value, None, &control).unwrap();
            let expected = fit.params.params.expected_value(2.0, 10.0);
            assert!(fit.log_likelihood.is_finite() && expected.is_finite() && expected > 0.0, "{fit:?}");
        }
    }

    #[test]
    fn a_population_without_a_mean_has_a_bounded_answer() {
        let at = |q: f64| GammaGamma { p: 2.0, q, v: 10.0 }.expected_value(0.0, 0.0);
        assert!((at(1.5) - 40.0).abs() < 1e-12);
        assert!(at(1.0) == 200.0 && at(0.2) > at(1.0) && at(0.2) < 400.0);
        assert_eq!(GammaGamma { p: 2.0, q: 3.0, v: 10.0 }.expected_value(4.0, f64::NAN), 10.0);
    }
}
