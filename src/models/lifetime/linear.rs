//! `clv_linear`: value by a hurdle of linear models.
//!
//! Whether a customer purchases at all within the horizon is a logistic regression, what they then spend a ridge regression of its logarithm:
//!
//! ```text
//! E[V] = P(V > 0 | z) · exp(m(z) + s²/2),    ln V | V > 0, z ~ Normal(m(z), s²)
//! ```
//!
//! on features z of the customer's history, standardised. It is learned from the same log: histories are cut off one or several horizons ago, and what came within
//! the horizon after each cut is the label, so that nothing after the day of observation enters. The model is one of its own horizon; for another horizon, and for
//! discounting, its value is scaled as the expected purchases of BG/NBD are.
//!
//! Duan (1983), "Smearing estimate", for exp(s²/2); Cragg (1971) for the hurdle.

use rayon::prelude::*;

use super::optimise::{Problem, Sums};
use super::value::Spending;
use super::{Counts, Parameter};
use crate::models::{Column, Control, ModelError, Part, part};

/// Cut-offs that are stacked.
const CUTS: u32 = 4;
/// Customers of one unit of parallel work. Fixed, so that sums do not depend on the number of threads.
const PIECE: usize = 4_096;
/// Penalties on the sum over the customers: those of a logistic regression with C = 1, and of a ridge.
const LOGISTIC_L2: f64 = 1.0;
const RIDGE_L2: f64 = 10.0;
/// Fewest examples of either kind.
const FEWEST: usize = 30;

/// The features, all of the form ln(1 + ·) but for the last two.
pub const NAMES: [&str; 19] = [
    "recency",
    "frequency",
    "tenure",
    "gross",
    "mean_value",
    "last_value",
    "purchases_30d",
    "purchases_90d",
    "purchases_180d",
    "purchases_365d",
    "value_90d",
    "value_180d",
    "value_365d",
    "mean_gap",
    "gaps_since_last",
    "purchases_last_year",
    "value_last_year",
    "once",
    "a_year_old",
];
const FEATURES: usize = NAMES.len();

/// The fitted model.
#[derive(Clone, Debug, PartialEq)]
pub struct ClvLinear {
    pub horizon_days: f64,
    /// Of each feature, for standardising.
    mean: Vec<f64>,
    scale: Vec<f64>,
    /// Intercept, then the features: log-odds of a purchase, and logarithm of what is spent.
    purchase: Vec<f64>,
    spend: Vec<f64>,
    /// s².
    variance: f64,
    /// Logarithm of the largest value it has seen.
    ln_most: f64,
}

/// One customer's days since the first purchase and their values, as far as `t`.
fn features(days: &[u32], values: &[f32], t: u32, horizon: u32) -> [f64; FEATURES] {
    let known = |v: &f32| if v.is_finite() { f64::from(v.max(0.0)) } else { 0.0 };
    let last = days.last().copied().unwrap_or(0);
    // Those in (t − from, t − to].
    let between = |from: u32, to: u32| {
        let at = |back: u32| days.partition_point(|&d| u64::from(d) + u64::from(back) <= u64::from(t));
        let (start, end) = (at(from), at(to));
        (end.saturating_sub(start) as f64, values[start.min(end)..end].iter().map(known).sum::<f64>())
    };
    let gross: f64 = values.iter().map(known).sum();
    let x = days.len().saturating_sub(1) as f64;
    let recency = f64::from(t - last);
    let gap = f64::from(last.max(1)) / x.max(1.0);
    let windows = [30, 90, 180, 365].map(|w| between(w, 0));
    // The same days a year before the horizon.
    let year_before = if t >= 365 { between(365, 365_u32.saturating_sub(horizon)) } else { (0.0, 0.0) };
    let positive = [
        recency,
        x,
        f64::from(t),
        gross,
        gross / (x + 1.0),
        values.last().map_or(0.0, known),
        windows[0].0,
        windows[1].0,
        windows[2].0,
        windows[3].0,
        windows[1].1,
        windows[2].1,
        windows[3].1,
        gap,
        recency / gap,
        year_before.0,
        year_before.1,
    ];
    let mut all = [0.0; FEATURES];
    all.iter_mut().zip(positive).for_each(|(z, v)| *z = v.ln_1p());
    all[FEATURES - 2] = f64::from(u8::from(x == 0.0));
    all[FEATURES - 1] = f64::from(u8::from(t >= 365));
    all
}

