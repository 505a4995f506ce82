//! Supervised models: from a definition to frames at past cut-offs, a fit, its calibration, and its figures on what it has not seen.
//!
//! Of a window model the label's windows lie one before the other, the latest one ending at `as_of`:
//!
//! ```text
//!   … cut 2 ─────── cut 1 ─────── cut 0 ─────── as_of          labels of a cut: the window after it; features: everything up to it
//!     │  train      │  calibrate  │  evaluate   │
//! ```
//!
//! What is evaluated at cut 0 was fitted to the cuts 1, 2, … and calibrated at cut 1 by a model of the cuts 2, …; what is kept is the same, one cut later. Types of model
//! are compared at cut 1 by models of the cuts 2, …, so that cut 0 chooses nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, plan_err};
use twox_hash::XxHash3_64;

use super::families::Outcome;
use super::fitting::{Source, now_us, options};
use super::frames::{self, Wanted, end_of};
use super::pin::QueryPin;
use crate::events::{Snapshot, time_text};
use crate::features::{Aggregates, Customers, DAY_US, day_of, table_of, transformed, values_of};
use crate::functions::{Pin, blocking, fit_error};
use crate::models::lifetime::BgNbd;
use crate::models::metrics::{
    Bins, Confusion, brier, ece, gini, log_loss, mae, median_absolute_error, pr_auc, r2, rmse, roc_auc, spearman,
};
use crate::models::supervised::{
    AVERAGED, CLOSED_FORM, CLOSED_FORM_FEATURE, Calibration, CalibrationKind, Definition, Encoder, FeatureSql, Importance, LOGISTIC_REG,
    LeftOut, Link, Matrix, NO_LEVEL, Reference, Scored, Supervised, Table, Task, Training, Values, split_by_key, suspicious_columns,
};
use crate::models::{AnyPredictor, Control, Make, ModelError, Options, days};
use crate::store::Trial;
use crate::text::did_you_mean;

/// Rows with their label.
#[derive(Default)]
struct Labelled {
    /// The moment their features are of, and the moment their labels are known, µs since 1970.
    from_us: i64,
    to_us: i64,
    table: Table,
    y: Vec<f64>,
    /// A hash of the key of each row, the same in every part.
    keys: Vec<u64>,
}

impl Labelled {
    /// All rows of several.
    fn all(parts: &[&Self]) -> Self {
        let mut out = Self::default();
        for p in parts {
            out.table.append(p.table.clone());
            out.y.extend(&p.y);
            out.keys.extend(&p.keys);
        }
        out
    }

    fn take(&self, rows: &[usize]) -> Self {
        Self {
            from_us: self.from_us,
            to_us: self.to_us,
            table: self.table.take(rows),
            y: rows.iter().map(|&r| self.y[r]).collect(),
            keys: rows.iter().map(|&r| self.keys[r]).collect(),
        }
    }

    /// Those whose key is held out, and the others.
    fn halves(&self, seed: u64, share: f64) -> (Self, Self) {
        let (held, rest): (Vec<usize>, Vec<usize>) = (0..self.y.len()).partition(|&r| split_by_key(self.keys[r], seed, share));
        (self.take(&held), self.take(&rest))
    }

    fn mean(&self) -> f64 {
        if self.y.is_empty() { 0.0 } else { self.y.iter().sum::<f64>() / self.y.len() as f64 }
    }
}

/// What a model is fitted to and judged on.
struct Data {
    definition: Definition,
    task: Task,
    classes: Option<[String; 2]>,
    sql: Vec<FeatureSql>,
    /// The latest first.
    parts: Vec<Labelled>,
    /// As of the end of the log.
    bg_nbd: Option<BgNbd>,
    warnings: Vec<String>,
    /// The figure of the closed form, where the label is one that it foresees: a column of the table.
    closed_form: Option<&'static str>,
    /// The moment that the model is asked about, µs since 1970.
    as_of_us: i64,
}

/// A model of some type, before it is calibrated.
struct Trained {
    encoder: Encoder,
    left_out: Vec<LeftOut>,
    predictor: AnyPredictor,
}

/// The bins of ece: ten of equal width, as everybody reports it.
const BINS: Bins = Bins::EqualWidth(10);
/// Rows with either label that a classifier needs, and rows that a regression needs.
const FEWEST: usize = 10;
/// The base rates of training and evaluation differ when one is this much larger.
const DRIFTED: f64 = 1.15;

fn train(options: &Options, rows: &Labelled, task: Task, control: &Control) -> Result<Trained, ModelError> {
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
    let closed = std::ptr::eq(options.kind, &CLOSED_FORM).then(|| rows.table.get(CLOSED_FORM_FEATURE).cloned());
    let (encoder, left_out) = match closed {
        Some(Some(p)) => Encoder::fit(&Table { rows: rows.table.rows, columns: vec![(CLOSED_FORM_FEATURE.into(), p)] }),
        Some(None) => {
            return Err(ModelError::TooLittleData(format!("closed_form needs the feature {CLOSED_FORM_FEATURE}: churn of customers")));
        }
        None => Encoder::fit(&rows.table),
    };
    if encoder.features.is_empty() {
        return Err(ModelError::TooLittleData("no feature has two different values".into()));
    }
    let x = encoder.matrix(&rows.table);
    let predictor = fit(Training { x: &x, y: &rows.y, task }, options, control)?;
    Ok(Trained { encoder, left_out, predictor })
}

