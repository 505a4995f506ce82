//! A supervised model as it is stored and asked: features in, calibrated predictions, what they are made of, and how sure they are.

use std::collections::HashMap;

use super::{Btyd, Calibration, Definition, Encoder, FeatureSql, Importance, Matrix, Reference, Table, Task};
use crate::models::metrics::wilson_at;
use crate::models::{AnyPredictor, Column, Control, ModelError, Part, Read, part};

/// What the model foretold of rows that it was not fitted to, and what came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scored {
    /// A hash of each row's key, by which rows of two models are paired.
    pub key: Vec<u64>,
    pub prediction: Vec<f64>,
    pub label: Vec<f64>,
}

/// The fitted model.
#[derive(Debug)]
pub struct Supervised {
    pub definition: Definition,
    pub task: Task,
    /// What 0 and 1 stand for in the label's column.
    pub classes: Option<[String; 2]>,
    /// The features that tenure made, or that were written, with their SQL.
    pub sql: Vec<FeatureSql>,
    pub encoder: Encoder,
    pub predictor: AnyPredictor,
    pub calibration: Calibration,
    /// Behind the features `bg_nbd_…`, as of the end of training.
    pub btyd: Option<Btyd>,
    pub holdout: Scored,
    pub importance: Vec<Importance>,
    pub reference: Reference,
}

/// What predictions are made of: `baseline` + the sum of a row's contributions is its prediction. Row r has `contributions[r * width .. (r + 1) * width]`, one a
/// feature of the encoder; `score_contributions` are the same on the scale of the score, before link and calibration.
#[derive(Debug, Default)]
pub struct Explained {
    pub prediction: Vec<f64>,
    pub baseline: f64,
    pub width: usize,
    pub contributions: Vec<f64>,
    pub score_contributions: Vec<f64>,
}

/// Rows explained together: what is in memory at once.
const BLOCK: usize = 8_192;
/// Held-out rows whose labels say what may come of a prediction: a tenth of all, within these.
const NEIGHBOURS: (usize, usize) = (50, 1_000);

impl Supervised {
    /// One prediction a row: the probability of the label, or its expected value. Finite.
    pub fn predict(&self, table: &Table, control: &Control) -> Result<Vec<f64>, ModelError> {
        self.predict_matrix(&self.encoder.matrix(table), control)
    }

    pub fn predict_matrix(&self, x: &Matrix, control: &Control) -> Result<Vec<f64>, ModelError> {
        let scores = self.predictor.scores(x, control)?;
        Ok(scores.into_iter().map(|s| self.of_score(s)).collect())
    }

    fn of_score(&self, score: f64) -> f64 {
        self.calibration.prediction(self.predictor.link(), score)
    }

    /// What the predictions are made of. The contributions to the score (exact, of whatever kind the model is) are stretched by one factor a row to the scale of
    /// the prediction, so that they add up there.
    pub fn explain(&self, table: &Table, control: &Control) -> Result<Explained, ModelError> {
        let (owners, width) = (self.encoder.owners(), self.encoder.features.len());
        let mut out = Explained { width, ..Explained::default() };
        let rows: Vec<usize> = (0..table.rows).collect();
        let all = self.encoder.matrix(table);
        for block in rows.chunks(BLOCK) {
            control.check()?;
            let x = if block.len() == table.rows { all.clone() } else { all.take(block) };
            let scores = self.predictor.scores(&x, control)?;
            let made = self.predictor.contributions(&x, control)?;
            out.baseline = self.of_score(made.baseline);
            for (row, score) in scores.into_iter().enumerate() {
                let mut own = vec![0.0; width];
                for (column, c) in made.values[row * made.width..(row + 1) * made.width].iter().enumerate() {
                    own[owners[column]] += c;
                }
                let prediction = self.of_score(score);
                let (moved, total, size) = (prediction - out.baseline, own.iter().sum::<f64>(), own.iter().map(|c| c.abs()).sum::<f64>());
                // Where they cancel, there is no factor: the score, and so the prediction, is the baseline's.
                let factor = if total.abs() > 1e-12 * size { moved / total } else { 0.0 };
                out.contributions.extend(own.iter().map(|c| c * factor));
                out.score_contributions.extend(own);
                out.prediction.push(prediction);
            }
        }
        if table.rows == 0 {
            out.baseline = self.of_score(self.predictor.contributions(&all, control)?.baseline);
        }
        Ok(out)
    }

