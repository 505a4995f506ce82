//! `predict_rating(user_id, item_id)`: how a customer would rate an item.

use datafusion::arrow::array::{ArrayRef, Float64Array};

use super::common::{MODEL, USER};
use super::customer::Lists;
use super::pin::blocking;
use super::prelude::*;
use super::serving::Serving;
use super::similar_items::ITEM;
use crate::features::NO_CODE;
use crate::models::AUTO_RATINGS;
use crate::models::recommend::Translated;

#[derive(Debug)]
pub struct PredictRating;

static SPEC: FunctionSpec = FunctionSpec {
    name: "predict_rating",
    section: "Recommendation",
    form: Form::Scalar,
    arguments: &[
        USER,
        ITEM,
        Argument { default: Some("auto_ratings"), about: "a model that knows ratings; default: mf_explicit", ..MODEL },
    ],
    returns: "Float64",
    unit: "that of `rating` in events, inside the range of ratings seen",
    columns: &[],
    summary: "The rating a customer would give an item.",
    behaviour: &[
        "Without a model, mf_explicit is fitted on first use and kept as the auto model auto_ratings.",
        "item_knn and user_knn predict by predict => 'mean' | 'centred' | 'baseline' (an option of CREATE MODEL) from their neighbours of positive similarity, and give no answer where there is none; user_knn by neighbours_of => 'raters' | 'all' from the most similar of those who rated the item, or from the raters among the most similar.",
        "An item that the customer has rated is predicted from the ratings of the others and all of the customer's own, this one included.",
    ],
    nulls: "NULL, unknown user, unknown item, a user without ratings, no neighbour who rated → NULL.",
    method: "mf_explicit: μ + b_u + b_i + p_u·q_i, by variational Bayes, the user folded in from the ratings as they are now. Neighbours: the weighted mean of ratings, of their differences from the mean of user or item, or from μ + b_u + b_i.",
    source: "Koren, Bell & Volinsky (2009), Matrix factorization techniques for recommender systems, IEEE Computer 42(8); Lim & Teh (2007), Variational Bayesian approach to movie rating prediction, KDD Cup; Koren (2010), Factor in the neighbors, ACM TKDD 4(1)",
    limits: "",
    example: "SELECT predict_rating('u0000007', 'P00001') BETWEEN 1 AND 5 AS in_range",
};

struct Predictor {
    serving: Serving,
}

#[async_trait]
impl CustomerFunction for PredictRating {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    fn data_type(&self, _: &dyn KeyTypes) -> DataType {
        DataType::Float64
    }

    async fn bind(&self, pin: &dyn Pin, args: &CallArgs) -> Result<Kernel> {
        let (interactions, fitted) = (pin.interactions().await?, pin.recommender(Some(args.text("model").unwrap_or(AUTO_RATINGS))).await?);
        blocking(Control::default(), move |_| Ok(Kernel::Lists(Arc::new(Predictor { serving: Serving::new(interactions, &fitted)? }))))
            .await
    }
}

impl Lists for Predictor {
    fn lists(&self, keys: &[ArrayRef], codes: &[u32]) -> Result<ArrayRef> {
        let items = self.serving.interactions.items.lookup(&keys[1])?;
        let mut translated = Translated::default();
        let one = |(&user, &item): (&u32, &u32)| {
            if user == NO_CODE || item == NO_CODE {
                return None;
            }
            let item = self.serving.codes.to_model(item)?;
            let history = self.serving.history(user, &mut translated);
            self.serving.recommender.predict_rating(history, item).filter(|r| r.is_finite())
        };
        Ok(Arc::new(codes.iter().zip(&items).map(one).collect::<Float64Array>()))
    }
}
