//! Features of customers at a moment, and labels from the window after it.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::{Result, plan_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::logical_expr::ident;
use datafusion::prelude::SessionContext;

use super::binding::refuse_calls;
use super::pin::{QueryPin, USER_ID, USERS};
use crate::features::{
    Aggregates, Frame, NO_CODE, Window, batch, btyd, btyd_features, end_of_day, frame, over_rows, transformed, values_of,
};
use crate::functions::{Pin, blocking, fit_error};
use crate::models::supervised::{Btyd, Definition, FeatureSql, NO_LEVEL, Values};
use crate::models::{Control, ModelError};

/// Which customers a frame is of, and what for.
pub struct Wanted<'a> {
    pub definition: &'a Definition,
    pub day: i64,
    /// Every how many-th customer, by code.
    pub step: usize,
    /// Behind the features `bg_nbd_…`; without it, it is fitted as of that day.
    pub btyd: Option<Btyd>,
}

/// About as many features as there are without any of the analyst's: what memory is asked for before they are made.
const USUAL: usize = 50;

/// The features of the eligible customers at the end of a day: built-in ones, columns of `users`, those of `USING FEATURES`, or what TRANSFORM makes of them.
pub async fn features(pin: &QueryPin, wanted: Wanted<'_>, control: &Control) -> Result<Frame> {
    let Definition::Window { days, eligible, features, transform, .. } = wanted.definition else {
        return plan_err!("a model of a query has no features of customers");
    };
    let (snapshot, customers, activity) = (pin.snapshot().await?, pin.customers().await?, pin.activity().await?);
    let (day, step, horizon, given) = (wanted.day, wanted.step, i64::from(*days), wanted.btyd);
    let memory = MemoryConsumer::new("features").register(&pin.state().runtime_env().memory_pool);
    // Those who had purchased; with a condition of the analyst's, all who had done anything.
    let (all, everybody) = (Arc::clone(&customers), eligible.is_some());
    let made = blocking(control.clone(), move |control| {
        let known = |code: usize| {
            if everybody { activity.any(code, day) } else { all.history.of(code).days.first().is_some_and(|&d| i64::from(d) <= day) }
        };
        let codes: Vec<u32> = (0..all.len()).step_by(step).filter(|&c| known(c)).map(|c| c as u32).collect();
        memory.try_grow(Frame::bytes(codes.len(), USUAL))?;
        let (mut table, mut sql) = frame(&all, &activity, &codes, day, horizon);
        let model = match given {
            Some(m) => Some(m),
            None => match btyd(&all, day, control) {
                Err(ModelError::Cancelled) => return Err(fit_error(ModelError::Cancelled)),
                fitted => fitted.ok(),
            },
        };
        if let Some(model) = &model {
            let (more, described) = btyd_features(model, &all, &codes, day, horizon, control).map_err(fit_error)?;
            table.columns.extend(more.columns);
            sql.extend(described);
        }
        Ok(Frame { day, codes, table, sql, btyd: model, memory })
    });
    let mut out = made.await?;
    let as_of_us = end_of_day(day);
    for (name, values) in user_columns(pin, as_of_us).await? {
        let name = if out.table.get(&name).is_some() { format!("users_{name}") } else { name };
        out.sql.push(FeatureSql { name: name.clone(), relation: USERS.into(), sql: name.clone() });
        out.table.columns.push((name, of_codes(&values, &out.codes)));
    }
    if !features.is_empty() {
        let aggregates = Aggregates::parse(pin.state(), &snapshot, features, "USING FEATURES")?;
        let window = Window { from_us: None, to_us: as_of_us, as_of_us };
        for ((name, values), (_, sql)) in aggregates.by_customer(pin.state(), &customers, window).await?.into_iter().zip(features) {
            out.table.columns.retain(|(n, _)| *n != name);
            out.sql.retain(|f| f.name != name);
            out.sql.push(FeatureSql { name: name.clone(), relation: "events".into(), sql: sql.clone() });
            out.table.columns.push((name, of_codes(&values, &out.codes)));
        }
    }
    if let Some(condition) = eligible {
        let rows = batch(&out.table)?;
        let of = over_rows(pin.state(), &rows, &[("eligible".into(), condition.clone())], "WHERE")?;
        let DataType::Boolean = of[0].1.data_type() else {
            return plan_err!("WHERE {condition}: a condition is needed, not a value of type {}", of[0].1.data_type());
        };
        let is = of[0].1.as_boolean();
        let keep: Vec<usize> = (0..out.codes.len()).filter(|&i| is.is_valid(i) && is.value(i)).collect();
        out.codes = keep.iter().map(|&i| out.codes[i]).collect();
        out.table = out.table.take(&keep);
    }
    if let Some(exprs) = transform {
        (out.table, out.sql) = transformed(pin.state(), &batch(&out.table)?, &out.table, exprs, Some(as_of_us))?;
    }
    out.memory.try_resize(Frame::bytes(out.table.rows, out.table.columns.len()))?;
    Ok(out)
}

