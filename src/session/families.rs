//! One function a model family: from the arrays of a snapshot to a fitted model and its figures on the hold-out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::lifetime::Study;
use crate::features::{Customers, Interactions};
use crate::models::recommend::{self, EventWeights, Feedback, Figures, Holdout, ItemModel, LastItems, auto, last_item_holdout};
use crate::models::segment::{Cuts, Rfm, default_rules};
use crate::models::{AnyRecommender, Control, Make, ModelError, Options, Part};
use crate::store::Trial;

/// At most this many users are ranked for a recommender's hold-out.
pub const HOLDOUT_USERS: usize = 2_000;

/// What recommenders are scored by.
const METRIC: &str = "ndcg_at_10";

/// Why a recommender has no figure.
const VIEWS_ONLY: &str = "not scored: the log has views and carts only";

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
        (Make::Supervised { .. }, _) => Err(ModelError::TooLittleData(format!("{} needs a label", options.kind.name))),
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
    let feedback = feedback(interactions, &weights)?;
    let mut out = recommender(interactions, &feedback, weights, fit(&feedback)?)?;
    if options.holdout_days().is_none() {
        return Ok(out);
    }
    if interactions.strong.last_us.is_empty() {
        out.warnings.push(VIEWS_ONLY.into());
        return Ok(out);
    }
    match last_item_holdout(&feedback, fit, HOLDOUT_USERS, control)? {
        None => out.warnings.push("not scored: no user has two items".into()),
        Some(h) => score(&mut out, &h),
    }
    Ok(out)
}

/// The best of all recommenders: chosen on the items that are last before those it is then scored on.
pub fn auto_recommend(
    interactions: &Interactions,
    given: &Options,
    as_of_us: i64,
    control: &Control,
) -> Result<(Options, Outcome), ModelError> {
    let weights = EventWeights::of(given);
    let feedback = feedback(interactions, &weights)?;
    let (seconds, seed) = (Duration::from_secs(given.whole("max_runtime")), given.whole("seed"));
    let views_only = interactions.strong.last_us.is_empty();
    let held = LastItems::of(&feedback, HOLDOUT_USERS, 0).filter(|_| given.holdout_days().is_some() && !views_only);
    let tuned = auto(held.as_ref().map_or(feedback.as_ref(), |h| &h.train), seconds, seed, control)?;
    // The options of the type that was chosen, and of those given what any type takes.
    let own = tuned.options.kind.options.iter().map(|s| (s.name, tuned.options.get(s.name)));
    let shared = given.all().filter(|(name, _)| !given.kind.options.iter().any(|s| s.name == *name));
    let all: Vec<(String, String)> = own.chain(shared).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let damaged = |e| ModelError::Option { option: "model_type".into(), given: "'auto'".into(), allowed: e };
    let options = Options::new(tuned.options.kind, &all).map_err(damaged)?;
    let mut from_us = as_of_us;
    let mut out = match &held {
        None => recommender(interactions, &feedback, weights, tuned.model)?,
        Some(held) => {
            let scored = held.score(tuned.model.as_ref(), control)?;
            for (&u, items) in held.users.iter().zip(&held.truth) {
                let history = feedback.history(u);
                let times = items.iter().filter_map(|item| Some(history.last_us[history.items.binary_search(item).ok()?]));
                from_us = times.fold(from_us, i64::min);
            }
            let mut out = recommender(interactions, &feedback, weights, recommend::fit(&feedback, &options, control)?)?;
            score(&mut out, &scored);
            out
        }
    };
    if views_only {
        out.warnings.push(VIEWS_ONLY.into());
    }
    let baseline = tuned.trials.iter().find(|t| t.model_type == "popularity").and_then(|t| t.figures);
    if let Some((best, figures)) = tuned.trials.iter().find(|t| t.status == "chosen").and_then(|t| Some((t, t.figures?))) {
        out.warnings.push(format!(
            "{} was chosen by its {METRIC} of {:.4} among {} trials; popularity {:.4}",
            best.model_type,
            figures.ndcg_at_10,
            tuned.trials.len(),
            baseline.map_or(0.0, |f| f.ndcg_at_10)
        ));
    }
    out.trials = tuned.trials.into_iter().map(|t| trial(t, baseline, from_us, as_of_us)).collect();
    Ok((options, out))
}

/// What was tried, as training_log shows it.
fn trial(t: recommend::Trial, baseline: Option<Figures>, from_us: i64, as_of_us: i64) -> Trial {
    Trial {
        model_type: t.model_type.into(),
        options: Some(t.options).filter(|o| !o.is_empty()),
        fold: 1,
        eval_from_us: from_us,
        eval_to_us: as_of_us,
        users: t.users as u64,
        metric: METRIC.into(),
        value: t.figures.map(|f| f.ndcg_at_10),
        baseline_value: baseline.map(|f| f.ndcg_at_10),
        rmse: None,
        bias_pct: None,
        seconds: t.seconds,
        chosen: t.status == "chosen",
        problem: t.status.strip_prefix("skipped: ").map(str::to_owned),
    }
}

/// What a model with these weights is fitted to.
pub fn feedback(interactions: &Interactions, weights: &EventWeights) -> Result<Arc<Feedback>, ModelError> {
    let feedback = interactions.weighted(weights).map_err(|e| ModelError::TooLittleData(e.strip_backtrace()))?;
    if feedback.last_us.is_empty() {
        return Err(ModelError::TooLittleData(
            "no purchase, rating, view or cart with an item that counts: nothing to recommend from".into(),
        ));
    }
    Ok(feedback)
}

/// A recommender as it is stored.
fn recommender(
    interactions: &Interactions,
    feedback: &Feedback,
    weights: EventWeights,
    recommender: AnyRecommender,
) -> Result<Outcome, ModelError> {
    let items = datafusion::arrow::compute::cast(&interactions.items.array, &datafusion::arrow::datatypes::DataType::Utf8);
    let items = items.map_err(|e| ModelError::TooLittleData(format!("items cannot be written as text: {e}")))?;
    let items = datafusion::arrow::array::AsArray::as_string::<i32>(&items).iter().map(|i| i.unwrap_or_default().to_owned()).collect();
    let users = (0..feedback.n_users() as u32).filter(|&u| !feedback.row(u).is_empty()).count();
    let parts = ItemModel { items, weights, recommender }.to_parts();
    Ok(Outcome { users: users as u64, metric: Some(METRIC), parts, ..Outcome::default() })
}

fn score(out: &mut Outcome, h: &Holdout) {
    out.measured(METRIC, h.figures.ndcg_at_10);
    out.measured("hit_rate_at_10", h.figures.hit_rate_at_10);
    out.measured("baseline_ndcg_at_10", h.baseline.ndcg_at_10);
    out.measured("baseline_hit_rate_at_10", h.baseline.hit_rate_at_10);
    out.measured("holdout_users", h.users as f64);
}
