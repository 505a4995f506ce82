//! `explain_recommendation(user_id, item_id)`: why an item is recommended.

use datafusion::arrow::array::{ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;

use super::common::{MODEL, USER};
use super::customer::Lists;
use super::explanation::{Explanations, Reason, explanation};
use super::pin::blocking;
use super::prelude::*;
use super::serving::Serving;
use super::similar_items::ITEM;
use crate::features::NO_CODE;
use crate::models::recommend::Translated;

#[derive(Debug)]
pub struct ExplainRecommendation;

static SPEC: FunctionSpec = FunctionSpec {
    name: "explain_recommendation",
    section: "Recommendation",
    form: Form::Scalar,
    arguments: &[USER, ITEM, MODEL],
    returns: "Struct{prediction, baseline, reasons List<Struct{rank, feature, value, contribution, text}>}",
    unit: "prediction, baseline and contributions: the model's own scale, that of score in recommend()",
    columns: &[],
    summary: "Why an item is recommended to a customer, or is not: what each item of the customer's history contributes to its score.",
    behaviour: &[
        "prediction is the item's score; baseline + the sum of the contributions = prediction.",
        "feature is an item of the history, value how much it counts there. Items that contribute nothing are left out.",
        "baseline is what the model gives the item whatever the history: its popularity, its bias; 0 for most types.",
        "In user_knn a neighbour's contribution goes to the item that the neighbour and the customer share most.",
        "unnest(explain_recommendation(user_id, item_id)['reasons']) makes a row of each.",
    ],
    nulls: "NULL user or item, and an item the model does not know → NULL. A user who is not in `events` → one reason, 'unknown user'; one of whom the model knows nothing → 'no history'; both without a prediction.",
    method: "The model's own arithmetic: similarities times weights, regression weights, or, in mf_implicit, Hu, Koren & Volinsky's decomposition of a score over the history.",
    source: "Hu, Koren & Volinsky (2008), Collaborative filtering for implicit feedback datasets, ICDM, equation 7",
    limits: "",
    example: "SELECT e['prediction'] >= e['baseline'] AS adds, e['reasons'][1]['rank'] AS first FROM (SELECT explain_recommendation(user_id, item_id) AS e FROM recommend('u0000007', 1))",
};

struct Explainer {
    serving: Serving,
    names: StringArray,
    verb: &'static str,
}

#[async_trait]
impl CustomerFunction for ExplainRecommendation {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Struct(explanation())
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let (interactions, fitted) = (pin.interactions().await?, pin.recommender(args.text("model")).await?);
        let verb = if pin.customers().await?.orders.iter().any(|&o| o > 0) { "bought" } else { "rated" };
        blocking(Control::default(), move |_| {
            let names = cast(&interactions.items.array, &DataType::Utf8)?.as_string::<i32>().clone();
            Ok(Kernel::Lists(Arc::new(Explainer { serving: Serving::new(interactions, &fitted)?, names, verb })))
        })
        .await
    }
}

impl Lists for Explainer {
    fn lists(&self, keys: &[ArrayRef], codes: &[u32]) -> Result<ArrayRef> {
        let items = self.serving.interactions.items.lookup(&keys[1])?;
        let nulls = keys[0].logical_nulls();
        let (mut out, mut translated) = (Explanations::default(), Translated::default());
        let alone = |feature: &str, text: &str| -> Vec<Reason> { vec![(feature.into(), None, None, text.into())] };
        for (row, (&user, &item)) in codes.iter().zip(&items).enumerate() {
            let item = if item == NO_CODE { None } else { self.serving.codes.to_model(item) };
            let Some(item) = item.filter(|_| nulls.as_ref().is_none_or(|n| n.is_valid(row))) else {
                out.push(false, None, None, vec![]);
                continue;
            };
            let history = self.serving.history(user, &mut translated);
            if user == NO_CODE || history.items.is_empty() {
                let reasons = if user == NO_CODE { alone("unknown", "unknown user") } else { alone("none", "no history") };
                out.push(true, None, None, reasons);
                continue;
            }
            let mut shares = self.serving.recommender.shares(history, item);
            shares.of_items.sort_by_key(|(of, _)| *of);
            let mut by_item: Vec<(u32, f64)> = vec![];
            for (of, share) in shares.of_items {
                match by_item.last_mut().filter(|(last, _)| *last == of) {
                    Some((_, sum)) => *sum += f64::from(share),
                    None => by_item.push((of, f64::from(share))),
                }
            }
            by_item.retain(|(_, share)| *share != 0.0);
            let baseline = f64::from(shares.baseline);
            let prediction = by_item.iter().fold(baseline, |sum, (_, share)| sum + share);
            let strong = self.serving.interactions.strong.history(user).items;
            let reason = |(of, share): (u32, f64)| {
                let weight = history.items.binary_search(&of).map_or(0.0, |at| f64::from(history.weights[at]));
                let of = self.serving.codes.from_model(of)?;
                let verb = if strong.binary_search(&of).is_ok() { self.verb } else { "seen" };
                let name = self.names.value(of as usize);
                Some((name.to_owned(), Some(weight), Some(share), format!("{verb} {name}: {share:+.4}")))
            };
            out.push(true, Some(prediction), Some(baseline), by_item.into_iter().filter_map(reason).collect());
        }
        Ok(out.finish())
    }
}