impl Trained {
    fn scores(&self, rows: &Labelled, control: &Control) -> Result<Scores, ModelError> {
        let of = self.predictor.scores(&self.encoder.matrix(&rows.table), control)?;
        Ok(Scores { link: self.predictor.link(), of, labels: rows.y.clone(), keys: rows.keys.clone() })
    }
}

/// What a model says of rows, before it is calibrated.
struct Scores {
    link: Link,
    of: Vec<f64>,
    /// Of the same rows.
    labels: Vec<f64>,
    keys: Vec<u64>,
}

impl Scores {
    fn calibrated(&self, c: &Calibration) -> Vec<f64> {
        self.of.iter().map(|&s| c.probability(self.link, s)).collect()
    }

    fn take(&self, rows: &[usize]) -> Self {
        let of = |v: &[f64]| rows.iter().map(|&r| v[r]).collect();
        Self { link: self.link, of: of(&self.of), labels: of(&self.labels), keys: rows.iter().map(|&r| self.keys[r]).collect() }
    }
}

fn truth(y: &[f64]) -> Vec<bool> {
    y.iter().map(|y| *y > 0.5).collect()
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

/// How far from a year ago a cut-off may lie to be of the same season: this share of the window, or so many days.
const SAME_SEASON: (i64, i64) = (10, 3);
const YEAR_US: i64 = 365 * DAY_US;

/// The ways probabilities are put right that 'auto' chooses from, the first of equals: where a year is known, the season is what moves a base rate.
const LEVELS: [&str; 4] = ["seasonal", "none", "platt", "isotonic"];

/// One type with its options on some data: each set of parts is fitted to once.
struct Fitter<'a> {
    data: &'a Data,
    options: &'a Options,
    control: &'a Control,
    made: RefCell<HashMap<Vec<usize>, Rc<Trained>>>,
}

