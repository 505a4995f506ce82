//! Maximum likelihood: for each k Newton's method on ln r, ln α, ln a, ln b with analytic first and second derivatives, and k by the best of them.
//!
//! As in `beta_geometric` with kx for x, but for F = ln(Z + e^D), which takes the place of ln(1 + e^D). With G = ln Z and P = e^D/(Z + e^D) its derivatives
//! are P·D_i + (1−P)·G_i and P·D_ij + (1−P)·G_ij + P(1−P)·(D_i−G_i)(D_j−G_j). Z depends on r through K, and on η = ln α through u with
//! ∂ ln u/∂η = −w and ∂w/∂η = w(1−w), where w = α/(α+T).

use rayon::prelude::*;

use super::super::beta_geometric::fit::{Day, of_exposure, of_frequency};
use super::super::histories::{Histories, Piece, Row};
use super::super::optimise::{Derivatives, Sums};
use super::super::process::Likelihood;
use super::super::special::{lgamma, ln_rising};
use super::super::{Counts, Estimated, Fit, FitOptions, PurchaseDays, fit};
use super::{Cnbd, MOST_REGULAR, Process, SLOTS, coefficients};
use crate::models::{Control, ModelError};

/// Fits the model with that `k`, or with the likeliest: upward from 1 until the likelihood has fallen twice, as BTYDplus does. Of `options`, `given` is not
/// read.
///
/// The log-likelihood is that of the purchase days, so that models with different k can be compared. Where k is given and the days are not, the part that
/// depends on them, (k−1)·Σ ln gap, is left out.
///
/// # Errors
/// Those of [`fit`]; `TooLittleData` if k is to be found and `counts` is without purchase days; `Option` for a k out of range.
pub fn fit_cnbd<const FIRST: u8>(
    counts: Counts<'_>,
    k: Option<u32>,
    options: &FitOptions,
    control: &Control,
) -> Result<Fit<Estimated<Cnbd<FIRST>>>, ModelError> {
    let model = Cnbd::<FIRST>::NAME;
    let ln_gaps = match (counts.days, k) {
        (_, Some(k)) if !(1..=MOST_REGULAR).contains(&k) => {
            return Err(ModelError::Option { option: "k".into(), given: k.to_string(), allowed: format!("auto, or 1 to {MOST_REGULAR}") });
        }
        (Some(days), _) => sum_of_ln_gaps(days, counts.x.len()),
        (None, Some(_)) => 0.0,
        (None, None) => {
            return Err(ModelError::TooLittleData(format!(
                "{model} learns k from the days of purchase, and there are none: give k, such as k => 3"
            )));
        }
    };
    let with = |k: u32, start: Option<Vec<f64>>| {
        let options = FitOptions { start, given: vec![f64::from(k)], ..options.clone() };
        let mut fit = fit::<Cnbd<FIRST>>(counts, &options, control)?;
        fit.log_likelihood += f64::from(k - 1) * ln_gaps;
        Ok(fit)
    };
    // A start brings its own k; a stage of one in k + 1 comes faster than a stage of one in k.
    let moved = |values: &[f64], k: u32| match values {
        &[r, alpha, a, b, of, ..] if of > 0.0 => vec![r, alpha * of / f64::from(k), a, b],
        other => other.to_vec(),
    };
    let start = |k: u32| options.start.as_ref().map(|values| moved(values, k));
    if let Some(k) = k {
        return with(k, start(k));
    }
    let mut best = with(1, start(1))?;
    let mut last = best.clone();
    let (mut evaluations, mut falls) = (best.evaluations, 0);
    for k in 2..=MOST_REGULAR {
        let next = match with(k, Some(moved(&last.params.base.values(), k))) {
            Ok(next) => next,
            Err(ModelError::NotConverged { .. }) => break,
            Err(error) => return Err(error),
        };
        evaluations += next.evaluations;
        falls = if next.log_likelihood < last.log_likelihood { falls + 1 } else { 0 };
        if next.log_likelihood > best.log_likelihood {
            best = next.clone();
        }
        if falls == 2 {
            break;
        }
        last = next;
    }
    Ok(Fit { evaluations, parameters: best.parameters + 1, ..best })
}

