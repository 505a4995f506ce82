//! `expected_order_value(user_id)`: expected value of a purchase.

use super::common::{MODEL, NULLS, USER, by_lifetime, need_amount};
use super::prelude::*;

#[derive(Debug)]
pub struct ExpectedOrderValue;

static SPEC: FunctionSpec = FunctionSpec {
    name: "expected_order_value",
    section: "Customer value",
    form: Form::Scalar,
    arguments: &[USER, MODEL],
    returns: "Float64",
    unit: "the currency's unit, as in amount",
    columns: &[],
    summary: "Expected net value of the next purchase day.",
    behaviour: &[
        "A customer's own mean is drawn towards the population's, the more the fewer purchases there are.",
        "Times the share of gross value that refunds leave, over all customers.",
    ],
    nulls: NULLS,
    method: "Gamma-gamma by maximum likelihood on the repeat purchase days: E[M | x, m] = p(v + x·m)/(p·x + q − 1).",
    source: "Fader & Hardie (2013), The gamma-gamma model of monetary value",
    limits: "",
    example: "SELECT user_id, round(expected_order_value(user_id), 2) AS order_value FROM customers() ORDER BY user_id LIMIT 3",
};

#[async_trait]
impl CustomerFunction for ExpectedOrderValue {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Float64
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        need_amount(pin, "expected_order_value").await?;
        by_lifetime(pin, args.text("model"), |model, p, _, _| Ok(model.order_values(p.spending()))).await
    }
}
