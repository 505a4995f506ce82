//! One function a model family: from the arrays of a snapshot to a fitted model and its figures on the hold-out.

use std::collections::BTreeMap;

use crate::events::{EventColumn, Snapshot};
use crate::features::{Calibration, Customers, Interactions};
use crate::functions::Purchasers;
use crate::models::lifetime::{Counts, Fit, GammaGamma, Lifetime};
use crate::models::metrics::{log_loss, mae, rmse, roc_auc};
use crate::models::recommend::{Csr, ItemModel, last_item_holdout};
use crate::models::segment::{Cuts, Rfm, default_rules};
use crate::models::{AnyPurchases, AnyRecommender, Control, Make, ModelError, Options, Part};

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

    fn measured(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.metrics.insert(name.to_owned(), value);
        }
    }
}

/// Fits a model of the type in `options` to what it takes.
pub fn fit(
    snapshot: &Snapshot,
    customers: &Customers,
    interactions: Option<&Interactions>,
    options: &Options,
    control: &Control,
) -> Result<Outcome, ModelError> {
    match (&options.kind.make, interactions) {
        (Make::Purchases { fit, .. }, _) => lifetime(snapshot, customers, &|counts| fit(counts, options, control), options, control),
        (Make::Rfm, _) => segment(customers),
        (Make::Recommender { fit, .. }, Some(i)) => recommend(i, &|matrix| fit(matrix, options, control), options, control),
        (Make::Recommender { .. }, None) => Err(ModelError::TooLittleData("the events have no items".into())),
    }
}