/// The customers' histories, or an error that names what is missing.
fn histories<'a>(counts: Counts<'a>, spending: Spending<'a>) -> Result<impl Fn(usize) -> (&'a [u32], &'a [f32]) + Sync, ModelError> {
    let missing = |what: &str| ModelError::Option {
        option: "days".into(),
        given: "none".into(),
        allowed: format!("clv_linear learns from {what}, not only from their number"),
    };
    let days = counts.days.ok_or_else(|| missing("the days of all purchases"))?;
    let values = spending.day_values.ok_or_else(|| missing("the values of all purchases"))?;
    Ok(move |i: usize| {
        let start = i.checked_sub(1).map_or(0, |before| days.ends[before]);
        (&days.days[start..days.ends[i]], &values[start..days.ends[i]])
    })
}

impl ClvLinear {
    /// Learns from the customers' own past.
    ///
    /// # Errors
    /// `TooLittleData` if too few purchased, or did not, within the horizon after a cut-off; `Cancelled`.
    pub fn fit(counts: Counts<'_>, spending: Spending<'_>, horizon_days: f64, control: &Control) -> Result<Self, ModelError> {
        let history = histories(counts, spending)?;
        let horizon = horizon_days.round().clamp(1.0, 36_500.0) as u32;
        let mut rows: Vec<[f64; FEATURES]> = vec![];
        let mut labels: Vec<f64> = vec![];
        for cut in 1..=CUTS {
            for i in 0..counts.x.len() {
                let Some(t) = counts.t[i].checked_sub(cut * horizon) else { continue };
                let (days, values) = history(i);
                let known = days.partition_point(|&d| d <= t);
                let until = days.partition_point(|&d| d <= t + horizon);
                rows.push(features(&days[..known], &values[..known], t, horizon));
                labels.push(values[known..until].iter().filter(|v| v.is_finite()).map(|v| f64::from(*v)).sum());
            }
        }
        let bought = labels.iter().filter(|v| **v > 0.0).count();
        if bought < FEWEST || labels.len() - bought < FEWEST {
            return Err(ModelError::TooLittleData(format!(
                "{bought} of {} customers purchased within {horizon} days of an earlier day: clv_linear needs {FEWEST} who did and {FEWEST} who did not",
                labels.len()
            )));
        }
        let n = rows.len() as f64;
        let mean: Vec<f64> = (0..FEATURES).map(|j| rows.iter().map(|z| z[j]).sum::<f64>() / n).collect();
        let deviation = |j: usize| (rows.iter().map(|z| (z[j] - mean[j]).powi(2)).sum::<f64>() / n).sqrt();
        let scale: Vec<f64> = (0..FEATURES).map(deviation).map(|s| if s > 1e-9 { s } else { 1.0 }).collect();
        for z in &mut rows {
            z.iter_mut().enumerate().for_each(|(j, v)| *v = (*v - mean[j]) / scale[j]);
        }
        let positive: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] > 0.0).collect();
        let purchase = regress("clv_linear", &rows, LOGISTIC_L2, control, |i, eta| {
            let p = 1.0 / (1.0 + (-eta).exp());
            let y = f64::from(u8::from(labels[i] > 0.0));
            (y * eta - super::special::softplus(eta), y - p, -p * (1.0 - p))
        })?;
        let spenders: Vec<[f64; FEATURES]> = positive.iter().map(|&i| rows[i]).collect();
        let logs: Vec<f64> = positive.iter().map(|&i| labels[i].ln()).collect();
        let spend = regress("clv_linear", &spenders, RIDGE_L2, control, |i, eta| (-0.5 * (logs[i] - eta).powi(2), logs[i] - eta, -1.0))?;
        let residual = |(z, y): (&[f64; FEATURES], &f64)| (y - linear(&spend, z)).powi(2);
        let variance = spenders.iter().zip(&logs).map(residual).sum::<f64>() / logs.len() as f64;
        let ln_most = logs.iter().copied().fold(f64::MIN, f64::max);
        Ok(Self { horizon_days, mean, scale, purchase, spend, variance, ln_most })
    }

    /// Expected gross value of every customer within the model's own horizon, not discounted.
    ///
    /// # Errors
    /// `Option` without the days and values of purchases.
    pub fn values(&self, counts: Counts<'_>, spending: Spending<'_>) -> Result<Vec<f64>, ModelError> {
        let history = histories(counts, spending)?;
        let horizon = self.horizon_days.round().clamp(1.0, 36_500.0) as u32;
        let one = |i: usize| {
            let (days, values) = history(i);
            let mut z = features(days, values, counts.t[i], horizon);
            z.iter_mut().enumerate().for_each(|(j, v)| *v = (*v - self.mean[j]) / self.scale[j]);
            // A customer far from all others is not worth twenty times what anybody ever was.
            (linear(&self.spend, &z) + 0.5 * self.variance).min(self.ln_most + 3.0).exp() / (1.0 + (-linear(&self.purchase, &z)).exp())
        };
        Ok((0..counts.x.len()).into_par_iter().with_min_len(PIECE).map(one).collect())
    }

    /// The coefficients of the standardised features, by `purchase.` and `spend.`.
    pub fn parameters(&self) -> Vec<Parameter> {
        let named = |half: &str, values: &[f64]| -> Vec<Parameter> {
            let names = std::iter::once("intercept").chain(NAMES);
            names.zip(values).map(|(name, v)| Parameter::known(&format!("{half}.{name}"), *v)).collect()
        };
        let mut all = named("purchase", &self.purchase);
        all.extend(named("spend", &self.spend));
        all.push(Parameter::known("spend.variance", self.variance));
        all
    }

    pub fn to_parts(&self) -> Vec<Part> {
        let wide = |values: &[f64], first: f64| Column::F64(std::iter::once(first).chain(values.iter().copied()).collect());
        vec![
            Part::row(TABLE, &[("horizon_days", self.horizon_days), ("variance", self.variance), ("ln_most", self.ln_most)]),
            Part::new(
                COEFFICIENTS,
                vec![
                    ("mean", wide(&self.mean, 0.0)),
                    ("scale", wide(&self.scale, 1.0)),
                    ("purchase", Column::F64(self.purchase.clone())),
                    ("spend", Column::F64(self.spend.clone())),
                ],
            ),
        ]
    }

    /// Reads what [`ClvLinear::to_parts`] wrote; `None` where it wrote nothing.
    pub fn from_parts(parts: &[Part]) -> Result<Option<Self>, ModelError> {
        let Some(row) = parts.iter().find(|p| p.name == TABLE) else { return Ok(None) };
        let table = part(parts, COEFFICIENTS)?;
        let column = |name: &str| match table.finite(name)? {
            values if values.len() == FEATURES + 1 => Ok(values.to_vec()),
            values => Err(ModelError::Damaged(format!("{} rows of '{name}' in table '{COEFFICIENTS}'", values.len()))),
        };
        Ok(Some(Self {
            horizon_days: row.positive("horizon_days")?,
            variance: row.number("variance")?,
            ln_most: row.number("ln_most")?,
            mean: column("mean")?[1..].to_vec(),
            scale: column("scale")?[1..].to_vec(),
            purchase: column("purchase")?,
            spend: column("spend")?,
        }))
    }
}

