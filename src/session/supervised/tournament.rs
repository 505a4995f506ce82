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
    fn play(&self, options: &Options, label: (Task, Option<&str>), control: &Control) -> Result<Figure, ModelError> {
        let Self { fit, judge } = self;
        let scores = train(options, fit, label, control)?.scores(judge, control)?;
        let constant = vec![fit.mean(); judge.y.len()];
        match label.0 {
            Task::Regression => {
                let median = options.is("predict", "median");
                let kind = if median { CalibrationKind::Linear } else { CalibrationKind::None };
                let line = Calibration::fit(kind, scores.link, &scores.of, &judge.y)?;
                Ok((mae(&scores.calibrated(&line), &judge.y), mae(&constant, &judge.y)))
            }
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
    /// The parts that types are compared on, the latest first, none of them the one that is evaluated on; empty where none has ended before another begins.
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

    /// The types that play, and the place of the best one by its mean figure: the first of equals. A type that is not for such a label does not play; a window in
    /// which no type has a figure, such as one before an event was recorded, does not count.
    pub(super) fn tournament(&self, candidates: &[Options], control: &Control) -> Result<(usize, Vec<Trial>), ModelError> {
        let mut trials = vec![];
        let mut sums: Vec<Option<f64>> = vec![Some(0.0); candidates.len()];
        let mut counted = 0;
        let games = self.games();
        let all = games.iter().map(|g| Some(*g)).chain([None]).enumerate();
        for (fold, judge) in all {
            // The halves of one window, where there are no two to tell from each other.
            if judge.is_none() && counted > 0 {
                break;
            }
            let game = self.game(judge, &candidates[0]);
            let judged = &self.parts[judge.unwrap_or(self.parts.len() - 1)];
            let mut figures: Vec<Option<f64>> = vec![];
            for (at, options) in candidates.iter().enumerate() {
                control.check()?;
                control
                    .report("choosing a model type", (fold * candidates.len() + at) as f64 / ((games.len() + 1) * candidates.len()) as f64);
                let started = Instant::now();
                let figure = match game.play(options, self.label(), control) {
                    Err(ModelError::Cancelled) => return Err(ModelError::Cancelled),
                    figure => figure,
                };
                figures.push(figure.as_ref().ok().map(|f| f.0));
                if matches!(figure, Err(ModelError::Option { .. })) {
                    continue;
                }
                trials.push((
                    at,
                    Trial {
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
                    },
                ));
            }
            if figures.iter().any(Option::is_some) {
                counted += 1;
                sums.iter_mut().zip(figures).for_each(|(sum, figure)| *sum = sum.zip(figure).map(|(a, b)| a + b));
            }
        }
        let mut best: Option<(usize, f64)> = None;
        for (at, sum) in sums.iter().enumerate().filter(|(at, _)| !candidates[*at].kind.baseline) {
            if let Some(sum) = sum.filter(|s| best.is_none_or(|(_, b)| *s < b * (1.0 - 1e-4))) {
                best = Some((at, sum));
            }
        }
        match best.filter(|_| counted > 0) {
            Some((best, _)) => {
                trials.iter_mut().for_each(|(at, t)| t.chosen = *at == best);
                Ok((best, trials.into_iter().map(|(_, t)| t).collect()))
            }
            None => {
                let why = trials.into_iter().find_map(|(_, t)| t.problem).unwrap_or_default();
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
    // A mean of the windows that count: those in which the winner has a figure.
    let folds: Vec<u32> = trials.iter().filter(|t| t.chosen && t.value.is_some()).map(|t| t.fold).collect();
    let same = |a: &Trial, b: &Trial| a.model_type == b.model_type && a.options == b.options;
    let mean = |of: &Trial| -> Option<f64> {
        let values: Vec<f64> = trials.iter().filter(|t| same(t, of) && folds.contains(&t.fold)).filter_map(|t| t.value).collect();
        (values.len() == folds.len()).then(|| values.iter().sum::<f64>() / folds.len() as f64)
    };
    let others = trials.iter().filter(|t| t.fold == winner.fold && !t.chosen);
    let others: Vec<String> = others.filter_map(|t| Some(format!("{} {:.4}", t.model_type, mean(t)?))).collect();
    let windows = if folds.len() > 1 { format!(", the mean of {} windows,", folds.len()) } else { String::new() };
    Some(format!(
        "{} was chosen by its {} of {:.4}{windows} on rows that it is not evaluated on; others: {}",
        winner.model_type,
        winner.metric,
        mean(winner)?,
        others.join(", ")
    ))
}
