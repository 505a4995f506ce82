//! What is wrong with the rows of an event log.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{DFSchema, Result};
use datafusion::execution::SessionState;
use datafusion::functions::string::expr_fn::{btrim, lower};
use datafusion::functions_aggregate::expr_fn::{count, first_value, sum};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, col, lit, when};

use super::contract::{Contract, EventColumn, quote};
use super::kernels::{kind_of, money_of};
use super::kinds::kind;
use super::snapshot::{Snapshot, run};
use crate::config::TenureConfig;
use crate::features::DAY_US;

/// Something to look for: rows where `bad` holds.
struct Check {
    name: &'static str,
    column: String,
    bad: Expr,
    severity: &'static str,
    fix: String,
}

pub fn data_quality_schema() -> SchemaRef {
    let text = |n: &str| Field::new(n, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        text("check"),
        text("column"),
        Field::new("rows_bad", DataType::Int64, true),
        Field::new("share", DataType::Float64, true),
        text("severity"),
        text("example"),
        text("fix_sql"),
    ]))
}

/// Known event types as they are spelt in the log, with the kind each is taken for; at most this many.
const MAX_SPELLINGS: usize = 1000;

async fn spellings(state: &SessionState, raw: &LogicalPlan, contract: &Contract, config: &TenureConfig) -> Result<Vec<(String, i8)>> {
    let Some(event_type) = contract.expr(raw.schema(), EventColumn::EventType) else { return Ok(vec![]) };
    let map = config.event_map();
    let plan = LogicalPlanBuilder::from(raw.clone())
        .filter(kind_of(event_type.clone(), None, map.clone()).not_eq(lit(kind::OTHER)))?
        .aggregate(vec![cast(event_type, DataType::Utf8).alias("spelling")], Vec::<Expr>::new())?
        .sort_with_limit(vec![col("spelling").sort(true, true)], Some(MAX_SPELLINGS))?
        .build()?;
    let batches = run(state, plan).await?;
    let texts = batches.iter().flat_map(|b| b.column(0).as_string::<i32>().iter().flatten());
    Ok(texts.map(|t| (t.to_owned(), map.code(t))).collect())
}

