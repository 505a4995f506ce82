//! `predict('m', user_id)`: what a supervised model foretells of a customer.

use super::common::USER;
use super::labelled::{NULLS, WINDOW_MODEL, by_customer};
use super::prelude::*;

#[derive(Debug)]
pub struct Predict;

static SPEC: FunctionSpec = FunctionSpec {
    name: "predict",
    section: "Prediction",
    form: Form::Scalar,
    arguments: &[WINDOW_MODEL, USER],
    returns: "Float64",
    unit: "that of the label; a probability where the label is a comparison",
    columns: &[],
    summary: "What a model of CREATE MODEL ... PREDICT foretells of the window after as_of.",
    behaviour: &[
        "The label's expected value; of a comparison such as count(*) FILTER (...) = 0, its calibrated probability (predict_prob() is the same, for those only).",
        "Features come from the events as they are now, up to as_of; parameters from the model's active version.",
        "Rows of a table that is not the events are scored by predict_rows().",
    ],
    nulls: NULLS,
    method: "That of the model's type, see CREATE MODEL and docs/methods.md.",
    source: "",
    limits: "",
    example: "CREATE MODEL spend30 PREDICT sum(amount) WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'hurdle'); SELECT count(predict('spend30', user_id)) > 0 AS any FROM customers()",
};

#[async_trait]
impl CustomerFunction for Predict {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Float64
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        by_customer(pin, args, |model, frame, control| {
            Ok(model.predict(&frame.table, control).map_err(fit_error)?.into_iter().map(Some).collect())
        })
        .await
    }
}
