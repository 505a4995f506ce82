//! Fits of a type to parts of the data, and the calibration of each.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::data::{Data, Labelled, truth};
use crate::models::metrics::log_loss;
use crate::models::supervised::{CLOSED_FORM, Calibration, CalibrationKind, Encoder, LeftOut, Link, Table, Task, Training, split_by_key};
use crate::models::{AnyPredictor, Control, Make, ModelError, Options};

/// A model of some type, before it is calibrated.
pub(super) struct Trained {
    pub(super) encoder: Encoder,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) predictor: AnyPredictor,
}

/// Rows with either label that a classifier needs, and rows that a regression needs.
const FEWEST: usize = 10;
/// `forecast` is the name of the feature that is itself a forecast of the label.
pub(super) fn train(
    options: &Options,
    rows: &Labelled,
    (task, forecast): (Task, Option<&str>),
    control: &Control,
) -> Result<Trained, ModelError> {
    let Make::Supervised { fit, .. } = options.kind.make else {
        return Err(ModelError::TooLittleData(format!("{} is no model of a label", options.kind.name)));
    };
    let ones = rows.y.iter().filter(|y| **y > 0.5).count();
    match task {
        Task::Classification if ones < FEWEST || rows.y.len() - ones < FEWEST => {
            return Err(ModelError::TooLittleData(format!(
                "{} rows of {} have the label: at least {FEWEST} with and {FEWEST} without are needed. Is event_type spelt as in events?",
                ones,
                rows.y.len()
            )));
        }
        Task::Regression if rows.y.len() < FEWEST => {
            return Err(ModelError::TooLittleData(format!("{} rows: at least {FEWEST} are needed", rows.y.len())));
        }
        Task::Regression if rows.y.iter().all(|y| *y == rows.y[0]) => {
            let same = rows.y[0];
            return Err(ModelError::TooLittleData(format!("the label is {same} in all {} rows: nothing to learn", rows.y.len())));
        }
        _ => {}
    }
    // One feature, as it is.
    let own = forecast.filter(|_| std::ptr::eq(options.kind, &CLOSED_FORM)).and_then(|name| Some((name, rows.table.get(name)?.clone())));
    let (encoder, left_out) = match own {
        Some((name, values)) => Encoder::fit(&Table { rows: rows.table.rows, columns: vec![(name.into(), values)] }),
        None => Encoder::fit(&rows.table),
    };
    if encoder.features.is_empty() {
        return Err(ModelError::TooLittleData("no feature has two different values".into()));
    }
    let x = encoder.matrix(&rows.table);
    let forecast = encoder.owners().iter().position(|owner| Some(&encoder.features[*owner].name[..]) == forecast);
    let predictor = fit(Training { x: &x, y: &rows.y, task, levels: &encoder.levels(), forecast }, options, control)?;
    Ok(Trained { encoder, left_out, predictor })
}

impl Trained {
    /// What it says of rows, before it is calibrated.
    pub(super) fn predictions(&self, table: &Table, control: &Control) -> Result<Vec<f64>, ModelError> {
        let link = self.predictor.link();
        Ok(self.predictor.scores(&self.encoder.matrix(table), control)?.into_iter().map(|s| link.inverse(s)).collect())
    }

    pub(super) fn scores(&self, rows: &Labelled, control: &Control) -> Result<Scores, ModelError> {
        let of = self.predictor.scores(&self.encoder.matrix(&rows.table), control)?;
        Ok(Scores { link: self.predictor.link(), of, labels: rows.y.clone(), keys: rows.keys.clone() })
    }
}

/// What a model says of rows, before it is calibrated.
pub(super) struct Scores {
    pub(super) link: Link,
    pub(super) of: Vec<f64>,
    /// Of the same rows.
    pub(super) labels: Vec<f64>,
    pub(super) keys: Vec<u64>,
}

impl Scores {
    pub(super) fn calibrated(&self, c: &Calibration) -> Vec<f64> {
        self.of.iter().map(|&s| c.prediction(self.link, s)).collect()
    }

    pub(super) fn take(&self, rows: &[usize]) -> Self {
        let of = |v: &[f64]| rows.iter().map(|&r| v[r]).collect();
        Self { link: self.link, of: of(&self.of), labels: of(&self.labels), keys: rows.iter().map(|&r| self.keys[r]).collect() }
    }
}

