//! Arguments and texts that several functions share.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::common::Result;
use datafusion::logical_expr::{Signature, TypeSignature, Volatility};

use super::args::CallArgs;
use super::customer::Kernel;
use super::pin::{Pin, Versioned, blocking};
use super::prelude::fit_error;
use super::spec::{ArgKind, Argument, Form, FunctionSpec};
use crate::events::EventColumn;
use crate::features::{Context, Purchasers};
use crate::models::lifetime::{Counts, Interval, Lifetime};
use crate::models::{Control, ModelError};

pub const USER: Argument = Argument { name: "user_id", kind: ArgKind::User, default: None, about: "the customer's key" };

pub const MODEL: Argument =
    Argument { name: "model", kind: ArgKind::Model, default: Some("auto"), about: "a model made by CREATE MODEL; default: the auto model" };

pub const fn horizon(default: &'static str) -> Argument {
    Argument { name: "horizon", kind: ArgKind::Days, default: Some(default), about: "length of the future window, from as_of" }
}

/// A horizon that may be without an end.
pub const fn endless_horizon(default: &'static str) -> Argument {
    Argument { kind: ArgKind::DaysOrInfinity, about: "length of the future window, from as_of, or 'infinity'", ..horizon(default) }
}

pub const LEVEL: Argument =
    Argument { name: "level", kind: ArgKind::Share, default: Some("0.9"), about: "probability that the value lies in the interval" };

pub const FOLDS: Argument = Argument { name: "folds", kind: ArgKind::Count, default: Some("4"), about: "number of hold-outs" };

pub const HOLDOUT: Argument = Argument {
    name: "holdout",
    kind: ArgKind::Days,
    default: Some("the model's"),
    about: "length of a hold-out, at most a third of the log",
};

pub const NULLS: &str =
    "NULL user → NULL. A user who is not in `events` → NULL. Known, but never purchased → NULL. One purchase → the model's posterior.";

pub const BG_NBD: &str = "The lifetime model by maximum likelihood, of the type that a tournament chose or that was named. In BG/NBD: purchases at a customer's own rate λ ~ Gamma(r, α) while alive, and after each purchase the customer leaves with probability p ~ Beta(a, b).";

pub const FHL: &str =
    "Fader, Hardie & Lee (2005), \"Counting your customers\" the easy way: an alternative to the Pareto/NBD model, Marketing Science 24(2)";

/// What clv_low and clv_high have in common.
pub const END_OF_INTERVAL: FunctionSpec = FunctionSpec {
    name: "",
    section: "Customer value",
    form: Form::Scalar,
    arguments: &[USER, horizon("365"), MODEL, LEVEL],
    returns: "Float64",
    unit: "the currency's unit, as in amount",
    columns: &[],
    summary: "",
    behaviour: &[
        "A predictive interval: how many purchases there will be, what they will be worth, and how uncertain the model's parameters are.",
        "Half of what is left out lies on either side. Where more than that half is at nothing at all, the interval begins at 0 and all that is left out lies above it.",
        "clv(user_id) of the same arguments lies in it.",
        "The intervals of customers do not add up: clv_sum(user_id) has that of a total.",
    ],
    nulls: NULLS,
    method: "Quantiles of the compound distribution of purchases (the model's) and spend (beta prime, from gamma-gamma), widened by the variance that the parameters' covariance adds.",
    source: FHL,
    limits: "Given the model: a season that is to come, or a change of the market, is in no interval. Measured coverage is in docs/methods.md, and for a model in backtest().",
    example: "",
};

