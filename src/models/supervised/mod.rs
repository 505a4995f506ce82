//! Supervised models: a table of features and a label in, a prediction a row out, with what it is made of.
//!
//! A model has a *score*: a sum of contributions of columns and a baseline, on the scale of its [`Link`]. The prediction is the link's inverse of the score: a probability
//! for a classifier (before calibration), the value itself for a regression.

mod averaged;
mod bins;
mod btyd;
mod calibration;
mod closed_form;
mod decision_tree;
mod definition;
mod encoder;
mod ensemble;
mod gbt;
mod glm;
mod grow;
mod hurdle;
mod importance;
#[cfg(test)]
mod linear_check;
mod linear_reg;
mod log;
mod logistic_reg;
mod loss;
mod matrix;
mod median;
mod model;
mod naive_bayes;
mod options;
mod quadrature;
mod random_forest;
mod reference;
mod rules;
mod scaling;
mod shap;
mod table;
mod tree;
mod tweedie_reg;
mod validation;

pub use averaged::AVERAGED;
pub use btyd::Btyd;
pub use calibration::{Calibration, CalibrationKind};
pub use closed_form::CLOSED_FORM;
pub use decision_tree::DECISION_TREE;
pub use definition::{Definition, FeatureSql, NamedSql};
pub use encoder::{Encoder, Feature, LeftOut};
pub use ensemble::TreeEnsemble;
pub use gbt::GBT;
pub use hurdle::HURDLE;
pub use importance::Importance;
pub use linear_reg::LINEAR_REG;
pub use logistic_reg::LOGISTIC_REG;
pub use matrix::{Matrix, Task, Training};
pub use model::{Explained, Scored, Supervised};
pub use naive_bayes::NAIVE_BAYES;
pub use options::OPTIONS;
pub use random_forest::RANDOM_FOREST;
pub use reference::{Reference, Sample};
pub use rules::{Rule, rules, text};
pub use table::{NO_LEVEL, Table, Values};
pub use tree::{LEAF, Tree};
pub use tweedie_reg::TWEEDIE_REG;
pub use validation::{split_by_key, suspicious_columns};

use std::fmt;

use super::{Control, ModelError, Part};

/// The scale on which scores add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// The score is the prediction.
    Identity,
    /// The score is the log-odds of a probability.
    Logit,
    /// The score is the logarithm of a prediction.
    Log,
}

impl Link {
    /// The prediction of a score. Always finite: probabilities lie in [0, 1].
    pub fn inverse(self, score: f64) -> f64 {
        match self {
            Self::Identity => score,
            Self::Logit => 1.0 / (1.0 + (-score).exp()),
            Self::Log => score.clamp(-700.0, 700.0).exp(),
        }
    }
}

/// What scores are made of: row r has `values[r * width .. (r + 1) * width]`, a column of the matrix each, and `baseline` + their sum is its score.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contributions {
    pub baseline: f64,
    pub width: usize,
    pub values: Vec<f64>,
}

/// A fitted model.
pub trait Predictor: fmt::Debug + Send + Sync {
    fn link(&self) -> Link;

    /// One score a row; finite for any finite or missing input, whatever its size.
    fn scores(&self, x: &Matrix, control: &Control) -> Result<Vec<f64>, ModelError>;

    /// What the scores are made of, to 1e-9 of their size.
    fn contributions(&self, x: &Matrix, control: &Control) -> Result<Contributions, ModelError>;

    /// How much each column counts in the model itself: not negative, summing to 1 (all 0 where nothing counts).
    fn importance(&self) -> Vec<f64>;

    /// Parameters by name, for reading; `columns` are the names of the matrix's columns.
    fn parameters(&self, columns: &[String]) -> Vec<(String, f64)>;

    /// Its trees, where it is made of trees.
    fn trees(&self) -> &[Tree] {
        &[]
    }

    /// The model as tables, to be read back by its type.
    fn to_parts(&self) -> Vec<Part>;
}
