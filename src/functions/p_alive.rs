//! `p_alive(user_id)`: probability of still being a customer.

use super::common::{BG_NBD, FHL, MODEL, NULLS, USER, by_lifetime};
use super::prelude::*;

#[derive(Debug)]
pub struct PAlive;

static SPEC: FunctionSpec = FunctionSpec {
    name: "p_alive",
    section: "Customer value",
    form: Form::Scalar,
    arguments: &[USER, MODEL],
    returns: "Float64",
    unit: "probability",
    columns: &[],
    summary: "Probability that the customer is still alive at as_of, given the purchases so far.",
    behaviour: &[
        "In [0, 1].",
        "In BG/NBD a customer with one purchase has 1: one can only leave after a repeat purchase. Do not rank churn by 1 − p_alive; use churn_prob.",
    ],
    nulls: NULLS,
    method: BG_NBD,
    source: FHL,
    limits: "",
    example: "SELECT user_id, round(p_alive(user_id), 4) AS alive FROM customers() ORDER BY user_id LIMIT 3",
};

#[async_trait]
impl CustomerFunction for PAlive {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Float64
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        by_lifetime(pin, args.text("model"), |model, _, counts, _| Ok(model.purchases.p_alive_all(counts))).await
    }
}
