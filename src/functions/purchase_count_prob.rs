//! `purchase_count_prob(user_id, n)`: probability of exactly n purchases.

use super::common::{BG_NBD, FHL, MODEL, NULLS, USER, by_lifetime, horizon};
use super::prelude::*;

#[derive(Debug)]
pub struct PurchaseCountProb;

static SPEC: FunctionSpec = FunctionSpec {
    name: "purchase_count_prob",
    section: "Customer value",
    form: Form::Scalar,
    arguments: &[
        USER,
        Argument { name: "n", kind: ArgKind::Whole, default: None, about: "number of purchase days" },
        horizon("365"),
        MODEL,
    ],
    returns: "Float64",
    unit: "probability",
    columns: &[],
    summary: "Probability of exactly n purchases within the horizon.",
    behaviour: &[
        "Over n = 0, 1, 2, … it adds up to 1, and its mean is expected_purchases of the same horizon.",
        "Purchases on one calendar day (UTC) count once.",
    ],
    nulls: NULLS,
    method: BG_NBD,
    source: FHL,
    limits: "",
    example: "SELECT user_id, round(purchase_count_prob(user_id, 0, 90), 4) AS none, round(purchase_count_prob(user_id, 1, 90), 4) AS one FROM customers() ORDER BY user_id LIMIT 3",
};

#[async_trait]
impl CustomerFunction for PurchaseCountProb {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Float64
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let days = args.days("horizon", pin.snapshot().await?.as_of_us, 365.0);
        let n = u32::try_from(args.whole("n", 0)).unwrap_or(u32::MAX);
        by_lifetime(pin, args.text("model"), move |model, _, counts, control| model.purchases.p_count_all(counts, n, days, control)).await
    }
}
