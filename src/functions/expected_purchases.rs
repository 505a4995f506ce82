//! `expected_purchases(user_id)`: expected number of purchases.

use super::common::{BG_NBD, FHL, MODEL, NULLS, USER, by_lifetime, horizon};
use super::prelude::*;

#[derive(Debug)]
pub struct ExpectedPurchases;

static SPEC: FunctionSpec = FunctionSpec {
    name: "expected_purchases",
    section: "Customer value",
    form: Form::Scalar,
    arguments: &[USER, horizon("365"), MODEL],
    returns: "Float64",
    unit: "purchase days",
    columns: &[],
    summary: "Expected number of days with a purchase within the horizon.",
    behaviour: &["Purchases on one calendar day (UTC) count once.", "Not discounted."],
    nulls: NULLS,
    method: BG_NBD,
    source: FHL,
    limits: "",
    example: "SELECT user_id, round(expected_purchases(user_id, 90), 3) AS purchases_90d FROM customers() ORDER BY user_id LIMIT 3",
};

#[async_trait]
impl CustomerFunction for ExpectedPurchases {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Float64
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let days = args.days("horizon", pin.snapshot().await?.as_of_us, 365.0);
        by_lifetime(pin, args.text("model"), move |model, p, control| model.purchases.expected_purchases_all(p.counts(), days, control))
            .await
    }
}
