//! Aggregates an analyst writes over `events`, in a window of time, by customer: labels, and features of their own.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast as cast_array;
use datafusion::arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue, SchemaError, plan_err};
use datafusion::execution::SessionState;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::utils::find_aggregate_exprs;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, col, ident, lit};
use datafusion::prelude::SessionContext;

use super::{Customers, DAY_US, NO_CODE};
use crate::events::Snapshot;
use crate::models::supervised::{NO_LEVEL, Values};
use crate::text::did_you_mean;

/// In an expression: the end of what is known, a timestamp.
const AS_OF: &str = "as_of";

/// Expressions over `events`, parsed; each has aggregates, and no column outside of them.
#[derive(Debug, Clone)]
pub struct Aggregates {
    /// Named columns that the plan over a window answers, after `user_id`.
    exprs: Vec<(String, Expr)>,
    /// Whether each is TRUE or FALSE.
    boolean: Vec<bool>,
    /// The events with the names of the contract.
    events: LogicalPlan,
}

/// A window of time: events after `from_us` (of all time where it is `None`) and up to `to_us`, µs since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub from_us: Option<i64>,
    pub to_us: i64,
    /// The moment that expressions call `as_of`.
    pub as_of_us: i64,
}

/// The columns, for messages.
fn columns(schema: &DFSchema) -> String {
    schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ")
}

/// An expression over a relation; the error of an unknown column names those there are.
pub fn parse(state: &SessionState, schema: &DFSchema, sql: &str, what: &str) -> Result<Expr> {
    state.create_logical_expr(sql, schema).or_else(|e| match e.find_root() {
        DataFusionError::SchemaError(error, _) => {
            let SchemaError::FieldNotFound { field, .. } = error.as_ref() else { return plan_err!("{what} {sql}: {error}") };
            let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            let hint = did_you_mean(&field.name, names.iter().copied(), "", "");
            plan_err!("{what} {sql}: there is no column {}{hint} Columns: {}", field.name, columns(schema))
        }
        root => {
            let message = root.strip_backtrace();
            let message = message.split("\nThis issue was likely caused").next().unwrap_or_default();
            let message =
                ["Internal error: ", "Error during planning: ", "SQL error: "].iter().fold(message, |m, p| m.strip_prefix(p).unwrap_or(m));
            plan_err!("{what} {sql}: {}", message.trim())
        }
    })
}