/// Some rows of a column of all customers.
fn of_codes(values: &Values, codes: &[u32]) -> Values {
    match values {
        Values::Number(v) => Values::Number(codes.iter().map(|&c| v[c as usize]).collect()),
        Values::Level { codes: levels, names } => {
            Values::Level { codes: codes.iter().map(|&c| levels[c as usize]).collect(), names: names.clone() }
        }
    }
}

/// The rows of the relation `users`: `user_id`, then every column that is not nested; no columns where there is no such relation. Read once for a query.
pub async fn users(pin: &QueryPin) -> Result<Arc<RecordBatch>> {
    let read = async {
        let ctx = SessionContext::new_with_state(pin.state().clone());
        let nothing = || Ok(RecordBatch::new_empty(Arc::new(Schema::empty())));
        if !ctx.table_exist(USERS)? {
            return nothing();
        }
        let users = ctx.table(USERS).await?;
        if !users.schema().has_column_with_unqualified_name(USER_ID) {
            return nothing();
        }
        refuse_calls(users.logical_plan(), USERS)?;
        let names: Vec<String> = users
            .schema()
            .fields()
            .iter()
            .filter(|f| f.name() != USER_ID && !f.data_type().is_nested())
            .map(|f| f.name().clone())
            .collect();
        let users = users.select(std::iter::once(ident(USER_ID)).chain(names.iter().map(ident)).collect::<Vec<_>>())?;
        let schema = Arc::clone(users.schema().inner());
        Ok(concat_batches(&schema, &users.collect().await?)?)
    };
    pin.memo().get(USERS.into(), read).await
}

/// The columns of `users` by customer code; dates as days before `as_of`.
async fn user_columns(pin: &QueryPin, as_of_us: i64) -> Result<Vec<(String, Values)>> {
    let users = users(pin).await?;
    if users.num_columns() == 0 {
        return Ok(vec![]);
    }
    let customers = pin.customers().await?;
    let mut place = vec![None; customers.len()];
    for (row, code) in customers.keys.lookup(users.column(0))?.into_iter().enumerate() {
        if code != NO_CODE && place[code as usize].replace(row).is_some() {
            return plan_err!("{USERS} has several rows of one {USER_ID}: one row a user is needed");
        }
    }
    let mut out = vec![];
    for (field, column) in users.schema().fields().iter().zip(users.columns()).skip(1) {
        let by_code = match values_of(std::slice::from_ref(column), Some(as_of_us))? {
            Values::Number(v) => Values::Number(place.iter().map(|p| p.map_or(f64::NAN, |p| v[p])).collect()),
            Values::Level { codes, names } => {
                Values::Level { codes: place.iter().map(|p| p.map_or(NO_LEVEL, |p| codes[p])).collect(), names }
            }
        };
        out.push((field.name().clone(), by_code));
    }
    Ok(out)
}

/// The label of every customer code in the `days` after a day: NaN where there is none.
pub async fn labels(pin: &QueryPin, label: &Aggregates, day: i64, days: i64) -> Result<Vec<f64>> {
    let customers = pin.customers().await?;
    let window = Window { from_us: Some(end_of_day(day)), to_us: end_of_day(day + days), as_of_us: end_of_day(day) };
    match label.by_customer(pin.state(), &customers, window).await?.pop() {
        Some((_, Values::Number(v))) => Ok(v),
        _ => plan_err!(
            "PREDICT: a number or a comparison is needed, such as sum(amount), or count(*) FILTER (WHERE event_type = 'purchase') = 0"
        ),
    }
}
