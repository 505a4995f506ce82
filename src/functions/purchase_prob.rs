//! `purchase_prob(user_id)`: probability of a purchase.

use super::common::{BG_NBD, FHL, MODEL, NULLS, USER, by_lifetime, horizon};
use super::prelude::*;

#[derive(Debug)]
pub struct PurchaseProb;

static SPEC: FunctionSpec = FunctionSpec {
    name: "purchase_prob",
    section: "Customer value",
    form: Form::Scalar,
    arguments: &[USER, horizon("30"), MODEL],
    returns: "Float64",
    unit: "probability",
    columns: &[],
    summary: "Probability of at least one purchase within the horizon.",
    behaviour: &["In [0, 1].", "1 − churn_prob of the same horizon."],
    nulls: NULLS,
    method: BG_NBD,
    source: FHL,
    limits: "",
    example: "SELECT user_id, round(purchase_prob(user_id, 30), 4) AS p FROM customers() ORDER BY p DESC, user_id LIMIT 3",
};

#[async_trait]
impl CustomerFunction for PurchaseProb {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Float64
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let days = args.days("horizon", pin.snapshot().await?.as_of_us, 30.0);
        by_lifetime(pin, args.text("model"), move |model, _, counts, control| {
            Ok(model.purchases.p_no_purchase_all(counts, days, control)?.into_iter().map(|p| 1.0 - p).collect())
        })
        .await
    }
}
