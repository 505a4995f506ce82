//! Linear regression with an elastic net: a number as a sum over columns.
//!
//! Columns are transformed, filled and standardised ([`super::scaling`]). Minimised is ½·Σ(y − ŷ)² + ½·`l2_reg`·‖β‖² + `l1_reg`·‖β‖₁ over
//! standardised coefficients:
//! scikit-learn's `Ridge` with alpha = `l2_reg`, its `Lasso` with alpha = `l1_reg` / rows. By [`super::glm`].

use std::sync::Arc;

use super::glm::{L1_REG, Linear, LinearModel, Penalty, Problem};
use super::loss::Loss;
use super::scaling::{Design, Scaling, TRANSFORM};
use super::{Link, Task, Training};
use crate::models::{Allowed, Control, Make, ModelError, ModelType, OptionSpec, Options};

const NAME: &str = "linear_reg";

/// `model_type = 'linear_reg'`.
pub static LINEAR_REG: ModelType = ModelType {
    name: NAME,
    about: "linear (ridge, lasso) regression: a number as a sum over columns",
    options: &[
        OptionSpec {
            name: "l2_reg",
            default: "1",
            allowed: Allowed::Number { least: 0.0, most: 1e12 },
            about: "penalty on squared standardised coefficients, alpha of scikit-learn's Ridge; more shrinks them",
        },
        L1_REG,
        TRANSFORM,
    ],
    in_auto: true,
    baseline: false,
    make: Make::Supervised {
        fit: |training, options, control| Ok(Arc::new(fit(training, options, control)?)),
        read: |parts| Ok(Arc::new(LinearModel::from_parts(parts, NAME, Link::Identity)?)),
    },
};

/// An error where the label is a class.
pub(super) fn needs_number(model: &str, task: Task) -> Result<(), ModelError> {
    match task {
        Task::Regression => Ok(()),
        Task::Classification => Err(ModelError::Option {
            option: "model_type".into(),
            given: model.into(),
            allowed: format!("{model} predicts a number, and this label is 0 or 1. Use model_type = 'logistic_reg'"),
        }),
    }
}

/// Labels are kept within, so that sums of squares stay finite.
const LARGEST: f64 = 1e100;

/// Coefficients of the least squares, the intercept first. The label is standardised on the way.
pub(super) fn least_squares(
    model: &'static str,
    design: &Design,
    y: &[f64],
    penalty: Penalty,
    control: &Control,
) -> Result<Vec<f64>, ModelError> {
    let n = y.len() as f64;
    let within = |y: &f64| y.clamp(-LARGEST, LARGEST);
    let mean = y.iter().map(within).sum::<f64>() / n;
    let scale = (y.iter().map(|y| (within(y) - mean).powi(2)).sum::<f64>() / n).sqrt();
    let mut beta = vec![0.0; design.columns];
    if scale > 0.0 {
        let standard: Vec<f64> = y.iter().map(|y| (within(y) - mean) / scale).collect();
        let penalty = Penalty { l1: penalty.l1 / scale, l2: penalty.l2 };
        let problem = Problem { model, design, y: &standard, weights: &[], loss: Loss::Squared, penalty };
        beta = problem.solve(0.0, control)?;
        beta.iter_mut().for_each(|b| *b *= scale);
    }
    beta[0] += mean;
    Ok(beta)
}

fn fit(training: Training<'_>, options: &Options, control: &Control) -> Result<LinearModel, ModelError> {
    needs_number(NAME, training.task)?;
    let scaling = Scaling::fit(NAME, training.x, options, control)?;
    let beta = least_squares(NAME, &scaling.design(training.x), training.y, Penalty::of(options), control)?;
    Ok(LinearModel { name: NAME, link: Link::Identity, linear: Linear::new(scaling, &beta), most: f64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::supervised::linear_check::{close, fitted, guarantees, table};

    /// scikit-learn 1.9.1: SimpleImputer(add_indicator=True), StandardScaler, Ridge(2), Lasso(9/60), ElasticNet(10/60, l1_ratio=0.6).
    /// Coefficients of columns as they are.
    #[test]
    fn equals_scikit_learn() {
        let (x, _, y, _) = table();
        let known = [
            ("2", "0", [2.91265225234, 0.534327894049, -0.476620235477, 0.0028874813262, 1.32839533396]),
            ("0", "9", [2.79925898068, 0.467384232247, -0.362658776307, 0.0, 1.05071215554]),
            ("4", "6", [2.81727250713, 0.467233617689, -0.381294893254, 0.0, 1.10927053417]),
        ];
        for (l2, l1, expected) in known {
            let given = [("transform", "none"), ("l2_reg", l2), ("l1_reg", l1)];
            let model = fitted(&LINEAR_REG, &x, &y, Task::Regression, &given).unwrap();
            close(&model.parameters(&["a", "b", "c"].map(String::from)), &expected, 1e-8);
        }
    }

    #[test]
    fn keeps_the_guarantees() {
        guarantees(&LINEAR_REG, Task::Regression);
    }
}