/// The calibration that is best on rows the model was not fitted to: each way is fitted to one half of the customers and judged on the other; the first of equals.
fn best_of_halves(options: &Options, scores: &Scores) -> Result<Calibration, ModelError> {
    let fit = |kind: CalibrationKind, s: &Scores| Calibration::fit(kind, s.link, &s.of, &s.labels);
    let (a, b): (Vec<usize>, Vec<usize>) = (0..scores.of.len()).partition(|&r| split_by_key(scores.keys[r], options.whole("seed"), 0.5));
    let (a, b) = (scores.take(&a), scores.take(&b));
    let loss = |kind: CalibrationKind| -> Result<f64, ModelError> {
        let mut sum = 0.0;
        for (learn, judge) in [(&a, &b), (&b, &a)] {
            if learn.of.is_empty() || judge.of.is_empty() {
                return Ok(f64::INFINITY);
            }
            sum += log_loss(&judge.calibrated(&fit(kind, learn)?), &truth(&judge.labels)) * judge.of.len() as f64;
        }
        Ok(sum)
    };
    let mut best = (CalibrationKind::None, loss(CalibrationKind::None)?);
    for kind in [CalibrationKind::Platt, CalibrationKind::Isotonic] {
        let of = loss(kind)?;
        if of < best.1 * (1.0 - 1e-3) {
            best = (kind, of);
        }
    }
    fit(best.0, scores)
}

/// The ways probabilities are put right that 'auto' chooses from, the first of equals: where a year is known, the season is what moves a base rate.
const LEVELS: [&str; 4] = ["seasonal", "none", "platt", "isotonic"];

/// 'auto' asks a year ago only where that moves log-odds by more than this, twice what such a move was wrong by where seasons were weak.
const CLEAR_SHIFT: f64 = 0.2;

/// The mean probability of churn that a season makes likely, the scores of those whose mean it is, and whether it is clear.
struct ChurnSeason {
    level: f64,
    link: Link,
    scores: Vec<f64>,
    clear: bool,
}

impl ChurnSeason {
    fn levelled(&self, calibration: Calibration) -> Calibration {
        calibration.levelled(self.link, &self.scores, self.level)
    }
}

/// One type with its options on some data: each set of parts is fitted to once.
pub(super) struct Fitter<'a> {
    pub(super) data: &'a Data,
    pub(super) options: &'a Options,
    pub(super) control: &'a Control,
    made: RefCell<HashMap<Vec<usize>, Rc<Trained>>>,
    /// What parts score by halves.
    halved: RefCell<HashMap<usize, Rc<Scores>>>,
}

impl<'a> Fitter<'a> {
    pub(super) fn new(data: &'a Data, options: &'a Options, control: &'a Control) -> Self {
        Self { data, options, control, made: RefCell::default(), halved: RefCell::default() }
    }

    pub(super) fn fit(&self, parts: &[usize]) -> Result<Rc<Trained>, ModelError> {
        if let Some(t) = self.made.borrow().get(parts) {
            return Ok(Rc::clone(t));
        }
        let rows = Labelled::all(&parts.iter().map(|&p| &self.data.parts[p]).collect::<Vec<_>>());
        let made = Rc::new(train(self.options, &rows, self.data.label(), self.control)?);
        self.made.borrow_mut().insert(parts.to_vec(), Rc::clone(&made));
        Ok(made)
    }

    /// The calibration of a model of these parts (the latest first) that is asked at `target_us`, and what the analyst is told of it.
    pub(super) fn calibration(&self, parts: &[usize], target_us: i64) -> Result<(Calibration, Option<String>), ModelError> {
        if self.data.task == Task::Regression {
            return self.line(parts, target_us);
        }
        let asked = self.options.get("calibrate").to_lowercase();
        if asked != "auto" {
            return Ok((self.level(&asked, parts, target_us)?.unwrap_or(Calibration::None), None));
        }
        let season = self.season_of_churn(parts, target_us)?.filter(|s| s.clear);
        let chosen = self.best(parts, target_us, season.is_some())?;
        let Some(season) = season else { return Ok((chosen, None)) };
        let said = format!(
            "season: probabilities are moved to a mean of {:.3}, for the same window a year ago brought other than was foretold of it. WITH (calibrate = 'none') \
             leaves them",
            season.level
        );
        Ok((season.levelled(chosen), Some(said)))
    }

