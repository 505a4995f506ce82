//! `predict_high('m', user_id)`: the upper end of a prediction's interval.

use super::common::{LEVEL, USER};
use super::labelled::{WINDOW_MODEL, by_customer};
use super::prelude::*;

#[derive(Debug)]
pub struct PredictHigh;

static SPEC: FunctionSpec = FunctionSpec {
    name: "predict_high",
    section: "Prediction",
    form: Form::Scalar,
    arguments: &[WINDOW_MODEL, USER, LEVEL],
    returns: "Float64",
    unit: "that of predict()",
    columns: &[],
    summary: "The upper end of the interval in which the label lies with probability `level`; of a classifier, in which the rate lies.",
    behaviour: &[
        "From what came of held-out customers with the most similar predictions, a tenth of all (50 to 1,000 of them): quantiles of their labels, or the share of them with Wilson's interval.",
        "predict() of the same customer lies in it.",
    ],
    nulls: "As predict(); NULL as well where the model was not evaluated, or on fewer than 50 rows.",
    method: "Conformal prediction by similar predictions (Mondrian); Wilson's score interval.",
    source: "Vovk, Gammerman & Shafer (2005), Algorithmic learning in a random world, § 4.5; Wilson (1927)",
    limits: "The window that was held out is another one than that which is foretold: what makes windows differ is in no interval.",
    example: "CREATE MODEL spend60 PREDICT sum(amount) WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'hurdle'); SELECT bool_and(predict_high('spend60', user_id) IS NOT NULL) AS all_known FROM customers() WHERE predict('spend60', user_id) IS NOT NULL",
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
        let level = args.number("level", 0.9);
        by_customer(pin, args, move |model, frame, control| {
            let predictions = model.predict(&frame.table, control).map_err(fit_error)?;
            Ok(predictions.into_iter().map(|p| model.interval(p, level).map(|i| i.1)).collect())
        })
        .await
    }
}
