//! `model_type = 'closed_form'`: what a buy-till-you-die model says itself, P(no purchase within the window) by BG/NBD or what is spent in it by BG/NBD and
//! gamma-gamma, to be calibrated and compared like any other model.

use std::sync::Arc;

use super::{Contributions, Link, Matrix, Predictor, Task, Training};
use crate::models::{Control, Make, ModelError, ModelType, Part, part};

/// `model_type = 'closed_form'`.
pub static CLOSED_FORM: ModelType = ModelType {
    name: "closed_form",
    about: "churn and spend only: the probability of no purchase within the window by BG/NBD, or what is spent in it by BG/NBD and gamma-gamma, fitted as of each cut-off",
    options: &[],
    in_auto: true,
    baseline: false,
    make: Make::Supervised {
        fit: |training, _, _| Ok(Arc::new(ClosedForm::fit(training)?)),
        read: |parts| Ok(Arc::new(ClosedForm::from_parts(parts)?)),
    },
};

/// The error of any other label.
const FORESEEN_ONLY: &str = "closed_form foretells churn and spend only: PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0, or PREDICT sum(amount), \
     without TRANSFORM";

/// One column, as it is.
#[derive(Debug)]
struct ClosedForm {
    column: usize,
    width: usize,
    /// Of who has no such value: the mean label in training.
    unknown: f64,
    /// Whether it is a probability.
    probability: bool,
}

const NAME: &str = "closed_form";

impl ClosedForm {
    /// # Errors
    /// A label of which no column is a forecast.
    fn fit(training: Training<'_>) -> Result<Self, ModelError> {
        let probability = training.task == Task::Classification;
        let fits = |p: &f64| !probability || p.is_nan() || (0.0..=1.0).contains(p);
        match training.forecast.filter(|&column| training.x.columns[column].iter().all(fits)) {
            Some(column) => Ok(Self {
                column,
                width: training.x.columns.len(),
                unknown: training.y.iter().sum::<f64>() / training.y.len().max(1) as f64,
                probability,
            }),
            None => Err(ModelError::Option { option: "model_type".into(), given: NAME.into(), allowed: FORESEEN_ONLY.into() }),
        }
    }

    fn from_parts(parts: &[Part]) -> Result<Self, ModelError> {
        let row = part(parts, NAME)?;
        let (column, width) = (row.number("column")?, row.number("width")?);
        if !(0.0 <= column && column < width && width <= f64::from(u32::MAX)) {
            return Err(ModelError::Damaged(format!("column {column} of {width} in table '{NAME}'")));
        }
        let probability = row.number("probability")? != 0.0;
        Ok(Self { column: column as usize, width: width as usize, unknown: row.number("unknown")?, probability })
    }

    fn of(&self, x: &Matrix) -> Result<Vec<f64>, ModelError> {
        let (least, most) = if self.probability { (0.0, 1.0) } else { (f64::MIN, f64::MAX) };
        match x.columns.get(self.column) {
            Some(p) if x.columns.len() == self.width => {
                Ok(p.iter().map(|p| if p.is_nan() { self.unknown } else { p.clamp(least, most) }).collect())
            }
            _ => Err(ModelError::Damaged(format!("{NAME} has {} columns, not {}", self.width, x.columns.len()))),
        }
    }
}

impl Predictor for ClosedForm {
    fn link(&self) -> Link {
        Link::Identity
    }

    fn scores(&self, x: &Matrix, _: &Control) -> Result<Vec<f64>, ModelError> {
        self.of(x)
    }

    fn contributions(&self, x: &Matrix, _: &Control) -> Result<Contributions, ModelError> {
        let mut values = vec![0.0; x.rows * self.width];
        self.of(x)?.into_iter().enumerate().for_each(|(row, p)| values[row * self.width + self.column] = p - self.unknown);
        Ok(Contributions { baseline: self.unknown, width: self.width, values })
    }

    fn importance(&self) -> Vec<f64> {
        (0..self.width).map(|column| f64::from(u8::from(column == self.column))).collect()
    }

    fn parameters(&self, _: &[String]) -> Vec<(String, f64)> {
        vec![("unknown".into(), self.unknown)]
    }

    fn to_parts(&self) -> Vec<Part> {
        let probability = f64::from(u8::from(self.probability));
        let row = [("column", self.column as f64), ("width", self.width as f64), ("unknown", self.unknown), ("probability", probability)];
        vec![Part::row(NAME, &row)]
    }
}