/// More days than a history may have.
const LONGEST_GAP: u32 = 1 << 21;

/// Σ ln gap over all customers, the same in any order of them.
fn sum_of_ln_gaps(days: PurchaseDays<'_>, customers: usize) -> f64 {
    let mut times: Vec<u64> = Vec::new();
    for gaps in (0..customers).map(|i| days.of(i).windows(2)) {
        for gap in gaps {
            let gap = gap[1].saturating_sub(gap[0]).clamp(1, LONGEST_GAP) as usize;
            if times.len() <= gap {
                times.resize(gap + 1, 0);
            }
            times[gap] += 1;
        }
    }
    times.iter().enumerate().skip(2).filter(|(_, n)| **n > 0).map(|(gap, n)| *n as f64 * (gap as f64).ln()).sum()
}

impl<const FIRST: u8> Likelihood for Cnbd<FIRST> {
    // e^±12 for r, a and b, and for α times in days between a fraction of a second and geological ages.
    const LOWER: &'static [f64] = &[-12.0; 4];
    const UPPER: &'static [f64] = &[12.0, 27.0, 12.0, 12.0];
    const BY_PURCHASE: &'static [f64] = &[0.0, -1.0, 0.0, 0.0];
    const BY_LIFETIME: &'static [f64] = &[0.0, 0.0, 1.0, 0.0];

    /// Without (k−1)·Σ ln gap.
    fn log_likelihood(&self, x: f64, t_x: f64, t: f64) -> f64 {
        let (chances, stages) = (Self::chances(x), f64::from(self.k) * x);
        let beta = ln_rising(self.b, chances) - ln_rising(self.a + self.b, chances);
        let alive = ln_rising(self.r, stages) + beta - stages * self.alpha.ln() - self.shape(x) * (t / self.alpha).ln_1p();
        let waiting = self.ln_waiting(x, t_x, t);
        let departed = if chances > 0.0 { self.log_departed(x, t_x, t) } else { f64::NEG_INFINITY };
        let (most, least) = if departed > waiting { (departed, waiting) } else { (waiting, departed) };
        alive - x * lgamma(f64::from(self.k)) + most + (least - most).exp().ln_1p()
    }

    /// The observed mean rate, spread as most shops are, and one departure in four purchases.
    fn start(histories: &Histories, given: &[f64]) -> Vec<f64> {
        let r: f64 = 0.5;
        let alpha = r * histories.exposure.max(1.0) / (histories.purchases as f64 * given[0]);
        vec![r.ln(), alpha.ln(), 0.0, 3.0_f64.ln()]
    }

    fn sums(histories: &Histories, at: &[f64]) -> Sums {
        let values: Vec<f64> = at.iter().map(|v| v.exp()).collect();
        log_likelihood(histories, &Self::of_values(&values)).into()
    }
}

/// The log-likelihood of all customers with its derivatives by the log-parameters, without (k−1)·Σ ln gap.
fn log_likelihood<const FIRST: u8>(histories: &Histories, model: &Cnbd<FIRST>) -> Derivatives<4> {
    let alpha = model.alpha;
    let days: Vec<Day> = (0..histories.by_t.len()).map(|d| Day::new(d as f64, alpha)).collect();
    let mut total = of_exposure(histories, alpha.ln(), model.r, model.k, &days);
    total += &of_frequency::<FIRST>(histories, [model.r, model.a, model.b], model.k);
    total.value -= histories.purchases as f64 * lgamma(f64::from(model.k));
    let uncertain: Vec<&Piece> = histories.pieces.iter().filter(|piece| piece.x + u32::from(FIRST) > 0 || model.k > 1).collect();
    let parts: Vec<_> = uncertain.par_iter().map(|piece| of_waiting(piece, &histories.rows[piece.rows.clone()], model, &days)).collect();
    for part in &parts {
        total += part;
    }
    total
}

/// ln Z with its derivatives by K and ln u, for one K.
struct Waiting {
    k: usize,
    /// (K)_j/j! with the first and second derivatives by K.
    by_shape: [[f64; 3]; SLOTS],
}