    /// What would have been best for the latest window, a window earlier; `by_shape` as if the level had been right, because a season is to tell it.
    fn best(&self, parts: &[usize], target_us: i64, by_shape: bool) -> Result<Calibration, ModelError> {
        let Some(&latest) = parts.first() else { return Ok(Calibration::None) };
        let rows = &self.data.parts[latest];
        let before = self.data.known_at(rows.from_us, parts);
        if before.is_empty() {
            let scores = self.by_halves(latest)?;
            return best_of_halves(self.options, &scores);
        }
        let scores = self.fit(&before)?.scores(rows, self.control)?;
        let mut best: Option<(&str, f64)> = None;
        for kind in LEVELS.into_iter().filter(|kind| !by_shape || *kind != "seasonal") {
            if let Some(mut c) = self.level(kind, &before, rows.from_us)? {
                if by_shape {
                    c = c.levelled(scores.link, &scores.of, rows.mean());
                }
                let loss = log_loss(&scores.calibrated(&c), &truth(&rows.y));
                if best.is_none_or(|(_, b)| loss < b * (1.0 - 1e-3)) {
                    best = Some((kind, loss));
                }
            }
        }
        Ok(self.level(best.map_or("none", |b| b.0), parts, target_us)?.unwrap_or(Calibration::None))
    }

    /// One way of calibrating a model of these parts; `None` where there is no such.
    fn level(&self, kind: &str, parts: &[usize], target_us: i64) -> Result<Option<Calibration>, ModelError> {
        let Some(&latest) = parts.first() else { return Ok(None) };
        let kind = match kind {
            "platt" => CalibrationKind::Platt,
            "isotonic" => CalibrationKind::Isotonic,
            "seasonal" => {
                let Some(year_ago) = self.data.a_year_before(target_us, parts) else { return Ok(None) };
                let others: Vec<usize> = parts.iter().copied().filter(|p| *p != year_ago).collect();
                if others.is_empty() {
                    return Ok(None);
                }
                if let Some(season) = self.season_of_churn(parts, target_us)? {
                    return Ok(Some(season.levelled(Calibration::None)));
                }
                let scores = self.scored(year_ago, &others)?;
                return Ok(Some(Calibration::None.levelled(scores.link, &scores.of, self.data.parts[year_ago].mean())));
            }
            _ => return Ok(Some(Calibration::None)),
        };
        let rows = &self.data.parts[latest];
        let scores = self.scored(latest, &self.data.known_at(rows.from_us, parts))?;
        Calibration::fit(kind, scores.link, &scores.of, &scores.labels).map(Some)
    }

    /// The level of churn that BG/NBD tells: its probabilities of today, their log-odds moved by what would have made those of a year ago right.
    fn season_of_churn(&self, parts: &[usize], target_us: i64) -> Result<Option<ChurnSeason>, ModelError> {
        let known = self.data.then_and_now(target_us, parts).zip(self.data.asked(target_us)).filter(|_| parts.len() > 1);
        let Some((known, asked)) = known else { return Ok(None) };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let moved = Calibration::None.levelled(Link::Identity, &known.said, mean(&known.came));
        let says: Vec<f64> = known.says.iter().map(|&p| moved.prediction(Link::Identity, p)).collect();
        let clear = known.grown_up && matches!(moved, Calibration::Platt { b, .. } if b.abs() > CLEAR_SHIFT);
        let fitted = self.fit(parts)?;
        let scores = fitted.predictor.scores(&fitted.encoder.matrix(asked), self.control)?;
        let scores = known.asked.iter().map(|&row| scores[row]).collect();
        Ok(Some(ChurnSeason { level: mean(&says), link: fitted.predictor.link(), scores, clear }))
    }

    /// What a part's rows score by a model of others, or by halves where there are none.
    pub(super) fn scored(&self, part: usize, by: &[usize]) -> Result<Rc<Scores>, ModelError> {
        match by.is_empty() {
            true => self.by_halves(part),
            false => Ok(Rc::new(self.fit(by)?.scores(&self.data.parts[part], self.control)?)),
        }
    }

    /// What a part's rows score by models of the other half of its customers.
    fn by_halves(&self, part: usize) -> Result<Rc<Scores>, ModelError> {
        if let Some(s) = self.halved.borrow().get(&part) {
            return Ok(Rc::clone(s));
        }
        let (a, b) = self.data.parts[part].halves(self.options.whole("seed") ^ 1, 0.5);
        let scored =
            |learn: &Labelled, judge: &Labelled| train(self.options, learn, self.data.label(), self.control)?.scores(judge, self.control);
        let (mut scores, more) = (scored(&b, &a)?, scored(&a, &b)?);
        scores.of.extend(more.of);
        scores.labels.extend(more.labels);
        scores.keys.extend(more.keys);
        let scores = Rc::new(scores);
        self.halved.borrow_mut().insert(part, Rc::clone(&scores));
        Ok(scores)
    }
}
