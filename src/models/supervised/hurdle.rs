//! A hurdle of linear models: a number that is often 0, such as what a customer spends.
//!
//! Whether the label is above 0 is a logistic regression, its logarithm where it is a ridge regression (Cragg 1971; Duan 1983, "Smearing
//! estimate", for exp(s²/2)):
//!
//! ```text
//! p = 1/(1 + e^−a(z)),   ln y | y > 0, z ~ Normal(b(z), s²)
//! E y = p·exp(b + s²/2)
//! ```
//!
//! Contributions are on the scale of the prediction F: Aumann & Shapley (1974), "Values of non-atomic games", along the straight line from
//! the mean row to the row,
//! on which a and b are linear. A column of addends aⱼ and bⱼ gets aⱼ·∫∂F/∂a dt + bⱼ·∫∂F/∂b dt over t in [0, 1]; Σaⱼ·∫∂F/∂a dt + Σbⱼ·∫∂F/∂b
//! dt = F(1) − F(0).

use std::sync::Arc;

use rayon::prelude::*;

use super::glm::{Linear, Penalty, Problem, shares};
use super::linear_reg::{least_squares, needs_number};
use super::loss::Loss;
use super::quadrature::gauss_legendre;
use super::scaling::{Scaling, TRANSFORM};
use super::tweedie_reg::LN_ABOVE_LARGEST;
use super::{Contributions, Link, Matrix, Predictor, Training};
use crate::models::{Allowed, Control, Make, ModelError, ModelType, OptionSpec, Options, Part, part};

const NAME: &str = "hurdle";

/// `model_type = 'hurdle'`.
pub static HURDLE: ModelType = ModelType {
    name: NAME,
    about: "a number that is often 0, such as spend: whether it is above 0 by logistic, how much by log-normal regression",
    options: &[
        OptionSpec {
            name: "l2_reg",
            default: "1",
            allowed: Allowed::Number { least: 0.0, most: 1e12 },
            about: "penalty of whether the label is above 0, as of logistic_reg",
        },
        OptionSpec {
            name: "amount_l2_reg",
            default: "10",
            allowed: Allowed::Number { least: 0.0, most: 1e12 },
            about: "penalty of how much it is, as of linear_reg",
        },
        TRANSFORM,
    ],
    in_auto: true,
    baseline: false,
    make: Make::Supervised {
        fit: |training, options, control| Ok(Arc::new(Hurdle::fit(training, options, control)?)),
        read: |parts| Ok(Arc::new(Hurdle::from_parts(parts)?)),
    },
};

#[derive(Debug, Clone, PartialEq)]
struct Hurdle {
    /// a, and b: of the same terms.
    above: Linear,
    amount: Linear,
    /// s.
    deviation: f64,
    /// The logarithm of a label above 0 is predicted no higher.
    ln_most: f64,
}

impl Hurdle {
    fn fit(training: Training<'_>, options: &Options, control: &Control) -> Result<Self, ModelError> {
        needs_number(NAME, training.task)?;
        let Training { x, y, .. } = training;
        let positive: Vec<usize> = (0..y.len()).filter(|&i| y[i] > 0.0).collect();
        if positive.is_empty() || positive.len() == y.len() {
            return Err(ModelError::TooLittleData(format!(
                "{} of {} labels are above 0: {NAME} needs some that are and some that are not. Use model_type = 'linear_reg'",
                positive.len(),
                y.len()
            )));
        }
        let scaling = Scaling::fit(NAME, x, options, control)?;
        let design = scaling.design(x);
        let is_above: Vec<f64> = y.iter().map(|y| f64::from(u8::from(*y > 0.0))).collect();
        let penalty = Penalty { l1: 0.0, l2: options.number("l2_reg") };
        let problem = Problem { model: NAME, design: &design, y: &is_above, weights: &[], loss: Loss::Logistic, penalty };
        let above = problem.solve((positive.len() as f64 / (y.len() - positive.len()) as f64).ln(), control)?;
        let logs: Vec<f64> = positive.iter().map(|&i| y[i].ln()).collect();
        let penalty = Penalty { l1: 0.0, l2: options.number("amount_l2_reg") };
        let amount = least_squares(NAME, &design.take(&positive), &logs, penalty, control)?;
        let amount = Linear::new(scaling.clone(), &amount);
        let fitted = amount.sums(&x.take(&positive), control)?;
        let variance = fitted.iter().zip(&logs).map(|(b, ln)| (ln - b).powi(2)).sum::<f64>() / logs.len() as f64;
        Ok(Self {
            above: Linear::new(scaling, &above),
            amount,
            deviation: variance.sqrt(),
            ln_most: logs.iter().copied().fold(f64::MIN, f64::max) + LN_ABOVE_LARGEST,
        })
    }

    fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let row = part(parts, NAME)?;
        let deviation = row.number("deviation")?;
        let (above, amount) = (Linear::from_parts(parts, "hurdle_above")?, Linear::from_parts(parts, "hurdle_amount")?);
        if deviation < 0.0 || above.scaling != amount.scaling {
            return Err(ModelError::Damaged(format!("the two halves of table '{NAME}' do not fit each other")));
        }
        let ln_most = row.number("ln_most")?.min(709.0);
        Ok(Self { above, amount, deviation, ln_most })
    }

    /// The prediction F, ∂F/∂a and ∂F/∂b.
    fn at(&self, a: f64, b: f64) -> (f64, f64, f64) {
        let p = Link::Logit.inverse(a);
        let s = self.deviation;
        let ln = b + 0.5 * s * s;
        let value = p * ln.min(self.ln_most).exp();
        (value, value * (1.0 - p), if ln < self.ln_most { value } else { 0.0 })
    }

    /// A row's addends to a and b become, in the place of the latter, its contributions.
    fn contribute(&self, of_a: &[f64], of_b: &mut [f64], (places, weights): &([f64; NODES], [f64; NODES])) {
        let (a, b): (f64, f64) = (of_a.iter().sum(), of_b.iter().sum());
        let on_line = |t: f64| self.at(self.above.intercept + t * a, self.amount.intercept + t * b);
        let change = on_line(1.0).0 - on_line(0.0).0;
        let panels = ((a.abs() + b.abs()) / PANEL).ceil().clamp(1.0, MOST_PANELS);
        let width = 1.0 / panels;
        let (mut by_a, mut by_b) = (0.0, 0.0);
        let mut panel = 0.0;
        while panel < panels {
            for (place, weight) in places.iter().zip(weights) {
                let (_, slope_a, slope_b) = on_line((panel + place) * width);
                by_a += slope_a * weight * width;
                by_b += slope_b * weight * width;
            }
            panel += 1.0;
        }
        // Far from the mean row panels are too long for the rule: what moves b leaves of the change is a's.
        if a.abs() > 0.1 || !by_a.is_finite() {
            by_a = if a == 0.0 { 0.0 } else { (change - b * by_b) / a };
        }
        of_b.iter_mut().zip(of_a).for_each(|(b, a)| *b = a * by_a + *b * by_b);
        // What the rule missed goes to columns in proportion.
        let size: f64 = of_b.iter().map(|c| c.abs()).sum();
        let missed = change - of_b.iter().sum::<f64>();
        if size > 0.0 {
            of_b.iter_mut().for_each(|c| *c += missed * (c.abs() / size));
        }
    }
}

/// Longest panel in a and b, which keeps the rule π away from the poles of p, to 1e-13; and the most of them.
const PANEL: f64 = 2.0;
const MOST_PANELS: f64 = 64.0;
/// Nodes of the rule on a panel.
const NODES: usize = 8;

impl Predictor for Hurdle {
    fn link(&self) -> Link {
        Link::Identity
    }

    fn scores(&self, x: &Matrix, control: &Control) -> Result<Vec<f64>, ModelError> {
        let mut scores = self.above.sums(x, control)?;
        let amounts = self.amount.sums(x, control)?;
        scores.par_iter_mut().zip(amounts).with_min_len(1_024).for_each(|(a, b)| *a = self.at(*a, b).0);
        Ok(scores)
    }

    fn contributions(&self, x: &Matrix, control: &Control) -> Result<Contributions, ModelError> {
        let width = self.above.scaling.width;
        let of_a = self.above.addends(x, control)?;
        let mut values = self.amount.addends(x, control)?;
        let (chunk, rule) = (width.max(1), gauss_legendre::<NODES>());
        values.par_chunks_mut(chunk).zip(of_a.par_chunks(chunk)).with_min_len(64).try_for_each(|(b, a)| {
            control.check()?;
            self.contribute(a, b, &rule);
            Ok(())
        })?;
        Ok(Contributions { baseline: self.at(self.above.intercept, self.amount.intercept).0, width, values })
    }

    /// By what a standard deviation of a column changes the mean row's ln p and ln amount, without regard to sign.
    fn importance(&self) -> Vec<f64> {
        let not = 1.0 - Link::Logit.inverse(self.above.intercept);
        shares(self.above.sizes().iter().zip(self.amount.sizes()).map(|(a, b)| a * not + b).collect())
    }

    fn parameters(&self, columns: &[String]) -> Vec<(String, f64)> {
        let named = |half: &str, linear: &Linear| -> Vec<(String, f64)> {
            linear.parameters(columns).into_iter().map(|(name, v)| (format!("{half}.{name}"), v)).collect()
        };
        let mut all = named("above_0", &self.above);
        all.extend(named("ln_amount", &self.amount));
        all.push(("ln_amount.variance".into(), self.deviation * self.deviation));
        all
    }

