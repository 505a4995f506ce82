//! Types of model that play for a label.

use std::time::Instant;

use super::calibration::train;
use super::data::{Data, Labelled, truth};
use super::figures::metric;
use crate::models::metrics::{log_loss, mae};
use crate::models::supervised::{Calibration, CalibrationKind, Task};
use crate::models::{Control, ModelError, Options};
use crate::store::Trial;

impl Data {
    /// A type's figure on the part after those it is fitted to.
    pub(super) fn try_out(&self, options: &Options, control: &Control) -> Result<(f64, f64, usize), ModelError> {
        let all: Vec<usize> = (1..self.parts.len()).collect();
        let before: Vec<&Labelled> = match self.is_window() && all.len() > 1 {
            true => self.known_at(self.parts[1].from_us, &all).into_iter().map(|p| &self.parts[p]).collect(),
            false => vec![],
        };
        let (fit, judge) = match before.is_empty() {
            true => {
                let (held, rest) = self.parts[self.parts.len() - 1].halves(options.whole("seed"), 0.3);
                (rest, held)
            }
            false => (Labelled::all(&before), Labelled::all(&[&self.parts[1]])),
        };
        let scores = train(options, &fit, self.task, control)?.scores(&judge, control)?;
        match self.task {
            Task::Regression => {
                Ok((mae(&scores.calibrated(&Calibration::None), &judge.y), mae(&vec![fit.mean(); judge.y.len()], &judge.y), judge.y.len()))
            }
            Task::Classification => {
                let labels = truth(&judge.y);
                // Two parameters, so that a type is not judged by a level that calibration puts right.
                let platt = Calibration::fit(CalibrationKind::Platt, scores.link, &scores.of, &judge.y)?;
                let loss = log_loss(&scores.calibrated(&platt), &labels);
                Ok((loss, log_loss(&vec![fit.mean(); labels.len()], &labels), labels.len()))
            }
        }
    }

    /// The types that play, and the place of the best one: the first of equals.
    pub(super) fn tournament(&self, candidates: &[Options], control: &Control) -> Result<(usize, Vec<Trial>), ModelError> {
        let mut trials = vec![];
        let mut best: Option<(usize, f64)> = None;
        let judged = &self.parts[1.min(self.parts.len() - 1)];
        for (at, options) in candidates.iter().enumerate() {
            control.check()?;
            control.report("choosing a model type", at as f64 / candidates.len() as f64);
            let started = Instant::now();
            let figure = match self.try_out(options, control) {
                Err(ModelError::Cancelled) => return Err(ModelError::Cancelled),
                figure => figure,
            };
            if let Ok((value, ..)) = figure
                && best.is_none_or(|(_, b)| value < b * (1.0 - 1e-4))
                && !options.kind.baseline
            {
                best = Some((at, value));
            }
            trials.push(Trial {
                model_type: options.kind.name.to_owned(),
                options: Some(not_defaults(options)).filter(|o| !o.is_empty()),
                fold: 1,
                eval_from_us: judged.from_us,
                eval_to_us: judged.to_us,
                users: figure.as_ref().map_or(0, |f| f.2 as u64),
                metric: metric(self.task).to_owned(),
                value: figure.as_ref().ok().map(|f| f.0),
                baseline_value: figure.as_ref().ok().map(|f| f.1),
                rmse: None,
                bias_pct: None,
                seconds: started.elapsed().as_secs_f64(),
                chosen: false,
                problem: figure.err().map(|e| e.to_string()),
            });
        }
        match best {
            Some((at, _)) => {
                trials[at].chosen = true;
                Ok((at, trials))
            }
            None => {
                let why = trials.into_iter().find_map(|t| t.problem).unwrap_or_default();
                Err(ModelError::TooLittleData(why))
            }
        }
    }
}

/// Options of the type's own that are not the defaults.
fn not_defaults(options: &Options) -> String {
    let own = options.kind.options.iter().filter(|s| options.get(s.name) != s.default);
    own.map(|s| format!("{} = {}", s.name, options.get(s.name))).collect::<Vec<_>>().join(", ")
}

/// What the tournament says of its choice.
pub(super) fn said(trials: &[Trial]) -> Option<String> {
    let winner = trials.iter().find(|t| t.chosen)?;
    let others: Vec<String> =
        trials.iter().filter(|t| !t.chosen).filter_map(|t| Some(format!("{} {:.4}", t.model_type, t.value?))).collect();
    Some(format!(
        "{} was chosen by its {} of {:.4} on rows that it is not evaluated on; others: {}",
        winner.model_type,
        winner.metric,
        winner.value?,
        others.join(", ")
    ))
}
