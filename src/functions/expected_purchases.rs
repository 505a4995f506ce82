//! `expected_purchases(user_id)`: expected number of purchases.

use super::common::{BG_NBD, FHL, MODEL, NULLS, USER, by_lifetime, horizon};
use super::prelude::*;
use crate::models::ModelError;

#[derive(Debug)]
pub struct ExpectedPurchases;

static SPEC: FunctionSpec = FunctionSpec {
    name: "expected_purchases",
    section: "Customer value",
    form: Form::Scalar,
    arguments: &[
        USER,
        horizon("365"),
        MODEL,
        Argument { name: "start", kind: ArgKind::Days, default: Some("0"), about: "where the window begins, from as_of" },
    ],
    returns: "Float64",
    unit: "purchase days",
    columns: &[],
    summary: "Expected number of days with a purchase within the horizon.",
    behaviour: &[
        "Purchases on one calendar day (UTC) count once.",
        "Not discounted.",
        "With start, the window is the one of that length that begins so long after as_of: start => 30, horizon => 30 is the second month from now.",
    ],
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
        let from = args.days("start", pin.snapshot().await?.as_of_us, 0.0);
        by_lifetime(pin, args.text("model"), move |model, _, counts, control| {
            // In days, also where the model counts periods.
            let until = |h: f64| -> Result<Vec<f64>, ModelError> {
                let expected = model.purchases.expected_purchases_all(counts, h, control)?;
                Ok(expected.into_iter().map(|n| n * model.days_a_purchase).collect())
            };
            if from == 0.0 {
                return until(days);
            }
            Ok(until(from + days)?.into_iter().zip(until(from)?).map(|(to, from)| (to - from).max(0.0)).collect())
        })
        .await
    }
}