impl Fitter<'_> {
    fn fit(&self, parts: &[usize]) -> Result<Rc<Trained>, ModelError> {
        if let Some(t) = self.made.borrow().get(parts) {
            return Ok(Rc::clone(t));
        }
        let rows = Labelled::all(&parts.iter().map(|&p| &self.data.parts[p]).collect::<Vec<_>>());
        let made = Rc::new(train(self.options, &rows, self.data.task, self.control)?);
        self.made.borrow_mut().insert(parts.to_vec(), Rc::clone(&made));
        Ok(made)
    }

    /// The calibration of a model of these parts (the latest first) that is asked at `target_us`.
    fn calibration(&self, parts: &[usize], target_us: i64) -> Result<Calibration, ModelError> {
        let asked = self.options.get("calibrate").to_lowercase();
        if self.data.task == Task::Regression || asked == "none" {
            return Ok(Calibration::None);
        }
        let Some(&latest) = parts.first() else { return Ok(Calibration::None) };
        if asked != "auto" {
            return Ok(self.level(&asked, parts, target_us)?.unwrap_or(Calibration::None));
        }
        let rows = &self.data.parts[latest];
        let before = self.data.known_at(rows.from_us, parts);
        if before.is_empty() {
            return best_of_halves(self.options, &self.by_halves(latest)?);
        }
        // What would have been best for the latest window, a window earlier.
        let scores = self.fit(&before)?.scores(rows, self.control)?;
        let mut best: Option<(&str, f64)> = None;
        for kind in LEVELS {
            if let Some(c) = self.level(kind, &before, rows.from_us)? {
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
        let scored = |part: usize, by: &[usize]| match by.is_empty() {
            true => self.by_halves(part),
            false => self.fit(by)?.scores(&self.data.parts[part], self.control),
        };
        let kind = match kind {
            "platt" => CalibrationKind::Platt,
            "isotonic" => CalibrationKind::Isotonic,
            "seasonal" => {
                let Some(year_ago) = self.data.a_year_before(target_us, parts) else { return Ok(None) };
                let others: Vec<usize> = parts.iter().copied().filter(|p| *p != year_ago).collect();
                if others.is_empty() {
                    return Ok(None);
                }
                let scores = scored(year_ago, &others)?;
                return Ok(Some(Calibration::shift(scores.link, &scores.of, self.data.parts[year_ago].mean())));
            }
            _ => return Ok(Some(Calibration::None)),
        };
        let rows = &self.data.parts[latest];
        let scores = scored(latest, &self.data.known_at(rows.from_us, parts))?;
        // By halves the rows come in another order.
        Calibration::fit(kind, scores.link, &scores.of, &scores.labels).map(Some)
    }

    /// What a part's rows score by models of the other half of its customers.
    fn by_halves(&self, part: usize) -> Result<Scores, ModelError> {
        let (a, b) = self.data.parts[part].halves(self.options.whole("seed") ^ 1, 0.5);
        let mut scores = train(self.options, &b, self.data.task, self.control)?.scores(&a, self.control)?;
        let more = train(self.options, &a, self.data.task, self.control)?.scores(&b, self.control)?;
        scores.of.extend(more.of);
        scores.labels.extend(more.labels);
        scores.keys.extend(more.keys);
        Ok(scores)
    }
}

impl Data {
    /// Those of `parts` whose labels were known at a moment; of rows without a time, those that come later.
    fn known_at(&self, us: i64, parts: &[usize]) -> Vec<usize> {
        let latest = parts.first().copied().unwrap_or(0);
        let known = |p: &&usize| if self.is_window() { self.parts[**p].to_us <= us } else { **p > latest };
        parts.iter().filter(known).copied().collect()
    }

    fn is_window(&self) -> bool {
        self.parts.iter().all(|p| p.to_us > 0)
    }

    /// The part that is of the same season a year before a moment.
    fn a_year_before(&self, us: i64, parts: &[usize]) -> Option<usize> {
        let Definition::Window { days, .. } = self.definition else { return None };
        let near = (i64::from(days) / SAME_SEASON.0).max(SAME_SEASON.1) * DAY_US;
        let distance = |p: usize| (self.parts[p].from_us - (us - YEAR_US)).abs();
        parts.iter().copied().filter(|&p| self.is_window() && distance(p) <= near).min_by_key(|&p| distance(p))
    }

    /// A type's figure on the part after those it is fitted to.
    fn try_out(&self, options: &Options, control: &Control) -> Result<(f64, f64, usize), ModelError> {
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
    fn tournament(&self, candidates: &[Options], control: &Control) -> Result<(usize, Vec<Trial>), ModelError> {
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

    /// The cut-offs, as training_log shows them.
    fn cut_offs(&self, evaluated: bool) -> Vec<Trial> {
        let one = |(k, p): (usize, &Labelled)| Trial {
            model_type: if k == 0 && evaluated { "evaluation cut-off".into() } else { "training cut-off".into() },
            options: None,
            fold: k as u32 + 1,
            eval_from_us: p.from_us,
            eval_to_us: p.to_us,
            users: p.y.len() as u64,
            metric: "label_mean".into(),
            value: Some(p.mean()),
            baseline_value: None,
            rmse: None,
            bias_pct: None,
            seconds: 0.0,
            chosen: false,
            problem: None,
        };
        if matches!(self.definition, Definition::Window { .. }) { self.parts.iter().enumerate().map(one).collect() } else { vec![] }
    }

    /// Fits, calibrates, evaluates.
    fn fit(mut self, candidates: &[Options], control: &Control) -> Result<(Options, Outcome), ModelError> {
        let mut out = Outcome { metric: Some(metric(self.task)), warnings: std::mem::take(&mut self.warnings), ..Outcome::default() };
        out.users = {
            let mut keys: Vec<u64> = self.parts.iter().flat_map(|p| p.keys.iter().copied()).collect();
            keys.sort_unstable();
            keys.dedup();
            keys.len() as u64
        };
        let (chosen, mut trials) = if candidates.len() > 1 { self.tournament(candidates, control)? } else { (0, vec![]) };
        let options = &candidates[chosen];
        out.warnings.extend(said(&trials));
        let evaluates = !options.is("split", "none");
        trials.extend(self.cut_offs(evaluates && self.parts.len() > 1));
        out.trials = trials;
        control.report("fitting", 0.1);
        let fitter = Fitter { data: &self, options, control, made: RefCell::default() };
        let all: Vec<usize> = (0..self.parts.len()).collect();
        let (mut holdout, mut importance) = (Scored::default(), vec![]);
        if self.parts.len() > 1 && evaluates {
            let judged = &self.parts[0];
            let before = self.known_at(judged.from_us, &all);
            let fitted = fitter.fit(&before)?;
            let fitted: &Trained = &fitted;
            let calibrated = fitter.calibration(&before, judged.from_us)?;
            let x = fitted.encoder.matrix(&judged.table);
            let link = fitted.predictor.link();
            let predict = |x: &Matrix| -> Result<Vec<f64>, ModelError> {
                Ok(fitted.predictor.scores(x, control)?.into_iter().map(|s| calibrated.probability(link, s)).collect())
            };
            let predictions = predict(&x)?;
            let trained: Vec<f64> = before.iter().flat_map(|&p| self.parts[p].y.iter().copied()).collect();
            self.score(&predictions, judged, &trained, &mut out);
            control.report("importance of features", 0.5);
            let loss = |x: &Matrix, rows: &[usize]| -> Result<f64, ModelError> {
                Ok(self.loss(&predict(x)?, &rows.iter().map(|&r| judged.y[r]).collect::<Vec<_>>()))
            };
            let names: Vec<String> = fitted.encoder.features.iter().map(|f| f.name.clone()).collect();
            let own = fitted.predictor.importance();
            importance = Importance::measure(&names, &fitted.encoder.owners(), &own, &x, options.whole("seed"), &loss, control)?;
            holdout = sorted(Scored { key: judged.keys.clone(), prediction: predictions, label: judged.y.clone() });
            if self.is_window() {
                out.eval_from_us = Some(judged.from_us);
            }
        }
        control.report("fitting", 0.8);
        let calibration = fitter.calibration(&all, self.as_of_us)?;
        if let Definition::Window { days, .. } = &self.definition {
            out.horizon_days = Some(f64::from(*days));
        }
        let kept = fitter.fit(&all)?;
        let everything = Labelled::all(&self.parts.iter().collect::<Vec<_>>());
        let x = kept.encoder.matrix(&everything.table);
        let columns = kept.encoder.columns();
        // In one window, or in all: what knows the last one only is hidden among the others.
        let mut leaks: BTreeMap<usize, f64> = suspicious_columns(&x, &everything.y).into_iter().collect();
        for p in &self.parts {
            leaks.extend(suspicious_columns(&kept.encoder.matrix(&p.table), &p.y));
        }
        for (column, auc) in leaks {
            out.warnings.push(format!(
                "leak? {} alone foretells the label nearly perfectly ({auc:.4}): does it know the future? Leave it out if it does",
                columns[column]
            ));
        }
        if !kept.left_out.is_empty() {
            let named: Vec<String> = kept.left_out.iter().map(|(name, why)| format!("{name} ({why})")).collect();
            out.warnings.push(format!("left out: {}", named.join(", ")));
        }
        // Of the model that is kept, in the order of its features.
        let own = kept.predictor.importance();
        let owners = kept.encoder.owners();
        let of_feature = |feature: usize| -> f64 { owners.iter().zip(&own).filter(|(o, _)| **o == feature).map(|(_, g)| g).sum() };
        let importance = kept.encoder.features.iter().enumerate().map(|(at, f)| {
            let measured = importance.iter().find(|i| i.feature == f.name).cloned().unwrap_or_default();
            Importance { feature: f.name.clone(), gain: of_feature(at), ..measured }
        });
        out.parameters = kept.predictor.parameters(&columns);
        let importance: Vec<Importance> = importance.collect();
        drop(fitter);
        let Some(kept) = Rc::into_inner(kept) else { return Err(ModelError::Damaged("a fit is in use".into())) };
        let model = Supervised {
            importance,
            reference: Reference::of(&kept.encoder, &self.parts[0].table),
            definition: self.definition,
            task: self.task,
            classes: self.classes,
            sql: self.sql,
            encoder: kept.encoder,
            predictor: kept.predictor,
            calibration,
            bg_nbd: self.bg_nbd,
            holdout,
        };
        out.parts = model.to_parts();
        Ok((options.clone(), out))
    }

    fn loss(&self, predictions: &[f64], y: &[f64]) -> f64 {
        match self.task {
            Task::Classification => log_loss(predictions, &truth(y)),
            Task::Regression => mae(predictions, y),
        }
    }

    /// Figures on rows that the model has not seen, beside those of the best constant of the training rows.
    fn score(&self, predictions: &[f64], judged: &Labelled, trained: &[f64], out: &mut Outcome) {
        let mean = trained.iter().sum::<f64>() / trained.len().max(1) as f64;
        let constant = vec![mean; judged.y.len()];
        out.measured("holdout_rows", judged.y.len() as f64);
        out.measured("training_rows", trained.len() as f64);
        if self.task == Task::Regression {
            let typical = vec![median(trained); judged.y.len()];
            out.measured("mae", mae(predictions, &judged.y));
            out.measured("baseline_mae", mae(&constant, &judged.y));
            // What nobody who foretells means can beat where most labels are 0.
            out.measured("mae_of_median", mae(&typical, &judged.y));
            out.measured("rmse", rmse(predictions, &judged.y));
            out.measured("baseline_rmse", rmse(&constant, &judged.y));
            median_absolute_error(predictions, &judged.y).into_iter().for_each(|v| out.measured("median_absolute_error", v));
            median_absolute_error(&typical, &judged.y).into_iter().for_each(|v| out.measured("baseline_median_absolute_error", v));
            r2(predictions, &judged.y).into_iter().for_each(|v| out.measured("r2_score", v));
            out.measured("spearman", spearman(predictions, &judged.y));
            out.measured("gini", gini(predictions, &judged.y));
            let (predicted, actual): (f64, f64) = (predictions.iter().sum(), judged.y.iter().sum());
            out.measured("predicted_total", predicted);
            out.measured("actual_total", actual);
            out.measured("bias_pct", 100.0 * (predicted - actual) / actual);
            out.measured("baseline_bias_pct", 100.0 * (mean * judged.y.len() as f64 - actual) / actual);
            return;
        }
        let labels = truth(&judged.y);
        let positives = labels.iter().filter(|l| **l).count();
        let mut add = |name: &str, value: Option<f64>, baseline: Option<f64>| {
            value.into_iter().for_each(|v| out.measured(name, v));
            baseline.into_iter().for_each(|v| out.measured(&format!("baseline_{name}"), v));
        };
        let rate = positives as f64 / labels.len().max(1) as f64;
        add("roc_auc", Some(roc_auc(predictions, &labels)), Some(0.5));
        add("pr_auc", pr_auc(predictions, &labels), Some(rate));
        add("log_loss", Some(log_loss(predictions, &labels)), Some(log_loss(&constant, &labels)));
        add("brier", brier(predictions, &labels), brier(&constant, &labels));
        add("ece", ece(predictions, &labels, BINS), ece(&constant, &labels, BINS));
        add("base_rate", Some(rate), Some(mean));
        let c = Confusion::at(predictions, &labels, 0.5);
        add("accuracy", c.accuracy(), Some(if mean >= 0.5 { rate } else { 1.0 - rate }));
        add("precision", c.precision(), None);
        add("recall", c.recall(), None);
        add("f1_score", c.f1(), None);
        if let Some(Some(Values::Number(p))) = self.closed_form.map(|name| judged.table.get(name)) {
            let p: Vec<f64> = p.iter().map(|p| if p.is_nan() { rate } else { *p }).collect();
            out.measured("closed_form_log_loss", log_loss(&p, &labels));
            out.measured("closed_form_roc_auc", roc_auc(&p, &labels));
        }
        if rate > 0.0 && mean > 0.0 && (rate / mean > DRIFTED || mean / rate > DRIFTED) {
            out.warnings.push(format!(
                "the base rate was {:.1} % in training and {:.1} % in the window that was held out: probabilities lean towards the past",
                100.0 * mean,
                100.0 * rate
            ));
        }
    }
}

/// Options of the type's own that are not the defaults.
fn not_defaults(options: &Options) -> String {
    let own = options.kind.options.iter().filter(|s| options.get(s.name) != s.default);
    own.map(|s| format!("{} = {}", s.name, options.get(s.name))).collect::<Vec<_>>().join(", ")
}

fn metric(task: Task) -> &'static str {
    match task {
        Task::Classification => "log_loss",
        Task::Regression => "mae",
    }
}

/// What the tournament says of its choice.
fn said(trials: &[Trial]) -> Option<String> {
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

fn sorted(s: Scored) -> Scored {
    let mut order: Vec<usize> = (0..s.key.len()).collect();
    order.sort_by(|&a, &b| {
        s.prediction[a].total_cmp(&s.prediction[b]).then(s.key[a].cmp(&s.key[b])).then(s.label[a].total_cmp(&s.label[b]))
    });
    Scored {
        key: order.iter().map(|&i| s.key[i]).collect(),
        prediction: order.iter().map(|&i| s.prediction[i]).collect(),
        label: order.iter().map(|&i| s.label[i]).collect(),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n => f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]),
    }
}

/// A hash of each customer's key.
fn key_hashes(customers: &Customers) -> Result<Vec<u64>> {
    let text = cast(&customers.keys.array, &DataType::Utf8)?;
    let text = text.as_string::<i32>();
    Ok((0..text.len()).map(|i| XxHash3_64::oneshot(text.value(i).as_bytes())).collect())
}

/// The last day that is known as a whole: that of `as_of`, if `as_of` is its end or events have no time of day.
fn last_whole_day(snapshot: &Snapshot) -> i64 {
    match snapshot.contract.ts_is_date {
        true => day_of(snapshot.as_of_us),
        false => day_of(snapshot.as_of_us + 1) - 1,
    }
}

/// The shortest log before a cut-off that features are made of, in days, where the window is longer.
const HISTORY: i64 = 30;

/// Fits a model of a window over the future.
pub async fn fit_window(pin: &QueryPin, definition: Definition, candidates: Vec<Options>, control: &Control) -> Result<(Options, Outcome)> {
    let Definition::Window { label, days: window, .. } = &definition else { return plan_err!("not a window") };
    let (snapshot, customers) = (pin.snapshot().await?, pin.customers().await?);
    let aggregate = Aggregates::parse(pin.state(), &snapshot, &[("label".into(), label.clone())], "PREDICT")?;
    let task = if aggregate.is_boolean() { Task::Classification } else { Task::Regression };
    let Some(options) = candidates.first() else { return plan_err!("there is no model type for this") };
    let horizon = i64::from(*window);
    let (first, last) = (day_of(snapshot.min_us), last_whole_day(&snapshot));
    let step = days(options.get("step")).map_or(0, |d| d.round() as i64);
    let step = if step > 0 { step } else { horizon };
    let most = options.whole("cutoffs") as i64 + 1;
    // The cut that is evaluated on must not overlap the windows that are learned from.
    let cut = |k: i64| if k == 0 { last - horizon } else { last - 2 * horizon - (k - 1) * step };
    let history = horizon.min(HISTORY.max(horizon / 2));
    let mut cuts: Vec<i64> = (0..most).map(cut).take_while(|c| c - first >= history).collect();
    // The same season a year ago, of what is evaluated and of what is kept.
    let near = (horizon / SAME_SEASON.0).max(SAME_SEASON.1);
    for day in [last - 365, last - horizon - 365] {
        let useful = task == Task::Classification && options.whole("cutoffs") > 1 && day - first >= history;
        if useful && cuts.iter().all(|c| (c - day).abs() > near) {
            cuts.push(day);
        }
    }
    cuts.sort_unstable_by(|a, b| b.cmp(a));
    cuts.dedup();
    if cuts.is_empty() {
        let why = format!(
            "a window of {horizon} days needs a log of at least {} days up to as_of: this one has {}. Write a shorter window, WITHIN INTERVAL '{} days'",
            horizon + history,
            last - first,
            ((last - first) / 3).max(1)
        );
        return Err(fit_error(ModelError::TooLittleData(why)));
    }
    let keys = key_hashes(&customers)?;
    let every = (customers.len() * cuts.len()).div_ceil(options.whole("max_rows").max(1) as usize).max(1);
    let mut parts = vec![];
    let mut sql = vec![];
    let (mut unlabelled, mut eligible) = (0, 0);
    for (k, &day) in cuts.iter().enumerate() {
        control.check().map_err(fit_error)?;
        control.report("features and labels", k as f64 / cuts.len() as f64);
        let wanted = Wanted { definition: &definition, day, step: every, bg_nbd: None };
        let frame = frames::features(pin, wanted, control).await?;
        let labels = frames::labels(pin, &aggregate, day, horizon).await?;
        let known: Vec<usize> = (0..frame.codes.len()).filter(|&i| labels[frame.codes[i] as usize].is_finite()).collect();
        unlabelled += frame.codes.len() - known.len();
        eligible += frame.codes.len();
        sql = if k == 0 { frame.sql } else { sql };
        parts.push(Labelled {
            from_us: end_of(day),
            to_us: end_of(day + horizon),
            table: frame.table.take(&known),
            y: known.iter().map(|&i| labels[frame.codes[i] as usize]).collect(),
            keys: known.iter().map(|&i| keys[frame.codes[i] as usize]).collect(),
        });
    }
    if eligible == 0 {
        let why = match &definition {
            Definition::Window { eligible: Some(condition), .. } => format!("nobody meets WHERE {condition} at any cut-off"),
            _ => "nobody had purchased by any cut-off: WHERE, such as WHERE views > 0, speaks of others".into(),
        };
        return Err(fit_error(ModelError::TooLittleData(why)));
    }
    let mut warnings = vec![];
    if unlabelled > 0 {
        warnings
            .push(format!("{unlabelled} of {eligible} rows have no label, {label} being NULL or not finite for them, and are left out"));
    }
    if every > 1 {
        warnings.push(format!("fitted to every {every}th customer: max_rows = {}", options.get("max_rows")));
    }
    if parts.len() == 1 && !options.is("split", "none") {
        let at = time_text(parts[0].from_us).unwrap_or_default();
        warnings.push(format!("evaluated on other customers, not on a later time: the log has room for one cut-off only, {at}"));
    }
    // Today's, for scoring.
    let control_of_fit = control.clone();
    let all = Arc::clone(&customers);
    let bg_nbd = blocking(control.clone(), move |control| match crate::features::bg_nbd(&all, last, control) {
        Err(ModelError::Cancelled) => Err(fit_error(ModelError::Cancelled)),
        fitted => Ok(fitted.ok()),
    })
    .await?;
    let closed_form = churn_label(label).then_some("bg_nbd_churn");
    let data = Data { task, classes: None, sql, parts, bg_nbd, warnings, closed_form, definition, as_of_us: end_of(last) };
    let data = data.split_by_customer(options);
    blocking(control_of_fit, move |control| data.fit(&candidates, control).map_err(fit_error)).await
}

/// Columns that are keys rather than features.
const KEY: &str = "user_id";

/// Fits a model of the rows of a query.
pub async fn fit_query(
    pin: &QueryPin,
    definition: Definition,
    candidates: Vec<Options>,
    control: &Control,
) -> Result<(Source, (Options, Outcome))> {
    let Definition::Query { target, query, transform } = &definition else { return plan_err!("not a query") };
    let Some(options) = candidates.first() else { return plan_err!("there is no model type for this") };
    let rows = pin.query(query).await?;
    let schema = rows.schema();
    let Some(at) = schema.fields().iter().position(|f| f.name().eq_ignore_ascii_case(target)) else {
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let hint = did_you_mean(target, names.iter().copied(), "", "");
        return plan_err!("TARGET {target}: the query has no such column{hint} Columns: {}", names.join(", "));
    };
    if rows.num_rows() == 0 {
        return Err(fit_error(ModelError::TooLittleData("the query has no rows".into())));
    }
    if rows.num_columns() == 1 {
        return Err(fit_error(ModelError::TooLittleData(format!("the query has no column besides {target}: nothing to learn from"))));
    }
    let label = label_of(target, rows.column(at))?;
    let time = split_time(options, &rows)?;
    let key = schema.fields().iter().position(|f| f.name().eq_ignore_ascii_case(KEY));
    // By content, so that the answer does not depend on the order of the rows.
    let hashes = row_hashes(&rows, &(0..rows.num_columns()).collect::<Vec<_>>())?;
    let mut order: Vec<usize> = (0..rows.num_rows()).filter(|&r| label.y[r].is_finite()).collect();
    order.sort_by_key(|&r| (hashes[r], r));
    let keys = match key {
        Some(key) => row_hashes(&rows, &[key])?,
        // By the features, not by the label; equal rows are numbered.
        None => {
            let features = row_hashes(&rows, &(0..rows.num_columns()).filter(|&c| c != at).collect::<Vec<_>>())?;
            let mut seen: HashMap<u64, u64> = HashMap::new();
            let mut keys = vec![0; rows.num_rows()];
            for &r in &order {
                let n = seen.entry(features[r]).or_default();
                *n += 1;
                keys[r] = XxHash3_64::oneshot_with_seed(features[r], &n.to_le_bytes());
            }
            keys
        }
    };
    let most = options.whole("max_rows").max(1) as usize;
    let every = order.len().div_ceil(most).max(1);
    let mut warnings = vec![];
    if every > 1 {
        warnings.push(format!("fitted to every {every}th row: max_rows = {most}"));
        order = order.into_iter().step_by(every).collect();
    }
    let kept: Vec<usize> =
        (0..rows.num_columns()).filter(|&c| c != at && Some(c) != key && time.as_ref().is_none_or(|t| t.column != c)).collect();
    let features = rows.project(&kept)?;
    let (mut table, nested) = table_of(&features)?;
    if !nested.is_empty() {
        warnings.push(format!("left out: {} (of a nested type)", nested.join(", ")));
    }
    let mut sql: Vec<FeatureSql> =
        table.columns.iter().map(|(n, _)| FeatureSql { name: n.clone(), relation: "query".into(), sql: n.clone() }).collect();
    if let Some(exprs) = transform {
        (table, sql) = transformed(
            pin.state(),
            &rows.project(&(0..rows.num_columns()).filter(|&c| c != at).collect::<Vec<_>>())?,
            &table,
            exprs,
            None,
        )?;
    }
    let missing = rows.num_rows() - label.y.iter().filter(|y| y.is_finite()).count();
    if missing > 0 {
        warnings.push(format!("{missing} rows without a {target} are left out"));
    }
    let part = |rows: Vec<usize>| Labelled {
        table: table.take(&rows),
        y: rows.iter().map(|&r| label.y[r]).collect(),
        keys: rows.iter().map(|&r| keys[r]).collect(),
        ..Labelled::default()
    };
    let share = options.number("test_fraction");
    let parts = if options.is("split", "none") {
        vec![part(order)]
    } else if let Some(time) = &time {
        // The latest rows, whole instants of them.
        let mut times: Vec<i64> = order.iter().map(|&r| time.us[r]).collect();
        times.sort_unstable();
        let cut = times[((times.len() as f64 * (1.0 - share)) as usize).min(times.len().saturating_sub(1))];
        let (held, rest): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|&r| time.us[r] >= cut);
        vec![part(held), part(rest)]
    } else {
        let (held, rest): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|&r| split_by_key(keys[r], options.whole("seed"), share));
        vec![part(held), part(rest)]
    };
    if parts.iter().any(|p| p.y.is_empty()) {
        let why = format!(
            "{} rows with a {target}: too few to hold some out. WITH (split = 'none') fits without evaluating",
            rows.num_rows() - missing
        );
        return Err(fit_error(ModelError::TooLittleData(why)));
    }
    let fingerprint = hashes.iter().fold(0u64, |sum, h| sum.wrapping_add(*h));
    let as_of_us = time.as_ref().and_then(|t| t.us.iter().max().copied()).unwrap_or_else(now_us);
    let source = Source {
        rows: rows.num_rows() as u64,
        fingerprint: format!("{QUERY}{fingerprint:016x}"),
        as_of_us,
        as_of_is_set: false,
        span_us: time.as_ref().and_then(|t| Some((t.us.iter().filter(|us| **us != i64::MIN).min().copied()?, as_of_us))),
    };
    let Label { task, classes, .. } = label;
    let data = Data { definition, task, classes, sql, parts, bg_nbd: None, warnings, closed_form: None, as_of_us };
    let fitted = blocking(control.clone(), move |control| data.fit(&candidates, control).map_err(fit_error)).await?;
    Ok((source, fitted))
}

