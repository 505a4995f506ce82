//! `predict_prob('m', user_id)`: the probability that a classifier gives.

use datafusion::common::plan_err;

use super::common::USER;
use super::labelled::{NULLS, WINDOW_MODEL, by_customer};
use super::prelude::*;
use crate::models::supervised::Task;

#[derive(Debug)]
pub struct PredictProb;

static SPEC: FunctionSpec = FunctionSpec {
    name: "predict_prob",
    section: "Prediction",
    form: Form::Scalar,
    arguments: &[WINDOW_MODEL, USER],
    returns: "Float64",
    unit: "probability",
    columns: &[],
    summary: "The calibrated probability that the label of a CREATE MODEL ... PREDICT ... cmp literal model holds in the window after as_of.",
    behaviour: &["In [0, 1].", "An error for a model of a number, which has no such probability: predict() gives that."],
    nulls: NULLS,
    method: "That of the model's type, then calibrated on a window that the model was not fitted to.",
    source: "",
    limits: "",
    example: "CREATE MODEL churn30 PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'logistic_reg'); SELECT user_id, round(predict_prob('churn30', user_id), 4) AS p FROM customers() ORDER BY p DESC NULLS LAST, user_id LIMIT 3",
};

#[async_trait]
impl CustomerFunction for PredictProb {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Float64
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let name = args.text("model").unwrap_or_default().to_owned();
        by_customer(pin, args, move |model, frame, control| {
            if model.task == Task::Regression {
                return plan_err!(
                    "predict_prob(): model '{name}' foretells a number, which has no probability: predict('{name}', user_id)"
                );
            }
            Ok(model.predict(&frame.table, control).map_err(fit_error)?.into_iter().map(Some).collect())
        })
        .await
    }
}
