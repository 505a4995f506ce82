//! Predictions of a number put right by a line: the level of the season, and the median.

use super::calibration::{Fitter, YOUNG_US};
use crate::models::supervised::{Calibration, CalibrationKind, Link, Task};
use crate::models::{ModelError, Options};

/// 'auto' asks a year ago only where what came then differs from what was said by so many standard errors.
const CLEAR: f64 = 2.0;

/// By what the same window a year ago multiplies predictions, and whether that is more than chance.
struct Season {
    by: f64,
    clear: bool,
}

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
    /// The line for a model of these parts (the latest first) that is asked at `target_us`.
    pub(super) fn line(&self, parts: &[usize], target_us: i64) -> Result<Calibration, ModelError> {
        let season = match self.options.get("calibrate").to_lowercase().as_str() {
            "none" => None,
            "auto" => self.season(parts, target_us)?.filter(|s| s.clear),
            _ => self.season(parts, target_us)?,
        };
        let by = season.map_or(1.0, |s| s.by);
        if by != 1.0 {
            self.said.replace(Some(format!(
                "season: predictions are multiplied by {by:.2}, for the same window a year ago brought other than was foretold of it. WITH (calibrate = 'none') leaves them"
            )));
        }
        if self.options.is("predict", "median") {
            return self.median(parts, target_us, by);
        }
        Ok(if by == 1.0 { Calibration::None } else { Calibration::Linear { slope: by, intercept: 0.0, censored: false } })
    }

    /// Of what is spent, BG/NBD and gamma-gamma tell the level: what they say now, times what came a year ago over what they said then. A learned model's predictions
    /// of a year ago lack what the year before that would tell, and are asked where there is nothing else.
    fn season(&self, parts: &[usize], target_us: i64) -> Result<Option<Season>, ModelError> {
        let data = self.data;
        let Some(year_ago) = data.a_year_before(target_us, parts) else { return Ok(None) };
        let then = &data.parts[year_ago];
        let asked = data.asked(target_us);
        let now = asked.and_then(|table| data.foreseen(table));
        let season = if let (Some(said), Some(table), Some(now)) = (data.foreseen(&then.table), asked, now) {
            let (mut said_then, mut came, mut squares) = (0.0, 0.0, 0.0);
            for (said, y) in said.iter().zip(&then.y).filter(|(said, _)| said.is_finite()) {
                said_then += said;
                came += y;
                squares += (y - said).powi(2);
            }
            let (mut said_now, mut predicted) = (0.0, 0.0);
            for (said, p) in now.iter().zip(self.fit(parts)?.predictions(table, self.control)?).filter(|(said, _)| said.is_finite()) {
                said_now += said;
                predicted += p;
            }
            let clear = (came - said_then).abs() > CLEAR * squares.sqrt() && then.from_us - data.first_us >= YOUNG_US;
            Season { by: came / said_then * (said_now / predicted), clear }
        } else {
            let others: Vec<usize> = parts.iter().copied().filter(|p| *p != year_ago).collect();
            if others.is_empty() {
                return Ok(None);
            }
            let scores = self.scored(year_ago, &others)?;
            let said: f64 = scores.calibrated(&Calibration::None).iter().sum();
            Season { by: scores.labels.iter().sum::<f64>() / said, clear: false }
        };
        Ok(Some(season).filter(|s| s.by.is_finite() && s.by > 0.0))
    }

    /// The median of what came of the latest window, as if predictions of it had had the right mean; of predictions whose mean is to be `by` times what it is.
    fn median(&self, parts: &[usize], target_us: i64, by: f64) -> Result<Calibration, ModelError> {
        let data = self.data;
        let Some(&latest) = parts.first() else { return Ok(Calibration::None) };
        let rows = &data.parts[latest];
        let scores = self.scored(latest, &data.known_at(rows.from_us, parts))?;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let mut said = scores.calibrated(&Calibration::None);
        let (of_said, came) = (mean(&said), mean(&scores.labels));
        let ratio = |a: f64, b: f64| Some(a / b).filter(|r| r.is_finite() && *r > 0.0);
        let right = ratio(came, of_said);
        said.iter_mut().for_each(|p| *p *= right.unwrap_or(1.0));
        let line = Calibration::fit(CalibrationKind::Linear, Link::Identity, &said, &scores.labels)?;
        let Calibration::Linear { slope, intercept, censored } = line else { return Ok(line) };
        let now = by * mean(&self.fit(parts)?.predictions(data.asked(target_us).unwrap_or(&rows.table), self.control)?);
        let stretch = right.and_then(|_| ratio(now, came)).unwrap_or(1.0);
        let (slope, intercept) = (slope * by, intercept * stretch);
        Ok(if slope.is_finite() && intercept.is_finite() { Calibration::Linear { slope, intercept, censored } } else { Calibration::None })
    }
}