    fn to_parts(&self) -> Vec<Part> {
        let mut parts = vec![Part::row(NAME, &[("deviation", self.deviation), ("ln_most", self.ln_most)])];
        parts.extend(self.above.to_parts("hurdle_above"));
        parts.extend(self.amount.to_parts("hurdle_amount"));
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::supervised::Task;
    use crate::models::supervised::linear_check::{fitted, guarantees, table};
    use crate::models::supervised::{LINEAR_REG, LOGISTIC_REG};

    const OPEN: [(&str, &str); 3] = [("transform", "none"), ("l2_reg", "0.1"), ("amount_l2_reg", "0.1")];

    #[test]
    fn keeps_the_guarantees() {
        guarantees(&HURDLE, Task::Regression);
    }

    /// Without gaps, as the two models that it is made of.
    #[test]
    fn is_logistic_times_log_normal() {
        let (mut x, _, _, y) = table();
        x.columns.pop();
        let no_penalty = [("transform", "none"), ("l2_reg", "0"), ("amount_l2_reg", "0")];
        let mean = fitted(&HURDLE, &x, &y, Task::Regression, &no_penalty).unwrap();
        let above: Vec<f64> = y.iter().map(|y| f64::from(u8::from(*y > 0.0))).collect();
        let rows: Vec<usize> = (0..60).filter(|i| y[*i] > 0.0).collect();
        let logs: Vec<f64> = rows.iter().map(|i| y[*i].ln()).collect();
        let a = fitted(&LOGISTIC_REG, &x, &above, Task::Classification, &no_penalty[..2]).unwrap();
        let b = fitted(&LINEAR_REG, &x.take(&rows), &logs, Task::Regression, &no_penalty[..2]).unwrap();
        let of = |m: &dyn Predictor, x: &Matrix| m.scores(x, &Control::default()).unwrap();
        let rest = of(b.as_ref(), &x.take(&rows)).iter().zip(&logs).map(|(b, y)| (b - y).powi(2)).sum::<f64>() / rows.len() as f64;
        let means = of(mean.as_ref(), &x);
        for (i, (a, b)) in of(a.as_ref(), &x).iter().zip(of(b.as_ref(), &x)).enumerate() {
            let p = Link::Logit.inverse(*a);
            let expected = p * (b + 0.5 * rest).exp();
            assert!((means[i] - expected).abs() < 1e-6 * expected);
        }
    }

    /// A column's contribution is the integral of what it moves along the line, here by 20,000 small steps.
    #[test]
    fn contributions_are_those_of_aumann_and_shapley() {
        const STEPS: usize = 20_000;
        let (x, _, _, y) = table();
        let model = Hurdle::from_parts(&fitted(&HURDLE, &x, &y, Task::Regression, &OPEN).unwrap().to_parts()).unwrap();
        let made_of = model.contributions(&x, &Control::default()).unwrap();
        let of_a = model.above.addends(&x, &Control::default()).unwrap();
        let of_b = model.amount.addends(&x, &Control::default()).unwrap();
        for row in [0, 7, 19, 33] {
            let (of_a, of_b) = (&of_a[row * 3..][..3], &of_b[row * 3..][..3]);
            let (a, b): (f64, f64) = (of_a.iter().sum(), of_b.iter().sum());
            let at = |t: f64| model.at(model.above.intercept + t * a, model.amount.intercept + t * b);
            let middles = || (0..STEPS).map(|k| at((k as f64 + 0.5) / STEPS as f64));
            let by_a = middles().map(|f| f.1).sum::<f64>() / STEPS as f64;
            let by_b = middles().map(|f| f.2).sum::<f64>() / STEPS as f64;
            for j in 0..3 {
                let (given, expected) = (made_of.values[row * 3 + j], of_a[j] * by_a + of_b[j] * by_b);
                assert!((given - expected).abs() < 1e-6, "row {row}, column {j}: {given} against {expected}");
            }
        }
    }

    /// ∂F/∂a and ∂F/∂b by differences.
    #[test]
    fn slopes_are_those_of_the_prediction() {
        let (x, _, _, y) = table();
        let model = Hurdle::from_parts(&fitted(&HURDLE, &x, &y, Task::Regression, &OPEN).unwrap().to_parts()).unwrap();
        for (a, b) in [(0.4, -0.3), (1.5, 0.8), (-2.0, 0.1), (3.0, 50.0)] {
            let (_, by_a, by_b) = model.at(a, b);
            let h = 1e-4;
            let differences =
                [(model.at(a + h, b).0 - model.at(a - h, b).0) / (2.0 * h), (model.at(a, b + h).0 - model.at(a, b - h).0) / (2.0 * h)];
            for (slope, difference) in [by_a, by_b].iter().zip(differences) {
                assert!((slope - difference).abs() < 1e-4 * difference.abs().max(1.0), "at {a}, {b}: {slope} against {difference}");
            }
        }
    }
}
