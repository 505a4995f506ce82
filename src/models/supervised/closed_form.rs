//! `model_type = 'closed_form'`: what a buy-till-you-die model says itself, P(no purchase within the window) by BG/NBD, to be calibrated and compared like any
//! other model.

use std::sync::Arc;

use super::{Contributions, Link, Matrix, Predictor};
use crate::models::{Control, Make, ModelError, ModelType, Part, part};

/// `model_type = 'closed_form'`.
pub static CLOSED_FORM: ModelType = ModelType {
    name: "closed_form",
    about: "churn only: the probability of no purchase within the window by BG/NBD, fitted as of each cut-off",
    options: &[],
    in_auto: true,
    baseline: false,
    make: Make::Supervised {
        fit: |training, _, _| match &training.x.columns[..] {
            [p] if p.iter().all(|p| p.is_nan() || (0.0..=1.0).contains(p)) => {
                let rate = training.y.iter().sum::<f64>() / training.y.len().max(1) as f64;
                Ok(Arc::new(ClosedForm { rate }))
            }
            _ => Err(ModelError::TooLittleData(CHURN_ONLY.into())),
        },
        read: |parts| Ok(Arc::new(ClosedForm { rate: part(parts, "closed_form")?.number("rate")? })),
    },
};

/// The error of any other label.
pub const CHURN_ONLY: &str =
    "closed_form foretells churn only: PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0, without TRANSFORM";

/// The feature it is.
pub const CLOSED_FORM_FEATURE: &str = "bg_nbd_churn";

#[derive(Debug)]
struct ClosedForm {
    /// Of who has no such probability: the label's share in training.
    rate: f64,
}

impl ClosedForm {
    fn of(&self, x: &Matrix) -> Result<Vec<f64>, ModelError> {
        match &x.columns[..] {
            [p] => Ok(p.iter().map(|p| if p.is_nan() { self.rate } else { p.clamp(0.0, 1.0) }).collect()),
            columns => Err(ModelError::Damaged(format!("closed_form has one column, not {}", columns.len()))),
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
        Ok(Contributions { baseline: self.rate, width: 1, values: self.of(x)?.into_iter().map(|p| p - self.rate).collect() })
    }

    fn importance(&self) -> Vec<f64> {
        vec![1.0]
    }

    fn parameters(&self, _: &[String]) -> Vec<(String, f64)> {
        vec![("rate".into(), self.rate)]
    }

    fn to_parts(&self) -> Vec<Part> {
        vec![Part::row("closed_form", &[("rate", self.rate)])]
    }
}