/// A column as a label.
struct Label {
    task: Task,
    classes: Option<[String; 2]>,
    /// NaN where it is not known.
    y: Vec<f64>,
}

fn label_of(name: &str, column: &ArrayRef) -> Result<Label> {
    let boolean = column.data_type() == &DataType::Boolean;
    match values_of(std::slice::from_ref(column), None)? {
        Values::Number(y) => {
            let mut distinct: Vec<f64> = vec![];
            for &v in y.iter().filter(|v| v.is_finite()) {
                if !distinct.contains(&v) {
                    distinct.push(v);
                }
                if distinct.len() > 2 {
                    return Ok(Label { task: Task::Regression, classes: None, y });
                }
            }
            distinct.sort_by(f64::total_cmp);
            let [low, high] = distinct[..] else {
                return plan_err!("TARGET {name}: one value in all rows, or none: nothing to learn");
            };
            let text = |v: f64| if boolean { (v == 1.0).to_string() } else { v.to_string() };
            let classes = Some([text(low), text(high)]);
            let y = y.into_iter().map(|v| if v.is_finite() { f64::from(u8::from(v == high)) } else { f64::NAN }).collect();
            Ok(Label { task: Task::Classification, classes, y })
        }
        Values::Level { codes, names } => {
            let mut sorted = names.clone();
            sorted.sort_by_key(|n| (n.to_lowercase(), n.clone()));
            let [low, high] = &sorted[..] else {
                return plan_err!(
                    "TARGET {name}: a text with {} different values: two are needed, or a number. For one of several classes write TARGET is_it AS SELECT {name} = '...' AS is_it, ...",
                    names.len()
                );
            };
            let y = codes.iter().map(|&c| if c == NO_LEVEL { f64::NAN } else { f64::from(u8::from(names[c as usize] == *high)) });
            Ok(Label { task: Task::Classification, classes: Some([low.clone(), high.clone()]), y: y.collect() })
        }
    }
}