/// Checks over one row at a time.
fn checks(contract: &Contract, schema: &DFSchema, config: &TenureConfig, spellings: &[(String, i8)]) -> Vec<Check> {
    let map = config.event_map();
    let mut out: Vec<Check> = vec![];
    let mut add = |name, c: EventColumn, bad, severity, fix: String| {
        out.push(Check { name, column: contract.column(c).unwrap_or("").to_owned(), bad, severity, fix });
    };
    let name = |c: EventColumn| quote(contract.column(c).unwrap_or_default());
    let get = |c| contract.expr(schema, c);
    if let Some(user) = get(EventColumn::UserId) {
        let own = name(EventColumn::UserId);
        add("no user", EventColumn::UserId, user.clone().is_null(), "error", format!("WHERE {own} IS NOT NULL"));
        if matches!(contract.user_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
            let blank = btrim(vec![user.clone()]).eq(lit(""));
            add("blank user", EventColumn::UserId, blank, "warning", format!("WHERE trim({own}) <> ''"));
        }
    }
    if let Some(ts) = get(EventColumn::Ts) {
        let own = name(EventColumn::Ts);
        add("no time", EventColumn::Ts, ts.clone().is_null(), "error", format!("WHERE {own} IS NOT NULL"));
        let day = cast(ts, DataType::Date32);
        add(
            "before 1990",
            EventColumn::Ts,
            day.clone().lt(cast(lit("1990-01-01"), DataType::Date32)),
            "warning",
            format!("WHERE {own} >= '1990-01-01'"),
        );
        let today = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64) / DAY_US;
        let tomorrow = cast(lit(today as i32 + 1), DataType::Date32);
        add("in the future", EventColumn::Ts, day.gt(tomorrow), "warning", format!("WHERE {own} <= now()"));
    }
    let money = get(EventColumn::Amount).map(money_of);
    let code = get(EventColumn::EventType).map(|t| kind_of(t, None, map));
    if let (Some(t), Some(code)) = (get(EventColumn::EventType), &code) {
        let own = name(EventColumn::EventType);
        add("no event type", EventColumn::EventType, t.clone().is_null(), "warning", format!("coalesce({own}, 'purchase') AS event_type"));
        let unknown = code.clone().eq(lit(kind::OTHER)).and(t.clone().is_not_null());
        let fix = "SET tenure.event_map = '<spelling>=purchase,...'".to_owned();
        add("unknown event type", EventColumn::EventType, unknown, "warning", fix);
        let canonical = kind::NAMES.iter().map(|n| lit(*n)).collect();
        let other = datafusion::logical_expr::in_list(cast(t, DataType::Utf8), canonical, true).and(code.clone().not_eq(lit(kind::OTHER)));
        let name = |code: &i8| kind::NAMES.get(*code as usize - 1).copied().unwrap_or_default();
        let known = spellings.iter().filter(|(text, code)| text != name(code));
        let cases: String = known.map(|(text, code)| format!(" WHEN {} THEN '{}'", literal(text), name(code))).collect();
        let fix = format!("CASE {own}{cases} ELSE {own} END AS event_type");
        add("event type by another spelling", EventColumn::EventType, other, "info", fix);
    }
    let purchase = code.clone().map_or(lit(true), |c| c.eq(lit(kind::PURCHASE)));
    // In a log of several types a fix concerns its own rows only: views have no amount, and signups no item.
    let own_type = contract.column(EventColumn::EventType).map(quote);
    let spelt = |kinds: &[i8]| {
        let of_kinds = spellings.iter().filter(|(_, code)| kinds.contains(code));
        of_kinds.map(|(text, _)| literal(text)).collect::<Vec<_>>().join(", ")
    };
    let only = |kinds: &[i8], keep: String| match &own_type {
        Some(t) => format!("WHERE coalesce({t} NOT IN ({}), true) OR {keep}", spelt(kinds)),
        None => format!("WHERE {keep}"),
    };
    if let (Some(money), Some(amount)) = (money, get(EventColumn::Amount)) {
        let own = name(EventColumn::Amount);
        add(
            "purchase without amount",
            EventColumn::Amount,
            purchase.clone().and(amount.clone().is_null()),
            "warning",
            only(&[kind::PURCHASE], format!("{own} IS NOT NULL")),
        );
        let absurd = amount.is_not_null().and(money.clone().is_null());
        let fix = format!("WHERE {own} IS NULL OR abs({own}) < 9e12");
        add("amount not finite, or beyond 9e12", EventColumn::Amount, absurd, "error", fix);
        add(
            "purchase of zero",
            EventColumn::Amount,
            purchase.clone().and(money.clone().eq(lit(0i64))),
            "warning",
            only(&[kind::PURCHASE], format!("coalesce({own} <> 0, true)")),
        );
        let negative = purchase.clone().and(money.lt(lit(0i64)));
        let fix = match &own_type {
            Some(t) => format!("CASE WHEN {own} < 0 AND {t} IN ({}) THEN 'refund' ELSE {t} END AS event_type", spelt(&[kind::PURCHASE])),
            None => format!("CASE WHEN {own} < 0 THEN 'refund' ELSE 'purchase' END AS event_type"),
        };
        add("purchase of negative amount: taken as a refund", EventColumn::Amount, negative, "info", fix);
    }
    if let Some(item) = get(EventColumn::ItemId) {
        let own = name(EventColumn::ItemId);
        let needs = code.map_or(lit(true), |c| {
            let kinds = [kind::PURCHASE, kind::VIEW, kind::CART, kind::RATING].map(lit).to_vec();
            datafusion::logical_expr::in_list(c, kinds, false)
        });
        let fix = only(&[kind::PURCHASE, kind::VIEW, kind::CART, kind::RATING], format!("{own} IS NOT NULL"));
        add("no item", EventColumn::ItemId, needs.and(item.clone().is_null()), "warning", fix);
        if matches!(contract.item_type, Some(DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)) {
            let uneven = lower(btrim(vec![item.clone()])).not_eq(lower(item.clone()));
            add("item with spaces around it", EventColumn::ItemId, uneven, "warning", format!("trim({own}) AS item_id"));
        }
    }
    out
}

