//! Logistic regression with an elastic net: log-odds of a 0/1 label as a sum over columns.
//!
//! Columns are transformed, filled and standardised ([`super::scaling`]), and coefficients are those of scikit-learn's `LogisticRegression`
//! after a
//! `StandardScaler`, with C = 1/`l2_reg`; the intercept is not penalised. By Newton's method ([`super::glm`]).

use std::sync::Arc;

use super::glm::{L1_REG, Linear, LinearModel, Penalty, Problem};
use super::loss::Loss;
use super::scaling::{Scaling, TRANSFORM};
use super::{Link, Task, Training};
use crate::models::{Allowed, Control, Make, ModelError, ModelType, OptionSpec, Options};

const NAME: &str = "logistic_reg";

/// `model_type = 'logistic_reg'`.
pub static LOGISTIC_REG: ModelType = ModelType {
    name: NAME,
    about: "logistic regression: log-odds of a 0/1 label as a sum over columns",
    options: &[
        OptionSpec {
            name: "l2_reg",
            default: "1",
            allowed: Allowed::Number { least: 0.0, most: 1e12 },
            about: "penalty on squared standardised coefficients, 1/C of scikit-learn; more shrinks them",
        },
        L1_REG,
        OptionSpec {
            name: "auto_class_weights",
            default: "false",
            allowed: Allowed::OneOf(&["false", "true"]),
            about: "true lets both classes weigh the same in all; probabilities are then those of classes of equal size",
        },
        TRANSFORM,
    ],
    in_auto: true,
    baseline: false,
    make: Make::Supervised {
        fit: |training, options, control| Ok(Arc::new(fit(training, options, control)?)),
        read: |parts| Ok(Arc::new(LinearModel::from_parts(parts, NAME, Link::Logit)?)),
    },
};

/// Rows of label 0 and of label 1.
///
/// # Errors
/// A label that is no class, or of one class only.
pub(super) fn classes(model: &str, training: Training<'_>) -> Result<[f64; 2], ModelError> {
    if training.task == Task::Regression {
        return Err(ModelError::Option {
            option: "model_type".into(),
            given: model.into(),
            allowed: format!("{model} predicts a label that is 0 or 1, and this one is a number. Use model_type = 'linear_reg'"),
        });
    }
    let positives = training.y.iter().filter(|y| **y > 0.5).count() as f64;
    let negatives = training.y.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return Err(ModelError::TooLittleData(format!(
            "{positives} of {} rows have label 1: {model} needs rows of both labels, 0 and 1",
            training.y.len()
        )));
    }
    Ok([negatives, positives])
}

fn fit(training: Training<'_>, options: &Options, control: &Control) -> Result<LinearModel, ModelError> {
    let of_class = classes(NAME, training)?;
    let Training { x, y, .. } = training;
    let scaling = Scaling::fit(NAME, x, options, control)?;
    let balanced = options.is("auto_class_weights", "true");
    let half = y.len() as f64 / 2.0;
    let weights: Vec<f64> = if balanced { y.iter().map(|y| half / of_class[usize::from(*y > 0.5)]).collect() } else { vec![] };
    let intercept = if balanced { 0.0 } else { (of_class[1] / of_class[0]).ln() };
    let design = scaling.design(x);
    let problem = Problem { model: NAME, design: &design, y, weights: &weights, loss: Loss::Logistic, penalty: Penalty::of(options) };
    let beta = problem.solve(intercept, control)?;
    Ok(LinearModel { name: NAME, link: Link::Logit, linear: Linear::new(scaling, &beta), most: f64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::supervised::Matrix;
    use crate::models::supervised::linear_check::{close, fitted, guarantees, table};

    /// scikit-learn 1.9.1: SimpleImputer(add_indicator=True), StandardScaler, LogisticRegression: C = 0.5 by newton-cholesky, and with
    /// class_weight='balanced';
    /// C = 0.5, l1_ratio = 1 and C = 0.25, l1_ratio = 0.75 by saga. Coefficients of columns as they are.
    #[test]
    fn equals_scikit_learn() {
        let (x, y, _, _) = table();
        let compare = |l2: &str, l1: &str, balanced: &str, expected: [f64; 5]| {
            let given = [("transform", "none"), ("l2_reg", l2), ("l1_reg", l1), ("auto_class_weights", balanced)];
            let model = fitted(&LOGISTIC_REG, &x, &y, Task::Classification, &given).unwrap();
            close(&model.parameters(&["a", "b", "c"].map(String::from)), &expected, 1e-6);
        };
        compare("2", "0", "false", [-0.985184163801, 0.906910539931, 0.0971011957116, 0.244756107071, -0.0307072210938]);
        compare("2", "0", "true", [-0.765619893523, 0.913078442158, 0.0693864545481, 0.25248054067, -0.0724733834226]);
        compare("0", "2", "false", [-0.655644053753, 0.942253415089, 0.0, 0.146005813397, 0.0]);
        compare("1", "3", "false", [-0.443680412938, 0.774193829055, 0.0, 0.0629984082984, 0.0]);
    }

    /// So many rows that the search starts at a share of them, here not even alike the others: each row 900 times is the problem of the rows.
    #[test]
    fn many_rows_have_the_minimum_of_all() {
        let (x, y, _, _) = table();
        let many = Matrix { rows: 54_000, columns: x.columns.iter().map(|c| c.repeat(900)).collect() };
        let names = ["a", "b", "c"].map(String::from);
        let fit = |x: &Matrix, y: &[f64], l2: &str| {
            fitted(&LOGISTIC_REG, x, y, Task::Classification, &[("transform", "none"), ("l2_reg", l2)]).unwrap().parameters(&names)
        };
        let few: Vec<f64> = fit(&x, &y, "2").into_iter().map(|(_, b)| b).collect();
        close(&fit(&many, &y.repeat(900), "1800"), &few, 1e-9);
    }

    #[test]
    fn keeps_the_guarantees() {
        guarantees(&LOGISTIC_REG, Task::Classification);
    }

    #[test]
    fn separable_labels_need_a_penalty_and_equal_columns_do_not() {
        let x = Matrix { rows: 6, columns: vec![vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]] };
        let y = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0];
        let e = fitted(&LOGISTIC_REG, &x, &y, Task::Classification, &[("l2_reg", "0")]).unwrap_err().to_string();
        assert!(e.contains("for certain") && e.contains("raise l2_reg"), "{e}");
        let some = fitted(&LOGISTIC_REG, &x, &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0], Task::Classification, &[("l2_reg", "0")]).unwrap();
        assert!(some.importance()[0] > 0.0);
        let x = Matrix { rows: 6, columns: vec![vec![0.0, 0.0, 0.0, 1.0, 0.0, 1.0]] };
        let e = fitted(&LOGISTIC_REG, &x, &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0], Task::Classification, &[("l2_reg", "0")]).unwrap_err();
        assert!(e.to_string().contains("for certain"));
        assert!(fitted(&LOGISTIC_REG, &x, &y, Task::Classification, &[("l2_reg", "1e-6")]).is_ok());

        let (mut x, y, _, _) = table();
        let one = fitted(&LOGISTIC_REG, &x, &y, Task::Classification, &[("l2_reg", "0")]).unwrap().scores(&x, &Control::default()).unwrap();
        x.columns.push(x.columns[0].clone());
        let two = fitted(&LOGISTIC_REG, &x, &y, Task::Classification, &[("l2_reg", "0")]).unwrap().scores(&x, &Control::default()).unwrap();
        assert!(one.iter().zip(&two).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