impl Waiting {
    fn new(shape: f64, k: u32) -> Self {
        let (mut first, mut second) = (0.0, 0.0);
        let mut j = 0.0;
        let by_shape = coefficients(shape, k).map(|c| {
            let derivatives = [c, c * first, c * (first * first - second)];
            let inverse = 1.0 / (shape + j);
            (first, second, j) = (first + inverse, second + inverse * inverse, j + 1.0);
            derivatives
        });
        Self { k: k as usize, by_shape }
    }

    /// G, G_K, G_v, G_KK, G_Kv, G_vv with v = ln u.
    fn at(&self, u: f64) -> [f64; 6] {
        let [mut z, mut z_k, mut z_v, mut z_kk, mut z_kv, mut z_vv] = [0.0; 6];
        let (mut power, mut j) = (1.0, 0.0);
        for [c, c_k, c_kk] in &self.by_shape[..self.k] {
            let (c, c_k) = (c * power, c_k * power);
            z += c;
            z_k += c_k;
            z_v += j * c;
            z_kk += c_kk * power;
            z_kv += j * c_k;
            z_vv += j * j * c;
            power *= u;
            j += 1.0;
        }
        let (by_k, by_v) = (z_k / z, z_v / z);
        [z.ln(), by_k, by_v, z_kk / z - by_k * by_k, z_kv / z - by_k * by_v, z_vv / z - by_v * by_v]
    }
}

/// F over rows with one x.
fn of_waiting<const FIRST: u8>(piece: &Piece, rows: &[Row], model: &Cnbd<FIRST>, days: &[Day]) -> Derivatives<4> {
    let Cnbd { r, alpha, a, b, k } = *model;
    let shape = model.shape(f64::from(piece.x));
    let waiting = Waiting::new(shape, k);
    let earlier = f64::from(piece.x) + f64::from(FIRST) - 1.0;
    let (offset, by_b, by_b_twice) = if earlier < 0.0 {
        (f64::NEG_INFINITY, 0.0, 0.0)
    } else {
        let by_b = -b / (b + earlier);
        ((a / (b + earlier)).ln(), by_b, by_b * earlier / (b + earlier))
    };
    let mut sum = Derivatives::zero();
    for row in rows {
        let (last, now) = (days[row.t_x as usize], days[row.t as usize]);
        let e = now.log - last.log;
        let f = last.share - now.share;
        let still = 1.0 - now.share;
        let [g, g_k, g_v, g_kk, g_kv, g_vv] = waiting.at(f64::from(row.t - row.t_x) / (alpha + f64::from(row.t)));
        // ln of the odds of having departed.
        let odds = offset + shape * e - g;
        let small = (-odds.abs()).exp();
        let inverse = 1.0 / (1.0 + small);
        let n = row.customers;
        let (departed, alive) = if odds > 0.0 { (n * inverse, n * small * inverse) } else { (n * small * inverse, n * inverse) };
        let unsure = n * small * inverse * inverse;
        sum.value += n * (g + odds.max(0.0) + small.ln_1p());

        let of_departed = [r * e, shape * f];
        let of_alive = [r * g_k, -still * g_v];
        for i in 0..2 {
            sum.gradient[i] += departed * of_departed[i] + alive * of_alive[i];
        }
        let fall = now.share * (1.0 - now.share) - last.share * (1.0 - last.share);
        let apart = [of_departed[0] - of_alive[0], of_departed[1] - of_alive[1]];
        sum.hessian[0][0] += departed * r * e + alive * (r * g_k + r * r * g_kk) + unsure * apart[0] * apart[0];
        sum.hessian[1][0] += departed * r * f - alive * r * g_kv * still + unsure * apart[0] * apart[1];
        sum.hessian[1][1] +=
            departed * shape * fall + alive * (g_vv * still * still - g_v * still * now.share) + unsure * apart[1] * apart[1];
        sum.gradient[2] += departed;
        sum.gradient[3] += by_b * departed;
        for (i, apart) in apart.iter().enumerate() {
            sum.hessian[2][i] += unsure * apart;
            sum.hessian[3][i] += by_b * unsure * apart;
        }
        sum.hessian[2][2] += unsure;
        sum.hessian[3][2] += by_b * unsure;
        sum.hessian[3][3] += by_b_twice * departed + by_b * by_b * unsure;
    }
    sum
}
