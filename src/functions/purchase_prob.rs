//! `purchase_prob(user_id)`: probability of a purchase.

use datafusion::arrow::array::Float64Array;
use datafusion::common::{internal_err, plan_err};

use super::churn_prob::{CHURN_MODEL, learned, no_purchase};
use super::common::{FHL, NULLS, USER, floats, horizon, values};
use super::prelude::*;

#[derive(Debug)]
pub struct PurchaseProb;

/// The horizon unless told otherwise.
const DAYS: f64 = 30.0;

static SPEC: FunctionSpec = FunctionSpec {
    name: "purchase_prob",
    section: "Customer value",
    form: Form::Scalar,
    arguments: &[USER, horizon("30"), CHURN_MODEL],
    returns: "Float64",
    unit: "probability",
    columns: &[],
    summary: "Probability of at least one purchase within the horizon.",
    behaviour: &[
        "In [0, 1].",
        "1 − churn_prob of the same horizon and model: learned where there is enough to learn from, by the lifetime model elsewhere.",
        "model => a model of CREATE MODEL ... PREDICT: of its own window.",
    ],
    nulls: NULLS,
    method: "1 − churn_prob(user_id, horizon)",
    source: FHL,
    limits: "Where it is learned, each horizon is learned by itself, on the first call: a longer one may answer less. A lifetime model (model => a name) answers all horizons alike.",
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
        let learned = learned(pin, args, DAYS).await?;
        if let Some(other) = learned.as_ref().filter(|m| m.model.definition.is_churn().is_none()) {
            return plan_err!(
                "purchase_prob(): model '{0}' foretells {1}, neither a purchase nor that there is none: predict_prob('{0}', user_id) has its answer",
                other.name,
                other.model.definition.target()
            );
        }
        let none = no_purchase(pin, args, learned, DAYS).await?;
        let Some(none) = floats(&none) else { return internal_err!("churn_prob is Float64") };
        Ok(values(none.iter().map(|p| p.map(|p| 1.0 - p)).collect::<Float64Array>()))
    }
}