/// The column by which rows are split in time, µs since 1970 (a row without a time is the earliest).
struct SplitTime {
    column: usize,
    us: Vec<i64>,
}

fn split_time(options: &Options, rows: &RecordBatch) -> Result<Option<SplitTime>> {
    let asked = options.get("split").to_lowercase();
    let schema = rows.schema();
    let is_time = |f: &Field| matches!(f.data_type(), DataType::Timestamp(..)) || (asked == "time" && f.data_type().is_temporal());
    let Some(column) = schema.fields().iter().position(|f| is_time(f)).filter(|_| matches!(asked.as_str(), "auto" | "time")) else {
        return match asked.as_str() {
            "time" => plan_err!("split = 'time': the query has no timestamp or date. Add one, or split = 'user' | 'random' | 'none'"),
            _ => Ok(None),
        };
    };
    let us = cast(rows.column(column), &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    let us = us.as_primitive::<TimestampMicrosecondType>();
    Ok(Some(SplitTime { column, us: (0..us.len()).map(|i| if us.is_valid(i) { us.value(i) } else { i64::MIN }).collect() }))
}

/// A hash of some columns of each row.
fn row_hashes(rows: &RecordBatch, columns: &[usize]) -> Result<Vec<u64>> {
    let mut out = vec![0u64; rows.num_rows()];
    for &c in columns.iter().filter(|&&c| !rows.column(c).data_type().is_nested()) {
        let text = cast(rows.column(c), &DataType::Utf8)?;
        let text = text.as_string::<i32>();
        for (row, hash) in out.iter_mut().enumerate() {
            *hash = match text.is_valid(row) {
                true => XxHash3_64::oneshot_with_seed(*hash ^ 1, text.value(row).as_bytes()),
                false => XxHash3_64::oneshot_with_seed(*hash ^ 2, &[]),
            };
        }
    }
    Ok(out)
}

impl Data {
    /// Holds a share of the customers out, where there is no window to hold out or none is wanted.
    fn split_by_customer(mut self, options: &Options) -> Self {
        let asked = options.is("split", "user") || options.is("split", "random");
        if asked || (self.parts.len() == 1 && !options.is("split", "none")) {
            let all = Labelled::all(&self.parts.iter().collect::<Vec<_>>());
            let (held, rest) = all.halves(options.whole("seed"), options.number("test_fraction"));
            if !held.y.is_empty() && !rest.y.is_empty() {
                self.parts = vec![held, rest];
            }
        }
        self
    }
}

/// What the fingerprint of a model of a query begins with.
pub const QUERY: &str = "query-";

/// No purchase in so many days.
pub fn churn(days: u32) -> Definition {
    Definition::Window { label: CHURN.into(), days, eligible: None, features: vec![], transform: None }
}

/// What plays for churn_prob(): the closed form first, so that what is learned has to be better.
pub fn churn_candidates() -> Result<Vec<Options>> {
    let rows = || ("max_rows".to_owned(), CHURN_ROWS.to_string());
    let penalty = ("l2_reg".to_owned(), "30".to_owned());
    [(&CLOSED_FORM, vec![rows()]), (&LOGISTIC_REG, vec![rows(), penalty]), (&AVERAGED, vec![rows()])]
        .map(|(kind, given)| options(kind, &given))
        .into_iter()
        .collect()
}

/// Rows that the auto models of churn learn from.
const CHURN_ROWS: usize = 100_000;

/// The label of churn: no purchase in the window.
const CHURN: &str = "count(*) FILTER (WHERE event_type = 'purchase') = 0";

fn churn_label(label: &str) -> bool {
    let squeezed = |s: &str| s.to_lowercase().split_whitespace().collect::<String>();
    squeezed(label) == squeezed(CHURN)
}