type FitPurchases<'a> = &'a dyn Fn(Counts<'_>) -> Result<Fit<AnyPurchases>, ModelError>;
type FitRecommender<'a> = &'a dyn Fn(&Csr) -> Result<AnyRecommender, ModelError>;

/// A model of purchases with gamma-gamma; scored by fitting on the calibration period and predicting what came after it.
fn lifetime(
    snapshot: &Snapshot,
    customers: &Customers,
    fit_purchases: FitPurchases<'_>,
    options: &Options,
    control: &Control,
) -> Result<Outcome, ModelError> {
    let p = Purchasers::of(customers);
    let mut out = Outcome { users: p.codes.len() as u64, metric: Some("rmse"), ..Outcome::default() };
    let fit = fit_purchases(p.counts())?;
    let gross: f64 = customers.gross.iter().map(|&v| v as f64 / 1e6).sum();
    let refunded: f64 = customers.refunded.iter().map(|&v| v as f64 / 1e6).sum();
    let valued_days: f64 = customers.valued_days.iter().map(|&n| f64::from(n)).sum();
    let mut spend = None;
    if snapshot.contract.has(EventColumn::Amount) && options.is("spend", "gamma_gamma") {
        match GammaGamma::fit(&p.repeat_valued, &p.mean_value, None, control) {
            Ok(f) => spend = Some(f.params),
            Err(ModelError::Cancelled) => return Err(ModelError::Cancelled),
            Err(e) => out.warnings.push(format!("spend is the mean of all customers, because gamma_gamma could not be fitted: {e}")),
        }
    }
    let model = Lifetime {
        purchases: fit.params,
        spend,
        mean_value: if valued_days > 0.0 { gross / valued_days } else { 0.0 },
        net_ratio: if gross > 0.0 { (1.0 - refunded / gross).clamp(0.0, 1.0) } else { 1.0 },
        log_likelihood: fit.log_likelihood,
        customers: fit.customers,
    };
    if fit.on_edge {
        let what = "a parameter lies on the edge of the search: the data show next to no departure, or one rate for all; predictions hold, parameters do not";
        out.warnings.push(what.into());
    }
    out.parameters = model.parameters().into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
    out.parts = model.to_parts();
    if options.holdout_days().is_some() {
        match &customers.calibration {
            Some(c) => {
                if let Some(asked) = options.holdout_days().filter(|d| c.horizon_days < *d - 1e-6) {
                    out.warnings.push(format!("held out {:.1} days instead of {asked}: a third of the log at most", c.horizon_days));
                }
                score_lifetime(c, fit_purchases, control, &mut out)?;
            }
            None => out.warnings.push("not scored: the log is too short for a hold-out of a week".into()),
        }
    }
    Ok(out)
}

fn score_lifetime(c: &Calibration, fit: FitPurchases<'_>, control: &Control, out: &mut Outcome) -> Result<(), ModelError> {
    let counts = Counts { x: &c.x, t_x: &c.t_x, t: &c.t };
    let model = match fit(counts) {
        Ok(f) => f.params,
        Err(ModelError::Cancelled) => return Err(ModelError::Cancelled),
        Err(e) => {
            out.warnings.push(format!("not scored: {e}"));
            return Ok(());
        }
    };
    let expected = model.expected_purchases_all(counts, c.horizon_days, control)?;
    let churn = model.p_no_purchase_all(counts, c.horizon_days);
    let actual: Vec<f64> = c.after.iter().map(|&n| f64::from(n)).collect();
    let left: Vec<bool> = c.after.iter().map(|&n| n == 0).collect();
    // The baseline a merchant would use: everybody goes on at their own rate so far.
    let naive: Vec<f64> = c.x.iter().zip(&c.t).map(|(&x, &t)| c.horizon_days * f64::from(x) / f64::from(t.max(1))).collect();
    // In the calibration period: who had not purchased in its last stretch of the same length.
    let base = {
        let lapsed = |i: usize| f64::from(c.t[i] - c.t_x[i].min(c.t[i])) >= c.horizon_days;
        let old: Vec<usize> = (0..c.t.len()).filter(|&i| f64::from(c.t[i]) >= c.horizon_days).collect();
        if old.is_empty() { 0.5 } else { old.iter().filter(|&&i| lapsed(i)).count() as f64 / old.len() as f64 }
    };
    out.measured("rmse", rmse(&expected, &actual));
    out.measured("baseline_rmse", rmse(&naive, &actual));
    out.measured("mae", mae(&expected, &actual));
    out.measured("baseline_mae", mae(&naive, &actual));
    let (sum, truth): (f64, f64) = (expected.iter().sum(), actual.iter().sum());
    out.measured("bias_pct", 100.0 * (sum - truth) / truth);
    out.measured("baseline_bias_pct", 100.0 * (naive.iter().sum::<f64>() - truth) / truth);
    out.measured("roc_auc", roc_auc(&churn, &left));
    out.measured("log_loss", log_loss(&churn, &left));
    out.measured("baseline_log_loss", log_loss(&vec![base; left.len()], &left));
    out.horizon_days = Some(c.horizon_days);
    out.eval_from_us = Some(c.cut_us);
    Ok(())
}

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
    let strong = !interactions.strong.columns.is_empty();
    let matrix = if strong { &interactions.strong } else { &interactions.weak };
    if matrix.columns.is_empty() {
        return Err(ModelError::TooLittleData("no purchase, rating, view or cart with an item: nothing to recommend from".into()));
    }
    let recommender = fit(matrix)?;
    let items = datafusion::arrow::compute::cast(&interactions.items.array, &datafusion::arrow::datatypes::DataType::Utf8);
    let items = items.map_err(|e| ModelError::TooLittleData(format!("items cannot be written as text: {e}")))?;
    let items = datafusion::arrow::array::AsArray::as_string::<i32>(&items).iter().map(|i| i.unwrap_or_default().to_owned()).collect();
    let users = (0..matrix.n_rows()).filter(|&u| !matrix.row(u).0.is_empty()).count();
    let mut out = Outcome { users: users as u64, metric: Some("ndcg_at_10"), ..Outcome::default() };
    out.parts = ItemModel { items, recommender }.to_parts();
    if options.holdout_days().is_none() {
        return Ok(out);
    }
    if !strong {
        out.warnings.push("not scored: the log has views and carts only".into());
        return Ok(out);
    }
    match last_item_holdout(matrix, &interactions.strong_last_us, fit, HOLDOUT_USERS, control)? {
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
