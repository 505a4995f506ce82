//! `clv(user_id)`: expected future value.

use super::common::{FHL, MODEL, NULLS, USER, by_lifetime, endless_horizon, need_amount};
use super::prelude::*;

#[derive(Debug)]
pub struct Clv;

static SPEC: FunctionSpec = FunctionSpec {
    name: "clv",
    section: "Customer value",
    form: Form::Scalar,
    arguments: &[USER, endless_horizon("365"), MODEL],
    returns: "Float64",
    unit: "the currency's unit, as in amount",
    columns: &[],
    summary: "Expected future net value of a customer within the horizon, discounted.",
    behaviour: &[
        "The future begins at `as_of`: `SET tenure.as_of`, else max(ts) of `events`. Nothing after it is used.",
        "Value = discounted expected purchases × expected value of a purchase day × the share of gross value that refunds leave × margin.",
        "Discounting is continuous at `SET tenure.discount_rate` per year of 365.25 days (0.1 by default). An INTERVAL with months is counted on the calendar.",
        "horizon => 'infinity' is all that is to come (DERT, the discounted expected residual transactions); it needs a discount rate above 0.",
        "SET tenure.margin = 0.3, or a column margin of a relation `items` (a share of the amount), makes it contribution instead of revenue; a customer's margin is that of the items they bought.",
        "A customer's refunds count as far as customers differ in them: the share expected to go back is a credibility estimate between their own and everybody's. Who has given back more than they bought stays in, and is worth little, never less than nothing.",
        "The model's parameters come from its version; recency, frequency and spend come from the current events.",
    ],
    nulls: NULLS,
    method: "The lifetime model for purchases, gamma-gamma for spend. Discounted purchases are e^(−δH)·E(H) + δ∫e^(−δτ)·E(τ)dτ with δ = ln(1 + rate) a year.",
    source: FHL,
    limits: "Spend is taken as independent of the purchase rate. For value already realised see historic_value.",
    example: "SELECT user_id, round(clv(user_id), 2) AS clv_1y FROM customers() ORDER BY clv(user_id) DESC, user_id LIMIT 3",
};

#[async_trait]
impl CustomerFunction for Clv {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Float64
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        need_amount(pin, "clv").await?;
        let days = args.days("horizon", pin.snapshot().await?.as_of_us, 365.0);
        let rate = pin.config().discount_rate();
        let margins = pin.margins().await?;
        by_lifetime(pin, args.text("model"), move |model, p, counts, control| {
            let values = model.values(counts, p.spending(), days, rate, control)?;
            Ok(values.into_iter().zip(&p.codes).map(|(v, &code)| v * margins.of(code)).collect())
        })
        .await
    }
}
