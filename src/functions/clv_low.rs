//! `clv_low(user_id)`: the lower end of the predictive interval of clv.

use super::common::{FHL, LEVEL, MODEL, NULLS, USER, horizon, intervals};
use super::prelude::*;

#[derive(Debug)]
pub struct ClvLow;

static SPEC: FunctionSpec = FunctionSpec {
    name: "clv_low",
    section: "Customer value",
    form: Form::Scalar,
    arguments: &[USER, horizon("365"), MODEL, LEVEL],
    returns: "Float64",
    unit: "the currency's unit, as in amount",
    columns: &[],
    summary: "The lower end of the interval in which the customer's value within the horizon will lie with the given probability.",
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
    example: "SELECT user_id, round(clv_low(user_id), 2) AS low, round(clv(user_id), 2) AS clv, round(clv_high(user_id), 2) AS high FROM customers() ORDER BY user_id LIMIT 3",
};

#[async_trait]
impl CustomerFunction for ClvLow {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Float64
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        intervals(pin, args, |interval| interval.low).await
    }
}