/// One value a purchaser, computed by a lifetime model away from the query's threads.
pub async fn by_lifetime(
    pin: &dyn Pin,
    model: Option<&str>,
    compute: impl FnOnce(&Lifetime, &Purchasers, Counts<'_>, &Control) -> Result<Vec<f64>, ModelError> + Send + 'static,
) -> Result<Kernel> {
    let (customers, fitted) = (pin.customers().await?, pin.lifetime(model).await?);
    let context = context(pin, &fitted).await?;
    blocking(Control::default(), move |control| {
        let p = customers.today();
        let known = context.of(p);
        let values = compute(&fitted.model, p, p.counts_with(&known), control).map_err(fit_error)?;
        Ok(Kernel::Values(Arc::new(p.column(customers.len(), &values))))
    })
    .await
}

/// One figure of the predictive interval of every purchaser's value.
pub async fn intervals(pin: &dyn Pin, args: &CallArgs, figure: fn(Interval) -> f64) -> Result<Kernel> {
    need_amount(pin, args.spec.name).await?;
    let days = args.days("horizon", pin.snapshot().await?.as_of_us, 365.0);
    let (rate, level) = (pin.config().discount_rate(), args.number("level", 0.9));
    let (customers, fitted, margins) = (pin.customers().await?, pin.lifetime(args.text("model")).await?, pin.margins().await?);
    let key = format!("intervals {} {days} {rate} {level}", label(&fitted));
    let context = context(pin, &fitted).await?;
    let all = Arc::clone(&customers);
    // Both ends come of one calculation.
    let make = blocking(Control::default(), move |control| {
        let p = all.today();
        let known = context.of(p);
        fitted.model.intervals(p.counts_with(&known), p.spending(), days, rate, level, control).map_err(fit_error)
    });
    let intervals = pin.memo().get(key, make).await?;
    let p = customers.today();
    // A margin below 0 turns the interval about.
    let one = |(i, code): (&Interval, &u32)| match margins.of(*code) {
        m if m < 0.0 => m * figure(Interval { value: i.value, low: i.high, high: i.low }),
        m => m * figure(*i),
    };
    Ok(values(p.column(customers.len(), &intervals.iter().zip(&p.codes).map(one).collect::<Vec<_>>())))
}

/// What a model with covariates needs besides the purchases.
pub async fn context(pin: &dyn Pin, fitted: &Versioned<Lifetime>) -> Result<Arc<Context>> {
    let read = async {
        let mut out = Context::default();
        let wanted = fitted.model.purchases.covariates();
        if !wanted.is_empty() {
            let column = |name: &'_ String| name.split_once('=').map_or(name.as_str(), |(column, _)| column).to_owned();
            let mut columns: Vec<String> = wanted.iter().map(column).collect();
            columns.dedup();
            out.users = Some(pin.covariates(&columns.join(", "), Some(wanted)).await?);
        }
        let days = fitted.model.purchases.calendar();
        if !days.is_empty() {
            out.calendar = Some(pin.calendar(&days.join(", ")).await?);
        }
        Ok(out)
    };
    pin.memo().get(format!("context {}", label(fitted)), read).await
}

/// The error of a value function on events without an amount.
pub async fn need_amount(pin: &dyn Pin, function: &str) -> Result<()> {
    let snapshot = pin.snapshot().await?;
    if snapshot.contract.has(EventColumn::Amount) {
        let customers = pin.customers().await?;
        if customers.valued_orders.iter().all(|n| *n == 0) {
            return Err(fit_error(ModelError::TooLittleData(format!("{function}() needs amounts: no purchase has one"))));
        }
        return Ok(());
    }
    let relation = &snapshot.contract.relation;
    let why = format!("{function}() needs an amount, which '{relation}' does not have (also accepted: revenue, value, total)");
    Err(fit_error(ModelError::TooLittleData(why)))
}

/// The values of a kernel of Float64 values.
pub fn floats(kernel: &Kernel) -> Option<&Float64Array> {
    use datafusion::arrow::array::AsArray;
    match kernel {
        Kernel::Values(v) => v.as_primitive_opt::<datafusion::arrow::datatypes::Float64Type>(),
        Kernel::Lists(_) => None,
    }
}

/// A column of one value a customer code.
pub fn values(array: impl datafusion::arrow::array::Array + 'static) -> Kernel {
    Kernel::Values(Arc::new(array) as ArrayRef)
}

/// The signature of a function whose types it checks itself, with the names of its arguments.
pub fn named(spec: &FunctionSpec, volatility: Volatility) -> Signature {
    let plain = Signature::new(TypeSignature::UserDefined, volatility);
    let names: Vec<&str> = spec.arguments.iter().map(|a| a.name).collect();
    plain.clone().with_parameter_names(names).unwrap_or(plain)
}

/// The type in which values of two types are compared: what has no type of its own takes the other's, two types meet as text.
pub fn meeting(a: &DataType, b: &DataType) -> DataType {
    match (a, b) {
        _ if a == b || b.is_null() => a.clone(),
        _ if a.is_null() => b.clone(),
        _ => DataType::Utf8,
    }
}

/// The type of lists of rows.
pub fn list_type(fields: Fields) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Struct(fields), true)))
}

/// One list of rows for each of `valid`, NULL where it is not: list i has the rows from `offsets[i]` to `offsets[i + 1]`.
pub fn lists_of(fields: Fields, columns: Vec<ArrayRef>, offsets: Vec<i32>, valid: Vec<bool>) -> Result<ArrayRef> {
    let rows = StructArray::try_new(fields.clone(), columns, None)?;
    let field = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(rows), Some(NullBuffer::from(valid)))?))
}

/// What `model_version` shows.
pub fn label<M>(v: &Versioned<M>) -> String {
    format!("{} v{}", v.name, v.version)
}

/// The columns of a table function whose types are written in its spec: Utf8, Int64, Float64, Boolean, Timestamp.
pub fn schema_of(spec: &FunctionSpec) -> SchemaRef {
    let one = |(name, t, _): &super::spec::ColumnSpec| {
        let t = match *t {
            "Utf8" => DataType::Utf8,
            "Int64" => DataType::Int64,
            "Boolean" => DataType::Boolean,
            "Timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
            _ => DataType::Float64,
        };
        Field::new(*name, t, true)
    };
    Arc::new(Schema::new(spec.columns.iter().map(one).collect::<Vec<_>>()))
}

/// The rows of such a function: all its columns, of which those of the projection are taken.
pub fn rows_of(spec: &FunctionSpec, columns: Vec<ArrayRef>, projection: &[usize]) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(schema_of(spec), columns)?.project(projection)?)
}

/// Columns made of rows.
pub fn floats_of<R>(rows: &[R], of: impl Fn(&R) -> Option<f64>) -> ArrayRef {
    Arc::new(rows.iter().map(|r| of(r).filter(|v| v.is_finite())).collect::<Float64Array>())
}

pub fn integers_of<R>(rows: &[R], of: impl Fn(&R) -> u64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| of(r) as i64)))
}

pub fn texts_of<R>(rows: &[R], of: impl Fn(&R) -> Option<String>) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<StringArray>())
}
