//! Types of model that play for a label.

use std::time::Instant;

use super::calibration::train;
use super::data::{Data, Labelled, truth};
use super::figures::metric;
use crate::models::metrics::{log_loss, mae};
use crate::models::supervised::{Calibration, CalibrationKind, Task};
use crate::models::{Control, ModelError, Options};
use crate::store::Trial;

/// Windows that types are compared on, at most.
const GAMES: usize = 3;

/// Rows that types are fitted to, and later ones that they are judged by.
struct Game {
    fit: Labelled,
    judge: Labelled,
}

/// What a type scored: its figure and that of the best constant.
type Figure = (f64, f64);

impl Game {
    fn play(&self, options: &Options, task: Task, control: &Control) -> Result<Figure, ModelError> {
        let Self { fit, judge } = self;
        let scores = train(options, fit, task, control)?.scores(judge, control)?;
        let constant = vec![fit.mean(); judge.y.len()];
        match task {
            Task::Regression => Ok((mae(&scores.calibrated(&Calibration::None), &judge.y), mae(&constant, &judge.y))),
            Task::Classification => {
                let labels = truth(&judge.y);
                // Two parameters, so that a type is not judged by a level that calibration puts right.
                let platt = Calibration::fit(CalibrationKind::Platt, scores.link, &scores.of, &judge.y)?;
                Ok((log_loss(&scores.calibrated(&platt), &labels), log_loss(&constant, &labels)))
            }
        }
    }
}

impl Data {
    /// The parts that types are compared on, the latest first, none of them the one that is evaluated on; empty where there is one moment only.
    fn games(&self) -> Vec<usize> {
        let earlier: Vec<usize> = (1..self.parts.len()).collect();
        let has_before = |p: &usize| self.is_window() && !self.known_at(self.parts[*p].from_us, &earlier).is_empty();
        earlier.iter().copied().filter(has_before).take(GAMES).collect()
    }

    fn game(&self, judge: Option<usize>, options: &Options) -> Game {
        let Some(judge) = judge else {
            let (judge, fit) = self.parts[self.parts.len() - 1].halves(options.whole("seed"), 0.3);
            return Game { fit, judge };
        };
        let earlier: Vec<usize> = (1..self.parts.len()).collect();
        let before = self.known_at(self.parts[judge].from_us, &earlier);
        let rows = |parts: &[usize]| Labelled::all(&parts.iter().map(|&p| &self.parts[p]).collect::<Vec<_>>());
        Game { fit: rows(&before), judge: rows(&[judge]) }
    }

    /// The types that play, and the place of the best one by its mean figure: the first of equals.
    pub(super) fn tournament(&self, candidates: &[&Options], control: &Control) -> Result<(usize, Vec<Trial>), ModelError> {
        let games = self.games();
        let games: Vec<Option<usize>> = if games.is_empty() { vec![None] } else { games.into_iter().map(Some).collect() };
        let mut trials = vec![];
        let mut sums = vec![0.0; candidates.len()];
        for (fold, judge) in games.iter().enumerate() {
            let game = self.game(*judge, candidates[0]);
            let judged = &self.parts[judge.unwrap_or(1.min(self.parts.len() - 1))];
            for (at, &options) in candidates.iter().enumerate() {
                control.check()?;
                control.report("choosing a model type", (fold * candidates.len() + at) as f64 / (games.len() * candidates.len()) as f64);
                let started = Instant::now();
                let figure = match game.play(options, self.task, control) {
                    Err(ModelError::Cancelled) => return Err(ModelError::Cancelled),
                    figure => figure,
                };
                sums[at] += figure.as_ref().map_or(f64::INFINITY, |f| f.0);
                trials.push(Trial {
                    model_type: options.kind.name.to_owned(),
                    options: Some(not_defaults(options)).filter(|o| !o.is_empty()),
                    fold: fold as u32 + 1,
                    eval_from_us: judged.from_us,
                    eval_to_us: judged.to_us,
                    users: game.judge.y.len() as u64,
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
        }
        let mut best: Option<usize> = None;
        for at in (0..candidates.len()).filter(|&at| sums[at].is_finite() && !candidates[at].kind.baseline) {
            if best.is_none_or(|b| sums[at] < sums[b] * (1.0 - 1e-4)) {
                best = Some(at);
            }
        }
        match best {
            Some(best) => {
                trials.iter_mut().skip(best).step_by(candidates.len()).for_each(|t| t.chosen = true);
                Ok((best, trials))
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
    let folds = trials.iter().map(|t| t.fold).max()? as usize;
    let types = trials.len() / folds;
    let mean = |at: usize| -> Option<f64> {
        let of: Option<Vec<f64>> = trials.iter().skip(at).step_by(types).map(|t| t.value).collect();
        of.map(|v| v.iter().sum::<f64>() / folds as f64)
    };
    let winner = (0..types).find(|&at| trials[at].chosen)?;
    let of = |at: usize| mean(at).map(|m| format!("{} {m:.4}", trials[at].model_type));
    let others: Vec<String> = (0..types).filter(|&at| at != winner).filter_map(of).collect();
    let windows = if folds > 1 { format!(", the mean of {folds} windows,") } else { String::new() };
    Some(format!(
        "{} was chosen by its {} of {:.4}{windows} on rows that it is not evaluated on; others: {}",
        trials[winner].model_type,
        trials[winner].metric,
        mean(winner)?,
        others.join(", ")
    ))
}
