//! `TARGET column AS query`: rows of any table.

use std::collections::HashMap;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, plan_err};
use twox_hash::XxHash3_64;

use super::data::{Data, Labelled};
use crate::features::{table_of, transformed, values_of};
use crate::functions::{Pin, blocking, fit_error};
use crate::models::supervised::{Definition, FeatureSql, NO_LEVEL, Table, Task, Values, split_by_key};
use crate::models::{Control, ModelError, Options};
use crate::session::families::Outcome;
use crate::session::fitting::{Source, now_us};
use crate::session::pin::QueryPin;
use crate::text::did_you_mean;

/// What the fingerprint of a model of a query begins with.
pub const QUERY: &str = "query-";

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
    let given: Vec<usize> = (0..rows.num_columns()).filter(|&c| c != at).collect();
    let hashes = row_hashes(&rows, &(0..rows.num_columns()).collect::<Vec<_>>())?;
    let mut order: Vec<usize> = (0..rows.num_rows()).filter(|&r| label.y[r].is_finite()).collect();
    order.sort_by_key(|&r| (hashes[r], r));
    let keys = match key {
        Some(key) => row_hashes(&rows, &[key])?,
        // By the features, not by the label; equal rows are numbered.
        None => {
            let features = row_hashes(&rows, &given)?;
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
    let is_feature = |c: &usize| Some(*c) != key && time.as_ref().is_none_or(|t| t.column != *c);
    let (mut table, nested) = table_of(&rows.project(&given.iter().copied().filter(is_feature).collect::<Vec<_>>())?)?;
    if !nested.is_empty() {
        warnings.push(format!("left out: {} (of a nested type)", nested.join(", ")));
    }
    let mut sql: Vec<FeatureSql> =
        table.columns.iter().map(|(n, _)| FeatureSql { name: n.clone(), relation: "query".into(), sql: n.clone() }).collect();
    if let Some(exprs) = transform {
        (table, sql) = transformed(pin.state(), &rows.project(&given)?, &table, exprs, None)?;
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
    let known = || time.iter().flat_map(|t| t.us.iter().copied().filter(|us| *us != i64::MIN));
    let as_of_us = known().max().unwrap_or_else(now_us);
    let source = Source {
        rows: rows.num_rows() as u64,
        fingerprint: format!("{QUERY}{fingerprint:016x}"),
        as_of_us,
        as_of_is_set: false,
        span_us: known().min().map(|first| (first, as_of_us)),
    };
    let Label { task, classes, .. } = label;
    let data = Data { definition, task, classes, sql, parts, btyd: None, warnings, first_us: 0, as_of_us, today: Table::default() };
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