    /// Between which values the label of a row with each prediction lies with probability `level`, from what came of held-out rows with the most similar predictions
    /// (for a classifier: the share of them, with Wilson's interval). `None` without a hold-out of some size.
    pub fn intervals(&self, predictions: &[f64], level: f64) -> Vec<Option<(f64, f64)>> {
        let n = self.holdout.prediction.len();
        let near = (n / 10).clamp(NEIGHBOURS.0, NEIGHBOURS.1);
        if n < near {
            return vec![None; predictions.len()];
        }
        // Many predictions have the same neighbours.
        let mut known: HashMap<usize, (f64, f64)> = HashMap::new();
        let one = |p: &f64| {
            // By prediction, as they are stored.
            let at = self.holdout.prediction.partition_point(|q| q < p);
            let from = at.saturating_sub(near / 2).min(n - near);
            let (low, high) = *known.entry(from).or_insert_with(|| self.spread(&self.holdout.label[from..from + near], level));
            Some((low.min(*p), high.max(*p)))
        };
        predictions.iter().map(one).collect()
    }

    /// Where labels lie with a probability.
    fn spread(&self, labels: &[f64], level: f64) -> (f64, f64) {
        let n = labels.len();
        if self.task == Task::Classification {
            return wilson_at(labels.iter().sum::<f64>(), n as f64, level);
        }
        let mut labels = labels.to_vec();
        labels.sort_by(f64::total_cmp);
        let rank = |q: f64| labels[((q * n as f64) as usize).min(n - 1)];
        (rank((1.0 - level) / 2.0), rank(f64::midpoint(1.0, level)))
    }

    pub fn to_parts(&self) -> Vec<Part> {
        let mut parts = self.predictor.to_parts();
        let text = |of: fn(&FeatureSql) -> &String| Column::Text(self.sql.iter().map(|f| of(f).clone()).collect());
        parts.extend(self.calibration.to_parts());
        parts.extend([
            self.definition.to_part(),
            self.encoder.to_part(),
            Part::row("task", &[("classification", f64::from(u8::from(self.task == Task::Classification)))]),
            Part::new("classes", vec![("class", Column::Text(self.classes.clone().map(Vec::from).unwrap_or_default()))]),
            Part::new("feature_sql", vec![("name", text(|f| &f.name)), ("relation", text(|f| &f.relation)), ("sql", text(|f| &f.sql))]),
            Part::new(
                "holdout",
                vec![
                    ("key", Column::U64(self.holdout.key.clone())),
                    ("prediction", Column::F64(self.holdout.prediction.clone())),
                    ("label", Column::F64(self.holdout.label.clone())),
                ],
            ),
            Importance::to_part(&self.importance),
            self.reference.to_part(),
        ]);
        parts.extend(self.btyd.into_iter().flat_map(Btyd::to_parts));
        parts
    }

    pub fn from_parts(parts: &[Part], read: Read<AnyPredictor>) -> Result<Self, ModelError> {
        let holdout = part(parts, "holdout")?;
        let sql = part(parts, "feature_sql")?;
        let names = sql.text("name")?.iter().zip(sql.text("relation")?).zip(sql.text("sql")?);
        Ok(Self {
            definition: Definition::from_parts(parts)?,
            task: if part(parts, "task")?.number("classification")? == 1.0 { Task::Classification } else { Task::Regression },
            classes: <[String; 2]>::try_from(part(parts, "classes")?.text("class")?.to_vec()).ok(),
            sql: names
                .map(|((name, relation), sql)| FeatureSql { name: name.clone(), relation: relation.clone(), sql: sql.clone() })
                .collect(),
            encoder: Encoder::from_parts(parts)?,
            predictor: read(parts)?,
            calibration: Calibration::from_parts(parts)?,
            btyd: Btyd::from_parts(parts)?,
            holdout: Scored {
                key: holdout.u64("key")?.to_vec(),
                prediction: holdout.finite("prediction")?.to_vec(),
                label: holdout.finite("label")?.to_vec(),
            },
            importance: Importance::from_parts(parts)?,
            reference: Reference::from_parts(parts)?,
        })
    }
}
