//! `clv_high(user_id)`: the upper end of the predictive interval of clv.

use super::common::{END_OF_INTERVAL, intervals};
use super::prelude::*;

#[derive(Debug)]
pub struct ClvHigh;

static SPEC: FunctionSpec = FunctionSpec {
    name: "clv_high",
    summary: "The upper end of the interval in which the customer's value within the horizon will lie with the given probability.",
    example: "SELECT user_id, round(clv_low(user_id), 2) AS low, round(clv(user_id), 2) AS clv, round(clv_high(user_id), 2) AS high FROM customers() ORDER BY user_id LIMIT 3",
    ..END_OF_INTERVAL
};

#[async_trait]
impl CustomerFunction for ClvHigh {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Float64
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        intervals(pin, args, |interval| interval.high).await
    }
}
