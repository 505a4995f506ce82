//! One function a model family: from the arrays of a snapshot to a fitted model and its figures on the hold-out.

use std::collections::BTreeMap;

use super::lifetime::Study;
use crate::features::{Customers, Interactions};
use crate::models::recommend::{EventWeights, Feedback, ItemModel, last_item_holdout};
use crate::models::segment::{Cuts, Rfm, default_rules};
use crate::models::{AnyRecommender, Control, Make, ModelError, Options, Part};
use crate::store::Trial;

/// At most this many users are ranked for a recommender's hold-out.
const HOLDOUT_USERS: usize = 2_000;

/// What came out of a fit.
#[derive(Default)]
pub struct Outcome {
    pub parts: Vec<Part>,
    pub parameters: Vec<(String, f64)>,
    pub metric: Option<&'static str>,
    /// Figures on the hold-out; a baseline's figure has the prefix `baseline_`.
    pub metrics: BTreeMap<String, f64>,
    pub horizon_days: Option<f64>,
    pub eval_from_us: Option<i64>,
    pub users: u64,
    pub warnings: Vec<String>,
    /// What was played to choose the type.
    pub trials: Vec<Trial>,
}

impl Outcome {
    /// The figure of `metric` on the hold-out.
    pub fn value(&self) -> Option<f64> {
        self.metrics.get(self.metric?).copied()
    }

    /// The same figure of the baseline.
    pub fn baseline(&self) -> Option<f64> {
        self.metrics.get(&format!("baseline_{}", self.metric?)).copied()
    }

    pub fn measured(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.metrics.insert(name.to_owned(), value);
        }
    }
}

/// Fits a model of the type in `options` to what it takes; `start` are the parameters of the last version.
pub fn fit(
    study: &Study<'_>,
    interactions: Option<&Interactions>,
    options: &Options,
    start: Option<&[f64]>,
) -> Result<Outcome, ModelError> {
    match (&options.kind.make, interactions) {
        (Make::Purchases { .. }, _) => study.fit(options, start),
        (Make::Rfm, _) => segment(study.customers),
        (Make::Recommender { fit, .. }, Some(i)) => recommend(i, &|feedback| fit(feedback, options, study.control), options, study.control),
        (Make::Recommender { .. }, None) => Err(ModelError::TooLittleData("the events have no items".into())),
    }
}

type FitRecommender<'a> = &'a dyn Fn(&Feedback) -> Result<AnyRecommender, ModelError>;

/// RFM: the cut points of the customers who have purchased.
fn segment(customers: &Customers) -> Result<Outcome, ModelError> {
    let codes = customers.purchasers();
    let of = |f: &dyn Fn(usize) -> f64| -> Vec<f64> { codes.iter().map(|&c| f(c as usize)).collect() };
    let recency = of(&|c| customers.recency_days(c));
    let orders = of(&|c| f64::from(customers.orders[c]));
    let monetary = of(&|c| customers.net_value(c));
    let cuts = Cuts::quintiles(&recency, &orders, &monetary)?;
    let mut out = Outcome { users: codes.len() as u64, ..Outcome::default() };
    for (name, values) in [("recency_days", &cuts.recency_days), ("orders", &cuts.orders), ("monetary", &cuts.monetary)] {
        out.parameters.extend(values.iter().enumerate().map(|(i, &v)| (format!("{name}_cut_{}", i + 1), v)));
    }
    out.parts = Rfm::new(cuts, default_rules())?.to_parts();
    Ok(out)
}

/// A recommender; scored on each user's last item, held out.
fn recommend(interactions: &Interactions, fit: FitRecommender<'_>, options: &Options, control: &Control) -> Result<Outcome, ModelError> {
    let weights = EventWeights::of(options);
    let feedback = interactions.weighted(&weights).map_err(|e| ModelError::TooLittleData(e.strip_backtrace()))?;
    let feedback = feedback.as_ref();
    if feedback.last_us.is_empty() {
        return Err(ModelError::TooLittleData("no purchase, rating, view or cart with an item: nothing to recommend from".into()));
    }
    let recommender = fit(feedback)?;
    let items = datafusion::arrow::compute::cast(&interactions.items.array, &datafusion::arrow::datatypes::DataType::Utf8);
    let items = items.map_err(|e| ModelError::TooLittleData(format!("items cannot be written as text: {e}")))?;
    let items = datafusion::arrow::array::AsArray::as_string::<i32>(&items).iter().map(|i| i.unwrap_or_default().to_owned()).collect();
    let users = (0..feedback.n_users() as u32).filter(|&u| !feedback.history(u).items.is_empty()).count();
    let mut out = Outcome { users: users as u64, metric: Some("ndcg_at_10"), ..Outcome::default() };
    out.parts = ItemModel { items, weights, recommender }.to_parts();
    if options.holdout_days().is_none() {
        return Ok(out);
    }
    if interactions.strong.last_us.is_empty() {
        out.warnings.push("not scored: the log has views and carts only".into());
        return Ok(out);
    }
    match last_item_holdout(feedback, fit, HOLDOUT_USERS, control)? {
        None => out.warnings.push("not scored: no user has two items".into()),
        Some(h) => {
            out.measured("ndcg_at_10", h.ndcg_at_10);
            out.measured("hit_rate_at_10", h.hit_rate_at_10);
            out.measured("baseline_ndcg_at_10", h.baseline_ndcg_at_10);
            out.measured("baseline_hit_rate_at_10", h.baseline_hit_rate_at_10);
            out.measured("holdout_users", h.users as f64);
        }
    }
    Ok(out)
}
