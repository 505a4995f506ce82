//! What part of an amount is earned: `tenure.margin`, or `items.margin`.

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, plan_err};
use datafusion::execution::SessionState;
use datafusion::functions::expr_fn::abs;
use datafusion::functions_aggregate::expr_fn::{max, sum};
use datafusion::logical_expr::{JoinType, cast, col, ident, lit};
use datafusion::prelude::{DataFrame, SessionContext};
use twox_hash::XxHash3_64;

use super::binding::refuse_calls;
use crate::config::TenureConfig;
use crate::events::{EventColumn, Snapshot, kind};
use crate::features::{Customers, ITEMS, NO_CODE};
use crate::functions::Margins;

/// The key of the relation of items, and the margin.
const ITEM_ID: &str = "item_id";
const MARGIN: &str = "margin";

/// `tenure.margin`; or each customer's margin on the items they bought, everybody's for who bought none with a margin; or 1.
pub async fn read(state: &SessionState, config: &TenureConfig, snapshot: &Snapshot, customers: &Customers) -> Result<Margins> {
    if let Some(margin) = config.margin() {
        return Ok(Margins::All(margin));
    }
    let ctx = SessionContext::new_with_state(state.clone());
    let needed = [EventColumn::Amount, EventColumn::ItemId].iter().all(|c| snapshot.contract.has(*c));
    let items = match needed && ctx.table_exist(ITEMS)? {
        true => ctx.table(ITEMS).await?,
        false => return Ok(Margins::All(1.0)),
    };
    if !items.schema().has_column_with_unqualified_name(MARGIN) || !items.schema().has_column_with_unqualified_name(ITEM_ID) {
        return Ok(Margins::All(1.0));
    }
    refuse_calls(items.logical_plan(), ITEMS)?;
    let number = |e| cast(e, DataType::Float64);
    let margins = items.select(vec![ident(ITEM_ID).alias("margin_item"), number(ident(MARGIN)).alias(MARGIN)])?;
    let spent = number(col("millionths"));
    let bought = DataFrame::new(state.clone(), snapshot.plan.clone()).filter(col("kind").eq(lit(kind::PURCHASE)))?.join(
        margins,
        JoinType::Inner,
        &["item_id"],
        &["margin_item"],
        Some(col(MARGIN).is_not_null().and(col("millionths").gt(lit(0)))),
    )?;
    let sums = vec![sum(spent.clone() * col(MARGIN)).alias("earned"), sum(spent).alias("spent"), max(abs(col(MARGIN))).alias("largest")];
    let batches = bought.aggregate(vec![col("user_id")], sums)?.collect().await?;
    let mut of = vec![(0.0, 0.0); customers.len()];
    for b in &batches {
        let codes = customers.keys.lookup(b.column(0))?;
        let figure = |at: usize| b.column(at).as_primitive::<Float64Type>();
        for (i, &code) in codes.iter().enumerate().filter(|(_, c)| **c != NO_CODE) {
            // Not a number is no share either.
            if figure(3).value(i).is_nan() || figure(3).value(i) > 1.0 {
                return plan_err!("{ITEMS}.{MARGIN} = {}: a margin is a share of the amount from -1 to 1", figure(3).value(i));
            }
            of[code as usize] = (figure(1).value(i), figure(2).value(i));
        }
    }
    // In the order of the customers, so that the total does not depend on threads.
    let (earned, spent) = of.iter().fold((0.0, 0.0), |(e, s), (earned, spent)| (e + earned, s + spent));
    // Without the digits that depend on the order in which threads add.
    let rounded = |share: f64| (share * 1e9).round() / 1e9;
    let all = if spent > 0.0 { rounded(earned / spent) } else { 1.0 };
    Ok(Margins::ByCode(of.into_iter().map(|(earned, spent)| if spent > 0.0 { rounded(earned / spent) } else { all }).collect()))
}

/// A number for margins.
pub fn hash_of(margins: &Margins) -> u64 {
    match margins {
        Margins::All(margin) => margin.to_bits(),
        Margins::ByCode(margins) => margins.iter().fold(1, |hash, m| XxHash3_64::oneshot_with_seed(hash, &m.to_le_bytes())),
    }
}
