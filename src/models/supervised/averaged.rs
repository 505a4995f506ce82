//! `model_type = 'averaged'`: the mean of the log-odds of a logistic regression and of boosted trees. One sees what adds up, the other what interacts, and their
//! errors differ.

use std::sync::Arc;

use super::{Contributions, GBT, LOGISTIC_REG, Link, Matrix, Predictor, Training};
use crate::models::{Allowed, AnyPredictor, Control, Make, ModelError, ModelType, OptionSpec, Options, Part};

/// `model_type = 'averaged'`.
pub static AVERAGED: ModelType = ModelType {
    name: "averaged",
    about: "mean of the log-odds of logistic_reg and of gbt",
    options: &[OptionSpec {
        name: "l2_reg",
        default: "30",
        allowed: Allowed::Number { least: 0.0, most: 1e12 },
        about: "penalty on the squares of the logistic regression's coefficients",
    }],
    in_auto: true,
    baseline: false,
    make: Make::Supervised {
        fit: |training, options, control| Ok(Arc::new(fit(training, options, control)?)),
        read: |parts| {
            let of = |kind: &ModelType| match kind.make {
                Make::Supervised { read, .. } => read(parts),
                _ => Err(ModelError::Damaged(format!("{} is no model of a label", kind.name))),
            };
            Ok(Arc::new(Averaged { models: [of(&LOGISTIC_REG)?, of(&GBT)?] }))
        },
    },
};

/// Models whose scores are log-odds.
#[derive(Debug)]
struct Averaged {
    models: [AnyPredictor; 2],
}

fn fit(training: Training<'_>, options: &Options, control: &Control) -> Result<Averaged, ModelError> {
    let one = |kind: &'static ModelType, given: &[(String, String)]| {
        let Make::Supervised { fit, .. } = kind.make else { return Err(ModelError::TooLittleData(kind.name.into())) };
        let wrong = |allowed| ModelError::Option { option: "l2_reg".into(), given: options.get("l2_reg").into(), allowed };
        fit(training, &Options::new(kind, given).map_err(wrong)?, control)
    };
    let seed = ("seed".to_owned(), options.get("seed").to_owned());
    let penalty = ("l2_reg".to_owned(), options.get("l2_reg").to_owned());
    Ok(Averaged { models: [one(&LOGISTIC_REG, &[penalty, seed.clone()])?, one(&GBT, &[seed])?] })
}

impl Averaged {
    fn mean(values: [Vec<f64>; 2]) -> Vec<f64> {
        let [a, b] = values;
        a.into_iter().zip(b).map(|(a, b)| f64::midpoint(a, b)).collect()
    }
}

impl Predictor for Averaged {
    fn link(&self) -> Link {
        Link::Logit
    }

    fn scores(&self, x: &Matrix, control: &Control) -> Result<Vec<f64>, ModelError> {
        let [a, b] = &self.models;
        Ok(Self::mean([a.scores(x, control)?, b.scores(x, control)?]))
    }

    fn contributions(&self, x: &Matrix, control: &Control) -> Result<Contributions, ModelError> {
        let [a, b] = &self.models;
        let (a, b) = (a.contributions(x, control)?, b.contributions(x, control)?);
        Ok(Contributions { baseline: f64::midpoint(a.baseline, b.baseline), width: a.width, values: Self::mean([a.values, b.values]) })
    }

    fn importance(&self) -> Vec<f64> {
        let [a, b] = &self.models;
        Self::mean([a.importance(), b.importance()])
    }

    fn parameters(&self, columns: &[String]) -> Vec<(String, f64)> {
        let of = |(prefix, model): (&str, &AnyPredictor)| -> Vec<(String, f64)> {
            model.parameters(columns).into_iter().map(|(name, v)| (format!("{prefix}.{name}"), v)).collect()
        };
        [LOGISTIC_REG.name, GBT.name].into_iter().zip(&self.models).flat_map(of).collect()
    }

    fn to_parts(&self) -> Vec<Part> {
        self.models.iter().flat_map(|m| m.to_parts()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::supervised::Task;

    #[test]
    fn scores_and_contributions_are_means_and_read_back() {
        let a: Vec<f64> = (0..200).map(|i| f64::from(i * 37 % 101)).collect();
        let b: Vec<f64> = (0..200).map(|i| f64::from(i * 53 % 97)).collect();
        let y: Vec<f64> = (0..200).map(|i| f64::from(u8::from(a[i] + f64::from(i as u32 % 7) * 9.0 > b[i]))).collect();
        let x = Matrix { rows: 200, columns: vec![a, b] };
        let Make::Supervised { fit, read } = AVERAGED.make else { panic!("not supervised") };
        let (options, control) = (Options::new(&AVERAGED, &[]).unwrap(), Control::default());
        let model = fit(Training { x: &x, y: &y, task: Task::Classification, levels: &[] }, &options, &control).unwrap();
        let (scores, parts) = (model.scores(&x, &control).unwrap(), model.contributions(&x, &control).unwrap());
        for (row, score) in scores.iter().enumerate() {
            assert!((parts.baseline + parts.values[row * 2] + parts.values[row * 2 + 1] - score).abs() < 1e-9);
        }
        assert_eq!(read(&model.to_parts()).unwrap().scores(&x, &control).unwrap(), scores);
        assert!((model.importance().iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}
