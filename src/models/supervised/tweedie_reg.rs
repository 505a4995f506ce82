//! Tweedie regression: a number that is often 0 and never below, as e to a sum over columns.
//!
//! The label is a compound Poisson–gamma of variance φ·μ^power (Jørgensen 1987, "Exponential dispersion models", JRSS B 49(2)), ln μ linear
//! in standardised columns
//! ([`super::scaling`]). Minimised is half the deviance of labels in units of their mean and ½·`l2_reg`·‖β‖², so that coefficients do not
//! depend on a currency:
//! scikit-learn's `TweedieRegressor` with alpha = `l2_reg` · mean^(2 − power) / rows. By [`super::glm`].

use std::sync::Arc;

use super::glm::{Linear, LinearModel, Penalty, Problem};
use super::linear_reg::needs_number;
use super::loss::Loss;
use super::scaling::{Scaling, TRANSFORM};
use super::{Link, Training};
use crate::models::{Allowed, Control, Make, ModelError, ModelType, OptionSpec, Options};

const NAME: &str = "tweedie_reg";

/// `model_type = 'tweedie_reg'`.
pub static TWEEDIE_REG: ModelType = ModelType {
    name: NAME,
    about: "Tweedie regression: a number that is often 0 and never below, such as spend",
    options: &[
        OptionSpec {
            name: "l2_reg",
            default: "50",
            allowed: Allowed::Number { least: 0.0, most: 1e12 },
            about: "penalty on squared standardised coefficients, of labels in units of their mean; more shrinks them",
        },
        OptionSpec {
            name: "power",
            default: "1.5",
            allowed: Allowed::Number { least: 1.01, most: 1.99 },
            about: "of the mean, to which the variance is proportional: towards 2, large values count less",
        },
        TRANSFORM,
    ],
    in_auto: true,
    baseline: false,
    make: Make::Supervised {
        fit: |training, options, control| Ok(Arc::new(fit(training, options, control)?)),
        read: |parts| Ok(Arc::new(LinearModel::from_parts(parts, NAME, Link::Log)?)),
    },
};

/// A row far from all others is not predicted twenty times what any row ever was.
pub(super) const LN_ABOVE_LARGEST: f64 = 3.0;

fn fit(training: Training<'_>, options: &Options, control: &Control) -> Result<LinearModel, ModelError> {
    needs_number(NAME, training.task)?;
    let Training { x, y, .. } = training;
    if let Some(below) = y.iter().find(|y| **y < 0.0) {
        return Err(ModelError::TooLittleData(format!(
            "a label of {below}: {NAME} needs labels that are not below 0. Use model_type = 'linear_reg', or greatest(label, 0)"
        )));
    }
    let scaling = Scaling::fit(NAME, x, options, control)?;
    let mean: f64 = y.iter().map(|v| v / y.len() as f64).sum();
    if mean <= 0.0 {
        return Err(ModelError::TooLittleData(format!("all {} labels are 0: {NAME} needs some above 0", y.len())));
    }
    let relative: Vec<f64> = y.iter().map(|y| y / mean).collect();
    let design = scaling.design(x);
    let (loss, penalty) = (Loss::Tweedie(options.number("power")), Penalty { l1: 0.0, l2: options.number("l2_reg") });
    let problem = Problem { model: NAME, design: &design, y: &relative, weights: &[], loss, penalty };
    let mut beta = problem.solve(0.0, control)?;
    beta[0] += mean.ln();
    let most = y.iter().copied().fold(0.0, f64::max).ln() + LN_ABOVE_LARGEST;
    Ok(LinearModel { name: NAME, link: Link::Log, linear: Linear::new(scaling, &beta), most })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::supervised::linear_check::{close, fitted, guarantees, table};
    use crate::models::supervised::{Matrix, Task};

    /// scikit-learn 1.9.1: SimpleImputer(add_indicator=True), StandardScaler, TweedieRegressor(power, alpha=2/60,
    /// solver='newton-cholesky').
    #[test]
    fn equals_scikit_learn() {
        let (x, _, _, y) = table();
        let mean = y.iter().sum::<f64>() / 60.0;
        let known = [
            (1.5, [-1.10709661351, 1.0455144258, 0.00457246134367, -0.0782526154892, 0.425438280712]),
            (1.2, [-1.07486518956, 0.935770284943, 0.0397945569988, -0.0526130168258, 0.484295349991]),
        ];
        for (power, expected) in known {
            let l2 = (2.0 * mean.powf(power - 2.0)).to_string();
            let given = [("transform", "none"), ("l2_reg", &l2), ("power", &power.to_string())];
            close(
                &fitted(&TWEEDIE_REG, &x, &y, Task::Regression, &given).unwrap().parameters(&["a", "b", "c"].map(String::from)),
                &expected,
                1e-6,
            );
        }
    }

    #[test]
    fn keeps_the_guarantees() {
        guarantees(&TWEEDIE_REG, Task::Regression);
        let (x, _, y, _) = table();
        let e = fitted(&TWEEDIE_REG, &x, &y, Task::Regression, &[]).unwrap_err().to_string();
        assert!(e.contains("below 0") && e.contains("linear_reg"), "{e}");
    }

    #[test]
    fn predictions_are_bounded_and_contributions_add_up_to_the_bound() {
        let (x, _, _, y) = table();
        let model = fitted(&TWEEDIE_REG, &x, &y, Task::Regression, &[("l2_reg", "0.1"), ("transform", "none")]).unwrap();
        let far = Matrix { rows: 1, columns: vec![vec![1e9], vec![0.0], vec![0.0]] };
        let score = model.scores(&far, &Control::default()).unwrap()[0];
        assert!((score - y.iter().copied().fold(0.0, f64::max).ln() - LN_ABOVE_LARGEST).abs() < 1e-12);
        let c = model.contributions(&far, &Control::default()).unwrap();
        assert!((c.baseline + c.values.iter().sum::<f64>() - score).abs() < 1e-9);
    }
}