impl Aggregates {
    /// Expressions with their names, as they are written.
    ///
    /// # Errors
    /// One that does not parse, has an unknown column or no aggregate, or a column outside of an aggregate.
    pub fn parse(state: &SessionState, snapshot: &Snapshot, exprs: &[(String, String)], what: &str) -> Result<Self> {
        let events = snapshot.readable.clone();
        // `as_of` is a timestamp in any expression.
        let mut fields: Vec<_> = events.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        fields.push((None, Arc::new(datafusion::arrow::datatypes::Field::new(AS_OF, time, false))));
        let schema = DFSchema::new_with_metadata(fields, std::collections::HashMap::default())?;
        let (mut out, mut boolean) = (vec![], vec![]);
        for (name, sql) in exprs {
            let expr = zero_for_empty_sums(parse(state, &schema, sql, what)?)?;
            let aggregates = find_aggregate_exprs([&expr]);
            if aggregates.is_empty() {
                return plan_err!(
                    "{what} {sql}: an aggregate over the events of a customer is needed, such as count(*) FILTER (WHERE event_type = 'purchase')"
                );
            }
            let rest = rebase(expr.clone(), &aggregates)?.data;
            let mut loose = None;
            rest.apply(|e| {
                if let Expr::Column(c) = e
                    && c.name != AS_OF
                    && !aggregates.iter().any(|a| a.schema_name().to_string() == c.name)
                {
                    loose = Some(c.name.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
            if let Some(column) = loose {
                return plan_err!(
                    "{what} {sql}: column {column} stands outside of an aggregate: there are many events of one customer. Write max({column}), for example"
                );
            }
            boolean.push(expr.get_type(&schema)? == DataType::Boolean);
            out.push((name.clone(), expr));
        }
        Ok(Self { exprs: out, boolean, events })
    }

    /// Whether the first expression is TRUE or FALSE.
    pub fn is_boolean(&self) -> bool {
        self.boolean.first() == Some(&true)
    }

    /// One value a customer code for each expression: numbers, booleans as 0 and 1, times as days before `as_of`, texts as levels. Customers without an event in
    /// the window have what the expression gives for no events.
    pub async fn by_customer(&self, state: &SessionState, customers: &Customers, window: Window) -> Result<Vec<(String, Values)>> {
        let ctx = SessionContext::new_with_state(state.clone());
        let as_of = lit(ScalarValue::TimestampMicrosecond(Some(window.as_of_us), None));
        let exprs: Vec<(String, Expr)> = self
            .exprs
            .iter()
            .map(|(name, e)| {
                let e = e.clone().transform_up(|e| match e {
                    Expr::Column(c) if c.name == AS_OF && c.relation.is_none() => Ok(Transformed::yes(as_of.clone())),
                    e => Ok(Transformed::no(e)),
                })?;
                Ok((name.clone(), e.data))
            })
            .collect::<Result<_>>()?;
        let in_window = |b: LogicalPlanBuilder| {
            let time = |us: i64| lit(ScalarValue::TimestampMicrosecond(Some(us), None));
            let upto = col("ts").lt_eq(time(window.to_us));
            b.filter(match window.from_us {
                Some(from) => col("ts").gt(time(from)).and(upto),
                None => upto,
            })
        };
        let events = in_window(LogicalPlanBuilder::from(self.events.clone()))?;
        let answered = ctx.execute_logical_plan(aggregate(events.clone(), vec![col("user_id")], &exprs)?).await?.collect().await?;
        let nobody = aggregate(events.filter(lit(false))?, vec![], &exprs)?;
        let nobody = ctx.execute_logical_plan(nobody).await?.collect().await?;
        let mut rows: Vec<Vec<(u32, usize, usize)>> = vec![];
        for (batch, b) in answered.iter().enumerate() {
            let codes = customers.keys.lookup(b.column(0))?;
            rows.push(codes.into_iter().enumerate().filter(|(_, c)| *c != NO_CODE).map(|(row, c)| (c, batch, row)).collect());
        }
        let rows = rows.concat();
        let mut out = vec![];
        for (at, (name, _)) in exprs.iter().enumerate() {
            let column = |batches: &[RecordBatch], skip: usize| -> Result<Vec<ArrayRef>> {
                batches.iter().filter(|b| b.num_rows() > 0).map(|b| plain(b.column(at + skip), Some(window.as_of_us))).collect()
            };
            let empty = column(&nobody, 0)?;
            let answers: Vec<ArrayRef> = answered.iter().map(|b| plain(b.column(at + 1), Some(window.as_of_us))).collect::<Result<_>>()?;
            out.push((name.clone(), spread(customers.len(), &rows, &answers, empty.first())));
        }
        Ok(out)
    }
}

/// Values by code: of `rows` as (code, batch, row), of everybody else the first of `empty`.
fn spread(users: usize, rows: &[(u32, usize, usize)], answers: &[ArrayRef], empty: Option<&ArrayRef>) -> Values {
    let text = empty.or(answers.first()).is_some_and(|a| a.data_type() == &DataType::Utf8);
    if text {
        let of = |a: &ArrayRef, row: usize| a.is_valid(row).then(|| a.as_string::<i32>().value(row).to_owned());
        let nobody = empty.and_then(|a| of(a, 0));
        let mut values: Vec<Option<String>> = vec![nobody; users];
        rows.iter().for_each(|&(code, batch, row)| values[code as usize] = of(&answers[batch], row));
        return match Values::levels(values.iter().map(Option::as_deref)) {
            Values::Level { codes, names } if names.is_empty() => Values::Level { codes: vec![NO_LEVEL; codes.len()], names },
            levels => levels,
        };
    }
    let of = |a: &ArrayRef, row: usize| {
        let a = a.as_primitive::<Float64Type>();
        Some(a).filter(|a| a.is_valid(row)).map(|a| a.value(row)).filter(|v| v.is_finite()).unwrap_or(f64::NAN)
    };
    let mut values = vec![empty.map_or(f64::NAN, |a| of(a, 0)); users];
    rows.iter().for_each(|&(code, batch, row)| values[code as usize] = of(&answers[batch], row));
    Values::Number(values)
}

/// A column as Float64 or Utf8: times as days before `as_of_us`, or since 1970 where there is no such moment.
pub fn plain(column: &ArrayRef, as_of_us: Option<i64>) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Boolean => cast_array(column, &DataType::Float64)?,
        t if t.is_numeric() => cast_array(column, &DataType::Float64)?,
        DataType::Null => cast_array(column, &DataType::Float64)?,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            let us = cast_array(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            let days = us.as_primitive::<TimestampMicrosecondType>().iter().map(|t| match as_of_us {
                None => t.map(|t| t as f64 / DAY_US as f64),
                // What lies after the end of what is known is not known.
                Some(as_of_us) => t.filter(|t| *t <= as_of_us).map(|t| (as_of_us - t) as f64 / DAY_US as f64),
            });
            Arc::new(days.collect::<datafusion::arrow::array::Float64Array>())
        }
        t if t.is_nested() => {
            return plan_err!("a value of type {t} cannot be a feature or a label: take numbers, booleans, dates or texts out of it");
        }
        _ => cast_array(column, &DataType::Utf8)?,
    })
}

/// `sum(x)` of no events is 0, as a label and as a feature.
fn zero_for_empty_sums(expr: Expr) -> Result<Expr> {
    let out = expr.transform_up(|e| match &e {
        Expr::AggregateFunction(f) if f.func.name() == "sum" => {
            let zero = datafusion::functions::expr_fn::coalesce(vec![e, lit(0)]);
            Ok(Transformed::yes(zero))
        }
        _ => Ok(Transformed::no(e)),
    })?;
    Ok(out.data)
}

/// An expression in which the aggregates are columns of their names.
fn rebase(expr: Expr, aggregates: &[Expr]) -> Result<Transformed<Expr>> {
    expr.transform_down(|e| {
        if aggregates.contains(&e) {
            return Ok(Transformed::new(ident(e.schema_name().to_string()), true, TreeNodeRecursion::Jump));
        }
        Ok(Transformed::no(e))
    })
}

/// `user_id` and the expressions, by the groups.
fn aggregate(events: LogicalPlanBuilder, groups: Vec<Expr>, exprs: &[(String, Expr)]) -> Result<LogicalPlan> {
    let mut aggregates = find_aggregate_exprs(exprs.iter().map(|(_, e)| e));
    let mut columns: Vec<Expr> = groups.clone();
    for (name, e) in exprs {
        columns.push(rebase(e.clone(), &aggregates)?.data.alias(name));
    }
    // Never none at all.
    aggregates.push(count(lit(true)).alias("__rows"));
    let plan = events.aggregate(groups, aggregates)?;
    plan.project(columns)?.build()
}

/// Expressions over the columns of some rows, answered for every row in its place. There are no aggregates in them.
pub fn over_rows(state: &SessionState, rows: &RecordBatch, exprs: &[(String, String)], what: &str) -> Result<Vec<(String, ArrayRef)>> {
    let schema = DFSchema::try_from(rows.schema())?;
    let one = |(name, sql): &(String, String)| {
        let expr = parse(state, &schema, sql, what)?;
        if !find_aggregate_exprs([&expr]).is_empty() {
            return plan_err!("{what} {sql}: an aggregate cannot stand here: these are expressions over the features of one row");
        }
        let value = state.create_physical_expr(expr, &schema)?.evaluate(rows)?;
        Ok((name.clone(), value.into_array(rows.num_rows())?))
    };
    exprs.iter().map(one).collect()
}