const TABLE: &str = "clv_linear";
const COEFFICIENTS: &str = "clv_linear_coefficients";

/// Intercept and features.
fn linear(coefficients: &[f64], z: &[f64; FEATURES]) -> f64 {
    coefficients[0] + coefficients[1..].iter().zip(z).map(|(c, z)| c * z).sum::<f64>()
}

/// Maximises Σ f(i, ηᵢ) − ½·l2·Σ(coefficients of features)², f giving its value and its two derivatives by η.
fn regress(
    model: &'static str,
    rows: &[[f64; FEATURES]],
    l2: f64,
    control: &Control,
    f: impl Fn(usize, f64) -> (f64, f64, f64) + Sync,
) -> Result<Vec<f64>, ModelError> {
    const SIZE: usize = FEATURES + 1;
    let n = rows.len() as f64;
    let mut problem = Problem::plain(model, vec![-60.0; SIZE], vec![60.0; SIZE], n);
    problem.l2[1..].fill(l2 / n);
    let optimum = problem.maximise(&[0.0; SIZE], control, |coefficients| {
        let parts: Vec<Sums> = rows
            .par_chunks(PIECE)
            .enumerate()
            .map(|(piece, part)| {
                let mut sums = Sums::zero(SIZE);
                for (i, z) in part.iter().enumerate() {
                    let (value, first, second) = f(piece * PIECE + i, linear(coefficients, z));
                    sums.value += value;
                    let at = |j: usize| if j == 0 { 1.0 } else { z[j - 1] };
                    for j in 0..SIZE {
                        sums.gradient[j] += first * at(j);
                        for k in 0..=j {
                            sums.hessian[j][k] += second * at(j) * at(k);
                        }
                    }
                }
                sums
            })
            .collect();
        let mut total = Sums::zero(SIZE);
        for part in parts {
            total.value += part.value;
            for j in 0..SIZE {
                total.gradient[j] += part.gradient[j];
                for k in 0..=j {
                    total.hessian[j][k] += part.hessian[j][k];
                    total.hessian[k][j] = total.hessian[j][k];
                }
            }
        }
        total
    })?;
    Ok(optimum.at)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::models::lifetime::PurchaseDays;

    #[test]
    fn windows_look_back_from_the_day_of_observation_only() {
        let z = features(&[0, 10, 100, 360], &[5.0, 7.0, f32::NAN, 11.0], 390, 90);
        let at = |name: &str| z[NAMES.iter().position(|n| *n == name).unwrap()];
        let close = |name: &str, v: f64| assert!((at(name) - v.ln_1p()).abs() < 1e-12, "{name}: {} against {}", at(name), v.ln_1p());
        close("recency", 30.0);
        close("frequency", 3.0);
        close("gross", 23.0);
        // (360, 390]: the day itself is 30 days back, and out.
        close("purchases_30d", 0.0);
        close("purchases_90d", 1.0);
        close("purchases_365d", 2.0);
        close("value_365d", 11.0);
        // (25, 115]: the same 90 days a year ago.
        close("purchases_last_year", 1.0);
    }

    #[test]
    fn learns_who_comes_back_and_what_they_spend() {
        // Every second customer comes back every 20 days, and spends 50 at a time; the others never do.
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let (mut x, mut t_x, mut t, mut ends, mut days, mut values) = (vec![], vec![], vec![], vec![], vec![], vec![]);
        for i in 0..2_000 {
            let age: u32 = rng.random_range(200..400);
            let mut mine = vec![0];
            while i % 2 == 0 && mine[mine.len() - 1] + 20 <= age {
                mine.push(mine[mine.len() - 1] + 20);
            }
            x.push(mine.len() as u32 - 1);
            t_x.push(mine[mine.len() - 1]);
            t.push(age);
            values.extend(vec![50.0_f32; mine.len()]);
            days.extend(mine);
            ends.push(days.len());
        }
        let counts = Counts { days: Some(PurchaseDays { ends: &ends, days: &days }), ..Counts::new(&x, &t_x, &t) };
        let (nothing, zeros) = (vec![0.0; x.len()], vec![0; x.len()]);
        let spending = Spending {
            repeat_valued: &x,
            mean_value: &nothing,
            gross: &nothing,
            refunded: &nothing,
            valued_days: &zeros,
            day_values: Some(&values),
        };
        let model = ClvLinear::fit(counts, spending, 100.0, &Control::default()).unwrap();
        let predicted = model.values(counts, spending).unwrap();
        for (i, v) in predicted.iter().enumerate() {
            assert!(if i % 2 == 0 { (v - 250.0).abs() < 40.0 } else { *v < 15.0 }, "customer {i}: {v}");
        }
        assert_eq!(ClvLinear::from_parts(&model.to_parts()).unwrap().unwrap(), model);
        let without = Spending { day_values: None, ..spending };
        assert!(
            ClvLinear::fit(counts, without, 100.0, &Control::default()).unwrap_err().to_string().contains("the values of all purchases")
        );
    }
}
