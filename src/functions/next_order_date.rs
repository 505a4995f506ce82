//! `next_order_date(user_id)`: when the next purchase is to be expected.

use datafusion::arrow::array::TimestampMicrosecondArray;
use datafusion::arrow::datatypes::TimeUnit;
use datafusion::common::internal_err;

use super::common::{BG_NBD, FHL, MODEL, NULLS, USER, by_lifetime, floats};
use super::prelude::*;
use crate::features::DAY_US;

#[derive(Debug)]
pub struct NextOrderDate;

static SPEC: FunctionSpec = FunctionSpec {
    name: "next_order_date",
    section: "Customer value",
    form: Form::Scalar,
    arguments: &[USER, MODEL],
    returns: "Timestamp",
    unit: "UTC",
    columns: &[],
    summary: "The day by which the next purchase has come with probability one half, if the customer comes again.",
    behaviour: &[
        "The median of the wait of those who come again; how likely that is says p_alive, or purchase_prob.",
        "NULL where it lies more than 274 years ahead: a purchase that is not in sight.",
    ],
    nulls: NULLS,
    method: BG_NBD,
    source: FHL,
    limits: "To a hundredth of the wait.",
    example: "SELECT user_id, next_order_date(user_id) AS next, round(p_alive(user_id), 2) AS alive FROM customers() ORDER BY user_id LIMIT 3",
};

#[async_trait]
impl CustomerFunction for NextOrderDate {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, None)
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let as_of_us = pin.snapshot().await?.as_of_us;
        let days =
            by_lifetime(pin, args.text("model"), |model, _, counts, control| model.purchases.next_purchase_all(counts, control)).await?;
        let Some(days) = floats(&days) else { return internal_err!("waits are Float64") };
        // Whole days: no model knows the hour.
        let date = |days: Option<f64>| days.map(|d| (as_of_us + (d * DAY_US as f64) as i64).div_euclid(DAY_US) * DAY_US);
        Ok(Kernel::Values(Arc::new(days.iter().map(date).collect::<TimestampMicrosecondArray>())))
    }
}
