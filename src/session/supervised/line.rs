//! Predictions of a number put right by a line: the level of the season, and the median.

use super::calibration::Fitter;
use crate::models::supervised::{Calibration, CalibrationKind, Link, Task};
use crate::models::{ModelError, Options};

/// 'auto' asks a year ago only where what came then differs from what was said by so many standard errors.
const CLEAR: f64 = 2.0;

/// # Errors
/// An option of probabilities where the label is a number, or the other way round.
pub(super) fn check(options: &Options, task: Task) -> Result<(), ModelError> {
    let wrong = |option: &str, allowed: &str| {
        Err(ModelError::Option { option: option.into(), given: options.get(option).into(), allowed: allowed.into() })
    };
    match task {
        Task::Regression if ["platt", "isotonic"].iter().any(|kind| options.is("calibrate", kind)) => {
            wrong("calibrate", "'auto', 'seasonal' or 'none', for this label is a number and not a probability")
        }
        Task::Classification if options.is("predict", "median") => {
            wrong("predict", "'mean', for this label is 0 or 1: a probability is the mean of such labels")
        }
        _ => Ok(()),
    }
}

impl Fitter<'_> {
    /// The line for a model of these parts (the latest first) that is asked at `target_us`, and what the analyst is told of it.
    pub(super) fn line(&self, parts: &[usize], target_us: i64) -> Result<(Calibration, Option<String>), ModelError> {
        let Some(&latest) = parts.first() else { return Ok((Calibration::None, None)) };
        let (median, seasonal) = (self.options.is("predict", "median"), !self.options.is("calibrate", "none"));
        let a_year_ago = seasonal && self.data.a_year_before(target_us, parts).is_some();
        if !median && !a_year_ago {
            return Ok((Calibration::None, None));
        }
        let asked = self.data.asked(target_us).unwrap_or(&self.data.parts[latest].table);
        let predicted = self.fit(parts)?.predictions(asked, self.control)?;
        let by = if a_year_ago { self.season(parts, target_us, &predicted)? } else { None };
        let said = by.map(|by| {
            format!(
                "season: predictions are multiplied by {by:.2}, for the same window a year ago brought other than was foretold of it. WITH (calibrate = 'none') leaves them"
            )
        });
        let line = match (median, by) {
            (true, by) => self.median(latest, parts, by.unwrap_or(1.0), mean(&predicted))?,
            (false, Some(by)) => Calibration::Linear { slope: by, intercept: 0.0, censored: false },
            (false, None) => Calibration::None,
        };
        Ok((line, said))
    }

    /// By what the same window a year ago multiplies what is predicted. Of what is spent, BG/NBD and gamma-gamma tell the level: what they say now, times what came a
    /// year ago over what they said then; by default only where that is more than chance. Where there is nothing else, and it is asked for, the model's own
    /// predictions of a year ago are compared.
    fn season(&self, parts: &[usize], target_us: i64, predicted: &[f64]) -> Result<Option<f64>, ModelError> {
        let auto = self.options.is("calibrate", "auto");
        let by = if let Some(known) = self.data.then_and_now(target_us, parts) {
            let sum = |values: &[f64]| values.iter().sum::<f64>();
            let (said, came) = (sum(&known.said), sum(&known.came));
            let error = known.said.iter().zip(&known.came).map(|(said, y)| (y - said).powi(2)).sum::<f64>().sqrt();
            if auto && !(known.grown_up && (came - said).abs() > CLEAR * error) {
                return Ok(None);
            }
            came / said * (sum(&known.says) / known.asked.iter().map(|&row| predicted[row]).sum::<f64>())
        } else {
            let Some(year_ago) = self.data.a_year_before(target_us, parts).filter(|_| !auto) else { return Ok(None) };
            let others: Vec<usize> = parts.iter().copied().filter(|p| *p != year_ago).collect();
            if others.is_empty() {
                return Ok(None);
            }
            let scores = self.scored(year_ago, &others)?;
            mean(&scores.labels) / mean(&scores.calibrated(&Calibration::None))
        };
        Ok(Some(by).filter(|by| by.is_finite() && *by > 0.0))
    }

    /// The median of what came of the latest window, as if predictions of it had had the right mean; of predictions whose mean, `now`, is to be `by` times that.
    fn median(&self, latest: usize, parts: &[usize], by: f64, now: f64) -> Result<Calibration, ModelError> {
        let scores = self.scored(latest, &self.data.known_at(self.data.parts[latest].from_us, parts))?;
        let mut said = scores.calibrated(&Calibration::None);
        let came = mean(&scores.labels);
        let ratio = |a: f64, b: f64| Some(a / b).filter(|r| r.is_finite() && *r > 0.0);
        let right = ratio(came, mean(&said));
        said.iter_mut().for_each(|p| *p *= right.unwrap_or(1.0));
        let line = Calibration::fit(CalibrationKind::Linear, Link::Identity, &said, &scores.labels)?;
        let Calibration::Linear { slope, intercept, censored } = line else { return Ok(line) };
        let stretch = right.and_then(|_| ratio(by * now, came)).unwrap_or(1.0);
        let (slope, intercept) = (slope * by, intercept * stretch);
        Ok(if slope.is_finite() && intercept.is_finite() { Calibration::Linear { slope, intercept, censored } } else { Calibration::None })
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
