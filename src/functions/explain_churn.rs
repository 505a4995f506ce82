//! `explain_churn(user_id)`: why a customer is likely to leave, or to stay.

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::common::plan_err;

use super::churn_prob::{DAYS, learned};
use super::common::{USER, horizon};
use super::customer::Lists;
use super::explain_predict::Explainer;
use super::explanation::{Explanations, Reason, explanation};
use super::prelude::*;
use crate::features::{Customers, NO_CODE};
use crate::models::ModelError;

#[derive(Debug)]
pub struct ExplainChurn;

static SPEC: FunctionSpec = FunctionSpec {
    name: "explain_churn",
    section: "Churn",
    form: Form::Scalar,
    arguments: &[
        USER,
        horizon("90"),
        Argument {
            name: "model",
            kind: ArgKind::Model,
            default: Some("auto"),
            about: "a model made by CREATE MODEL ... PREDICT; default: the auto model of churn",
        },
    ],
    returns: "Struct{prediction, baseline, reasons List<Struct{rank, feature, value, contribution, text}>}",
    unit: "probability",
    columns: &[],
    summary: "Why churn_prob(user_id) is what it is: baseline + the sum of the contributions = prediction.",
    behaviour: &[
        "The explanation of the learned model behind churn_prob(), or of the model that is named: see explain_predict().",
        "Reasons come by size; a contribution above 0 speaks for leaving.",
        "An error where churn_prob() answers by the closed form, because there is too little to learn from: explain_clv() explains that.",
    ],
    nulls: "NULL user → NULL. A user who is not in `events` → one reason, 'unknown user'. Known, but never purchased → 'no purchase yet'.",
    method: "Shapley values, see explain_predict().",
    source: "Lundberg, Erion & Lee (2018), Consistent individualized feature attribution for tree ensembles",
    limits: "What moves a prediction is not what would move the customer.",
    example: "CREATE MODEL churn35 PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'logistic_reg'); SELECT user_id, explain_churn(user_id, model => 'churn35')['prediction'] IS NOT NULL AS explained FROM customers() ORDER BY user_id LIMIT 3",
};

struct Explained {
    customers: Arc<Customers>,
    explainer: Explainer,
}

impl Lists for Explained {
    fn lists(&self, keys: &[ArrayRef], codes: &[u32]) -> Result<ArrayRef> {
        let made = self.explainer.of(codes)?;
        let nulls = keys[0].logical_nulls();
        let mut out = Explanations::default();
        for (row, code) in codes.iter().enumerate() {
            let is_valid = nulls.as_ref().is_none_or(|n| n.is_valid(row));
            let found = made.binary_search_by_key(code, |(c, _)| *c).ok().map(|i| &made[i].1);
            let reasons: Vec<Reason> = match found {
                _ if !is_valid => vec![],
                None if *code == NO_CODE => vec![("unknown".into(), None, None, "unknown user".into())],
                None if self.customers.orders[*code as usize] == 0 => vec![("none".into(), None, None, "no purchase yet".into())],
                None => vec![("none".into(), None, None, "the model does not speak of this customer".into())],
                Some((.., reasons)) => {
                    let one = |r: &super::explain_predict::Reason| {
                        let value = r.value.as_deref().and_then(|v| v.parse().ok());
                        (r.feature.clone(), value, Some(r.contribution), r.text.clone())
                    };
                    reasons.iter().map(one).collect()
                }
            };
            out.push(is_valid, found.map(|e| e.0), found.map(|e| e.1), reasons);
        }
        Ok(out.finish())
    }
}

#[async_trait]
impl CustomerFunction for ExplainChurn {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Struct(explanation())
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let Some(fitted) = learned(pin, args, DAYS).await? else {
            let why = "explain_churn(): there is too little to learn churn from, and churn_prob() answers by the closed form, which explain_clv() explains";
            return Err(fit_error(ModelError::TooLittleData(why.into())));
        };
        if fitted.model.definition.is_churn() == Some(false) {
            return plan_err!(
                "explain_churn(): model '{0}' foretells a purchase, not that there is none: explain_predict('{0}', user_id) explains it",
                fitted.name
            );
        }
        let (frame, customers) = (pin.frame(&fitted).await?, pin.customers().await?);
        let explainer = Explainer { fitted, frame, top_k: usize::MAX };
        Ok(Kernel::Lists(Arc::new(Explained { customers, explainer })))
    }
}
