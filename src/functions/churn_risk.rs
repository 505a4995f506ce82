//! `churn_risk(user_id)`: churn probability in three classes.

use super::churn_prob::{CHURN_MODEL, ChurnProb};
use super::common::{NULLS, USER, floats, horizon, values};
use super::prelude::*;
use datafusion::arrow::array::StringArray;
use datafusion::common::internal_err;

#[derive(Debug)]
pub struct ChurnRisk;

static SPEC: FunctionSpec = FunctionSpec {
    name: "churn_risk",
    section: "Churn",
    form: Form::Scalar,
    arguments: &[USER, horizon("90"), CHURN_MODEL],
    returns: "Utf8",
    unit: "",
    columns: &[],
    summary: "churn_prob as 'low', 'medium' or 'high'.",
    behaviour: &[
        "'low' below the first cut, 'high' from the second on; the cuts are 1/3 and 2/3, or SET tenure.churn_risk_cuts = '0.2,0.5'.",
    ],
    nulls: NULLS,
    method: "churn_prob, cut.",
    source: "definition",
    limits: "",
    example: "SELECT churn_risk(user_id) AS risk, count(*) AS users FROM customers() GROUP BY 1 ORDER BY 2 DESC, 1",
};

#[async_trait]
impl CustomerFunction for ChurnRisk {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Utf8
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let [low, high] = pin.config().churn_risk_cuts();
        let churn = ChurnProb.bind(pin, args).await?;
        let Some(churn) = floats(&churn) else { return internal_err!("churn_prob is Float64") };
        let class = |p: f64| {
            if p < low {
                "low"
            } else if p < high {
                "medium"
            } else {
                "high"
            }
        };
        Ok(values(churn.iter().map(|p| p.map(class)).collect::<StringArray>()))
    }
}
