//! `PREDICT … WITHIN …`: from a window over the future to features and labels at past cut-offs.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::execution::memory_pool::MemoryReservation;
use twox_hash::XxHash3_64;

use super::data::{Data, Labelled, SAME_SEASON};
use crate::events::{Snapshot, time_text};
use crate::features::{Aggregates, Customers, day_of, end_of_day};
use crate::functions::{Pin, blocking, fit_error};
use crate::models::supervised::{AVERAGED, CLOSED_FORM, Definition, LOGISTIC_REG, Table, Task};
use crate::models::{Control, ModelError, Options, days};
use crate::session::families::Outcome;
use crate::session::fitting::options;
use crate::session::frames::{self, Wanted};
use crate::session::pin::QueryPin;

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
        let useful = options.whole("cutoffs") > 1 && day - first >= history;
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
    let mut memory = vec![];
    let mut sql = vec![];
    let (mut unlabelled, mut eligible) = (0, 0);
    for (k, &day) in cuts.iter().enumerate() {
        control.check().map_err(fit_error)?;
        control.report("features and labels", k as f64 / cuts.len() as f64);
        let wanted = Wanted { definition: &definition, day, step: every, btyd: None };
        let frame = frames::features(pin, wanted, control).await?;
        let labels = frames::labels(pin, &aggregate, day, horizon).await?;
        let known: Vec<usize> = (0..frame.codes.len()).filter(|&i| labels[frame.codes[i] as usize].is_finite()).collect();
        unlabelled += frame.codes.len() - known.len();
        eligible += frame.codes.len();
        sql = if k == 0 { frame.sql } else { sql };
        memory.push(frame.memory);
        parts.push(Labelled {
            from_us: end_of_day(day),
            to_us: end_of_day(day + horizon),
            table: frame.table.take(&known),
            y: known.iter().map(|&i| labels[frame.codes[i] as usize]).collect(),
            keys: known.iter().map(|&i| keys[frame.codes[i] as usize]).collect(),
        });
    }
    // The rows of all of them, put together.
    let together = memory[0].new_empty();
    together.try_grow(memory.iter().map(MemoryReservation::size).sum::<usize>() / 2)?;
    memory.push(together);
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
    let btyd = blocking(control.clone(), move |control| match crate::features::btyd(&all, last, control) {
        Err(ModelError::Cancelled) => Err(fit_error(ModelError::Cancelled)),
        fitted => Ok(fitted.ok()),
    })
    .await?;
    // What a seasonal calibration asks about, where a cut-off lies a year before, and a median.
    let seasonal = ["auto", "seasonal"].iter().any(|kind| options.is("calibrate", kind)) && definition.forecast().is_some();
    let mut today = Table::default();
    if (seasonal && cuts.iter().any(|c| (c - (last - 365)).abs() <= near)) || options.is("predict", "median") {
        let frame = frames::features(pin, Wanted { definition: &definition, day: last, step: every, btyd }, control).await?;
        memory.push(frame.memory);
        today = frame.table;
    }
    let data =
        Data { task, classes: None, sql, parts, btyd, warnings, first_us: snapshot.min_us, definition, as_of_us: end_of_day(last), today };
    let data = data.split_by_customer(options);
    blocking(control_of_fit, move |control| {
        let _held = memory;
        data.fit(&candidates, control).map_err(fit_error)
    })
    .await
}

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
