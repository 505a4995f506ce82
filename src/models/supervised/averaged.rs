//! `model_type = 'averaged'`: the mean of two models whose errors differ. Of a class, of the log-odds of a logistic regression, which sees what adds up, and of
//! boosted trees, which see what interacts. Of what is spent, of a hurdle, which sees all features and their past, and of what BG/NBD and gamma-gamma foretell.

use std::sync::Arc;

use super::{CLOSED_FORM, Contributions, GBT, HURDLE, LOGISTIC_REG, Link, Matrix, Predictor, Task, Training};
use crate::models::{Allowed, AnyPredictor, Control, Make, ModelError, ModelType, OptionSpec, Options, Part, part};

/// `model_type = 'averaged'`.
pub static AVERAGED: ModelType = ModelType {
    name: NAME,
    about: "mean of the log-odds of logistic_reg and of gbt; of what is spent, the mean of hurdle and of closed_form",
    options: &[OptionSpec {
        name: "l2_reg",
        default: "30",
        allowed: Allowed::Number { least: 0.0, most: 1e12 },
        about: "penalty on the squares of the logistic regression's coefficients, where the label is 0 or 1",
    }],
    in_auto: true,
    baseline: false,
    make: Make::Supervised {
        fit: |training, options, control| Ok(Arc::new(fit(training, options, control)?)),
        read: |parts| {
            let task = if part(parts, NAME)?.number("classification")? == 1.0 { Task::Classification } else { Task::Regression };
            let of = |kind: &ModelType| match kind.make {
                Make::Supervised { read, .. } => read(parts),
                _ => Err(ModelError::Damaged(format!("{} is no model of a label", kind.name))),
            };
            let [a, b] = kinds(task);
            Ok(Arc::new(Averaged { task, models: [of(a)?, of(b)?] }))
        },
    },
};

const NAME: &str = "averaged";

/// The two that a mean is taken of; their scores are of one scale.
fn kinds(task: Task) -> [&'static ModelType; 2] {
    match task {
        Task::Classification => [&LOGISTIC_REG, &GBT],
        Task::Regression => [&HURDLE, &CLOSED_FORM],
    }
}

#[derive(Debug)]
struct Averaged {
    task: Task,
    models: [AnyPredictor; 2],
}

fn fit(training: Training<'_>, options: &Options, control: &Control) -> Result<Averaged, ModelError> {
    let task = training.task;
    if task == Task::Regression && training.forecast.is_none() {
        let allowed =
            "averaged predicts a label that is 0 or 1, or what is spent (PREDICT sum(amount), without TRANSFORM). Use model_type = 'gbt'";
        return Err(ModelError::Option { option: "model_type".into(), given: NAME.into(), allowed: allowed.into() });
    }
    let one = |kind: &'static ModelType, given: &[(String, String)]| {
        let Make::Supervised { fit, .. } = kind.make else { return Err(ModelError::TooLittleData(kind.name.into())) };
        let wrong = |allowed| ModelError::Option { option: "l2_reg".into(), given: options.get("l2_reg").into(), allowed };
        fit(training, &Options::new(kind, given).map_err(wrong)?, control)
    };
    let seed = ("seed".to_owned(), options.get("seed").to_owned());
    let penalty = ("l2_reg".to_owned(), options.get("l2_reg").to_owned());
    let given = |kind: &ModelType| match kind.name == LOGISTIC_REG.name {
        true => vec![penalty.clone(), seed.clone()],
        false => vec![seed.clone()],
    };
    let [a, b] = kinds(task);
    Ok(Averaged { task, models: [one(a, &given(a))?, one(b, &given(b))?] })
}

impl Averaged {
    fn mean(values: [Vec<f64>; 2]) -> Vec<f64> {
        let [a, b] = values;
        a.into_iter().zip(b).map(|(a, b)| f64::midpoint(a, b)).collect()
    }
}

impl Predictor for Averaged {
    fn link(&self) -> Link {
        self.models[0].link()
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
        kinds(self.task).into_iter().map(|kind| kind.name).zip(&self.models).flat_map(of).collect()
    }

    fn to_parts(&self) -> Vec<Part> {
        let classification = f64::from(u8::from(self.task == Task::Classification));
        let own = Part::row(NAME, &[("classification", classification)]);
        std::iter::once(own).chain(self.models.iter().flat_map(|m| m.to_parts())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_and_contributions_are_means_and_read_back() {
        for task in [Task::Classification, Task::Regression] {
            means_and_read_back(task);
        }
    }

    fn means_and_read_back(task: Task) {
        let a: Vec<f64> = (0..200).map(|i| f64::from(i * 37 % 101)).collect();
        let b: Vec<f64> = (0..200).map(|i| f64::from(i * 53 % 97)).collect();
        let y: Vec<f64> = (0..200).map(|i| f64::from(u8::from(a[i] + f64::from(i as u32 % 7) * 9.0 > b[i]))).collect();
        let mut forecast = b.clone();
        forecast[3] = f64::NAN;
        let x = Matrix { rows: 200, columns: if task == Task::Classification { vec![a, b] } else { vec![a, forecast] } };
        let y: Vec<f64> = if task == Task::Classification { y } else { y.iter().zip(&x.columns[0]).map(|(y, a)| y * (a + 1.0)).collect() };
        let Make::Supervised { fit, read } = AVERAGED.make else { panic!("not supervised") };
        let (options, control) = (Options::new(&AVERAGED, &[]).unwrap(), Control::default());
        let training = Training { x: &x, y: &y, task, levels: &[], forecast: (task == Task::Regression).then_some(1) };
        let model = fit(training, &options, &control).unwrap();
        if task == Task::Regression {
            assert!(fit(Training { forecast: None, ..training }, &options, &control).unwrap_err().to_string().contains("what is spent"));
            let Make::Supervised { fit, .. } = HURDLE.make else { panic!("not supervised") };
            let hurdle = fit(training, &Options::new(&HURDLE, &[]).unwrap(), &control).unwrap().scores(&x, &control).unwrap();
            let mean = y.iter().sum::<f64>() / 200.0;
            for (row, score) in model.scores(&x, &control).unwrap().into_iter().enumerate() {
                let forecast = if row == 3 { mean } else { x.columns[1][row] };
                assert_eq!(score, f64::midpoint(hurdle[row], forecast));
            }
        }
        let (scores, parts) = (model.scores(&x, &control).unwrap(), model.contributions(&x, &control).unwrap());
        for (row, score) in scores.iter().enumerate() {
            assert!((parts.baseline + parts.values[row * 2] + parts.values[row * 2 + 1] - score).abs() < 1e-9);
        }
        assert_eq!(read(&model.to_parts()).unwrap().scores(&x, &control).unwrap(), scores);
        assert!((model.importance().iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}
