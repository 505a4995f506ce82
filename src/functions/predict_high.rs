//! `predict_high('m', user_id)`: the upper end of a prediction's interval.

use super::labelled::{END_OF_PREDICTION, ends};
use super::prelude::*;

#[derive(Debug)]
pub struct PredictHigh;

static SPEC: FunctionSpec = FunctionSpec {
    name: "predict_high",
    summary: "The upper end of the interval in which the label lies with probability `level`; of a classifier, in which the rate lies.",
    example: "CREATE MODEL spend60 PREDICT sum(amount) WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'hurdle'); SELECT bool_and(predict_high('spend60', user_id) IS NOT NULL) AS all_known FROM customers() WHERE predict('spend60', user_id) IS NOT NULL",
    ..END_OF_PREDICTION
};

#[async_trait]
impl CustomerFunction for PredictHigh {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Float64
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        ends(pin, args, |i| i.1).await
    }
}
