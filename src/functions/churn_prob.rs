//! `churn_prob(user_id)`: probability of no purchase.

use super::common::{FHL, MODEL, NULLS, USER, by_lifetime, horizon};
use super::prelude::*;

#[derive(Debug)]
pub struct ChurnProb;

static SPEC: FunctionSpec = FunctionSpec {
    name: "churn_prob",
    section: "Churn",
    form: Form::Scalar,
    arguments: &[USER, horizon("90"), MODEL],
    returns: "Float64",
    unit: "probability",
    columns: &[],
    summary: "Probability that the customer makes no purchase within the horizon.",
    behaviour: &["In [0, 1].", "Not 1 − p_alive: a customer who is alive may still not buy within the horizon."],
    nulls: NULLS,
    method: "P(no purchase in h) = 1 − P(alive)·(1 − ((α+T)/(α+T+h))^(r+x)), exact for BG/NBD.",
    source: FHL,
    limits: "",
    example: "SELECT user_id, round(churn_prob(user_id), 4) AS churn_90d FROM customers() ORDER BY churn_prob(user_id) DESC, user_id LIMIT 3",
};

#[async_trait]
impl CustomerFunction for ChurnProb {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Float64
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let days = args.days("horizon", pin.snapshot().await?.as_of_us, 90.0);
        by_lifetime(pin, args.text("model"), move |model, _, counts, control| model.purchases.p_no_purchase_all(counts, days, control))
            .await
    }
}