/// The problems of a relation: columns `check, column, rows_bad, share, severity, example, fix_sql`, problems first.
pub async fn data_quality(state: &SessionState, config: &TenureConfig, relation: &str) -> Result<RecordBatch> {
    let (contract, raw) = Snapshot::source(state, relation).await?;
    let spellings = spellings(state, &raw, &contract, config).await?;
    let checks = checks(&contract, raw.schema(), config, &spellings);
    let columns: Vec<Expr> = contract.columns.iter().filter_map(|(c, _)| contract.expr(raw.schema(), *c)).collect();
    let names = contract.columns.iter().map(|(c, _)| lit(c.name()));
    let row_text =
        datafusion::functions::core::expr_fn::named_struct(names.zip(columns.iter().cloned()).flat_map(|(n, e)| [n, e]).collect());
    let mut figures = vec![count(lit(1)).alias("total")];
    for (i, c) in checks.iter().enumerate() {
        let bad = datafusion::functions::core::expr_fn::coalesce(vec![c.bad.clone(), lit(false)]);
        figures.push(sum(when(bad, lit(1i64)).otherwise(lit(0i64))?).alias(format!("bad_{i}")));
    }
    let counts = run(state, LogicalPlanBuilder::from(raw.clone()).aggregate(Vec::<Expr>::new(), figures)?.build()?).await?;
    let number =
        |i: usize| counts.first().map(|b| b.column(i).as_primitive::<Int64Type>()).filter(|a| a.is_valid(0)).map_or(0, |a| a.value(0));
    let total = number(0);
    let mut findings: Vec<Finding> = vec![];
    if total == 0 {
        let check = format!("'{relation}' has no rows");
        findings.push(Finding { check, column: "*".into(), rows_bad: 0, severity: "error", example: None, fix: None });
    }
    for (i, c) in checks.into_iter().enumerate() {
        let rows_bad = number(i + 1);
        let example = if rows_bad > 0 { example(state, &raw, &c.bad, &columns, &row_text).await? } else { None };
        let severity = if rows_bad > 0 { c.severity } else { "ok" };
        findings.push(Finding {
            check: c.name.into(),
            column: c.column,
            rows_bad,
            severity,
            example,
            fix: (rows_bad > 0).then_some(c.fix),
        });
    }
    findings.push(duplicates(state, &raw).await?);
    findings.extend(accepted_names(&contract));
    findings.sort_by_key(|f| (rank(f.severity), -f.rows_bad));
    batch(&findings, total)
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

struct Finding {
    check: String,
    column: String,
    rows_bad: i64,
    severity: &'static str,
    example: Option<String>,
    fix: Option<String>,
}

fn rank(severity: &str) -> usize {
    ["error", "warning", "info", "ok"].iter().position(|s| *s == severity).unwrap_or(4)
}

/// The first bad row by its `columns`: the same one whatever the order of rows.
async fn example(state: &SessionState, raw: &LogicalPlan, bad: &Expr, columns: &[Expr], row: &Expr) -> Result<Option<String>> {
    let plan = LogicalPlanBuilder::from(raw.clone())
        .filter(bad.clone())?
        .sort_with_limit(columns.iter().map(|c| c.clone().sort(true, true)), Some(1))?
        .project(vec![row.clone().alias("row")])?
        .build()?;
    let batches = run(state, plan).await?;
    let Some(b) = batches.iter().find(|b| b.num_rows() > 0) else { return Ok(None) };
    let options = FormatOptions::default().with_null("NULL");
    Ok(Some(ArrayFormatter::try_new(b.column(0).as_ref(), &options)?.value(0).to_string()))
}

/// Rows that are there more than once, column for column.
async fn duplicates(state: &SessionState, raw: &LogicalPlan) -> Result<Finding> {
    let columns: Vec<Expr> = raw.schema().columns().into_iter().map(Expr::Column).collect();
    let plan = LogicalPlanBuilder::from(raw.clone())
        .aggregate(columns, vec![count(lit(1)).alias("__times")])?
        .aggregate(Vec::<Expr>::new(), vec![sum(col("__times") - lit(1i64)), first_value(col("__times"), vec![])])?
        .build()?;
    let batches = run(state, plan).await?;
    let extra = batches.first().map(|b| b.column(0).as_primitive::<Int64Type>()).filter(|a| a.is_valid(0)).map_or(0, |a| a.value(0));
    Ok(Finding {
        check: "exact duplicate".into(),
        column: "*".into(),
        rows_bad: extra,
        severity: if extra > 0 { "warning" } else { "ok" },
        example: None,
        fix: (extra > 0).then(|| "SELECT DISTINCT ...".to_owned()),
    })
}

/// Columns that are used under a name other than the contract's.
fn accepted_names(contract: &Contract) -> Vec<Finding> {
    let other = contract.columns.iter().filter(|(c, own)| own != c.name());
    other
        .map(|(c, own)| Finding {
            check: format!("used as {}", c.name()),
            column: own.clone(),
            rows_bad: 0,
            severity: "info",
            example: None,
            fix: Some(format!("{} AS {}", quote(own), c.name())),
        })
        .collect()
}

fn batch(findings: &[Finding], total: i64) -> Result<RecordBatch> {
    let share = |f: &Finding| if total == 0 { 0.0 } else { f.rows_bad as f64 / total as f64 };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(findings.iter().map(|f| &f.check))),
        Arc::new(StringArray::from_iter_values(findings.iter().map(|f| &f.column))),
        Arc::new(Int64Array::from_iter_values(findings.iter().map(|f| f.rows_bad))),
        Arc::new(Float64Array::from_iter_values(findings.iter().map(share))),
        Arc::new(StringArray::from_iter_values(findings.iter().map(|f| f.severity))),
        Arc::new(findings.iter().map(|f| f.example.as_deref()).collect::<StringArray>()),
        Arc::new(findings.iter().map(|f| f.fix.as_deref()).collect::<StringArray>()),
    ];
    Ok(RecordBatch::try_new(data_quality_schema(), columns)?)
}
