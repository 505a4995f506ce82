//! What each capability needs of the data, beside what there is.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;

use super::contract::{Contract, EventColumn};

/// What has been counted of a snapshot.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// Customers with a purchase, and with purchases on two days.
    pub buyers: usize,
    pub repeat_buyers: usize,
    /// Repeat buyers whose repeat purchases have a positive mean value.
    pub valued_repeat_buyers: usize,
    /// Days from the first event to as_of.
    pub days: f64,
    pub items: usize,
    /// Distinct (user, item) pairs.
    pub pairs: usize,
}

struct Row {
    capability: &'static str,
    requirement: &'static str,
    needed: f64,
    /// From here on the answer is not thin.
    comfortable: f64,
    actual: f64,
    advice: &'static str,
}

fn rows(contract: &Contract, facts: &Facts) -> Vec<Row> {
    let has = |c| f64::from(u8::from(contract.has(c)));
    let row =
        |capability, requirement, needed, comfortable, actual, advice| Row { capability, requirement, needed, comfortable, actual, advice };
    let (buyers, repeat) = (facts.buyers as f64, facts.repeat_buyers as f64);
    vec![
        row(
            "churn",
            "customers with a purchase",
            2.0,
            200.0,
            buyers,
            "load more of the log, or customers of every kind: not only the loyal ones",
        ),
        row(
            "churn",
            "customers who purchased on two days",
            2.0,
            50.0,
            repeat,
            "a longer log: without repeat purchases nobody's rate can be known",
        ),
        row("churn", "days of history", 14.0, 180.0, facts.days, "a longer log: about twice the horizon is comfortable"),
        row("clv", "column amount", 1.0, 1.0, has(EventColumn::Amount), "add the value of each purchase to the view AS amount"),
        row(
            "clv",
            "repeat buyers with a positive value",
            2.0,
            50.0,
            facts.valued_repeat_buyers as f64,
            "check the sign and the NULLs of amount with data_quality()",
        ),
        row(
            "clv",
            "customers who purchased on two days",
            2.0,
            50.0,
            repeat,
            "a longer log: without repeat purchases nobody's rate can be known",
        ),
        row("segments", "customers with a purchase", 1.0, 50.0, buyers, "load more of the log"),
        row("recommendations", "column item_id", 1.0, 1.0, has(EventColumn::ItemId), "add the item of each event to the view AS item_id"),
        row("recommendations", "distinct items", 2.0, 50.0, facts.items as f64, "events of more items"),
        row(
            "recommendations",
            "distinct user-item pairs",
            2.0,
            1000.0,
            facts.pairs as f64,
            "a longer log, or views and carts besides purchases",
        ),
    ]
}

pub fn readiness_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("capability", DataType::Utf8, false),
        Field::new("requirement", DataType::Utf8, false),
        Field::new("needed", DataType::Float64, false),
        Field::new("actual", DataType::Float64, false),
        Field::new("ok", DataType::Boolean, false),
        Field::new("advice", DataType::Utf8, true),
    ]))
}

/// One row a requirement.
pub fn readiness(contract: &Contract, facts: &Facts) -> Result<RecordBatch> {
    let rows = rows(contract, facts);
    let advice = |r: &Row| match () {
        () if r.actual < r.needed => Some(r.advice.to_owned()),
        () if r.actual < r.comfortable => Some(format!("thin: {} is comfortable. {}", r.comfortable, r.advice)),
        () => None,
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.capability))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.requirement))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.needed))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.actual))),
        Arc::new(rows.iter().map(|r| Some(r.actual >= r.needed)).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(advice).collect::<StringArray>()),
    ];
    Ok(RecordBatch::try_new(readiness_schema(), columns)?)
}
