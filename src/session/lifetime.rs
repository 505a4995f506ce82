//! Lifetime models: from customers to a fitted model, its figures on hold-outs, and the tournament of the types.

use std::collections::BTreeMap;

use super::families::Outcome;
use crate::events::{EventColumn, Snapshot};
use crate::features::{Context, Customers, DAY_US, Purchasers, day_of};
use crate::functions::Backtested;
use crate::models::lifetime::{ClvLinear, Fit, GammaGamma, Lifetime, Refunds, Sample};
use crate::models::metrics::{gini, log_loss, mae, rmse, roc_auc, spearman};
use crate::models::{AnyPurchases, Control, Make, ModelError, Options};
use crate::store::Trial;

/// What every fit of one statement has in common.
pub struct Study<'a> {
    pub snapshot: &'a Snapshot,
    pub customers: &'a Customers,
    pub context: &'a Context,
    pub control: &'a Control,
}

/// A model is fitted to what was known at the end of `cut_day`, and judged on the `days` after it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fold {
    pub cut_day: i64,
    pub days: i64,
}

/// Shortest hold-out, in days.
const SHORTEST: i64 = 7;
/// Folds of a tournament, and customers it looks at.
const TOURNAMENT_FOLDS: usize = 3;
const TOURNAMENT_CUSTOMERS: usize = 30_000;
/// The level of the intervals whose coverage is measured.
const LEVEL: f64 = 0.9;

impl Fold {
    /// µs since 1970 at which the calibration period ends, the last instant of its day.
    pub fn cut_us(&self) -> i64 {
        (self.cut_day + 1) * DAY_US - 1
    }
}

/// Up to `most` hold-outs of `holdout_days`, the latest first, one before the other: the latest ends at `as_of`. In a short log they are a third of it. What
/// comes before a cut is at least as long as what comes after.
pub fn folds(snapshot: &Snapshot, holdout_days: f64, most: usize) -> Vec<Fold> {
    let (first, last) = (day_of(snapshot.min_us), day_of(snapshot.as_of_us));
    let days = (holdout_days.round() as i64).min((last - first) / 3);
    if days < SHORTEST {
        return vec![];
    }
    let fold = |k: usize| Fold { cut_day: last - days * (k as i64 + 1), days };
    (0..most).map(fold).take_while(|f| f.cut_day - first >= f.days).collect()
}

/// Figures on a hold-out by name; a baseline's have the prefix `baseline_`.
pub type Scores = BTreeMap<String, f64>;

impl Study<'_> {
    fn has_amounts(&self) -> bool {
        self.snapshot.contract.has(EventColumn::Amount)
    }

    /// Fits the types' model to some customers as of some day.
    fn lifetime(
        &self,
        p: &Purchasers,
        options: &Options,
        start: Option<&[f64]>,
        warnings: &mut Vec<String>,
    ) -> Result<(Lifetime, Fit<()>), ModelError> {
        let Make::Purchases { fit, .. } = options.kind.make else {
            return Err(ModelError::TooLittleData(format!("{} is no model of purchases", options.kind.name)));
        };
        let known = self.context.of(p);
        let sample = Sample { counts: p.counts_with(&known), start };
        let fit: Fit<AnyPurchases> = match fit(&sample, options, self.control) {
            // Where the old parameters are no way to the new ones, a start of the model's own may be.
            Err(ModelError::NotConverged { .. }) if start.is_some() => fit(&Sample { start: None, ..sample }, options, self.control)?,
            fitted => fitted?,
        };
        let gross: f64 = p.gross.iter().sum();
        let valued_days: f64 = p.valued_days.iter().map(|&n| f64::from(n)).sum();
        let with_first = options.is("first_purchase", "include");
        let mut spend = None;
        if self.has_amounts() && options.is("spend", "gamma_gamma") {
            let (known, mean): (Vec<u32>, Vec<f64>) = (0..p.len()).map(|i| p.spending().known(i, with_first)).unzip();
            match GammaGamma::fit(&known, &mean, None, self.control) {
                Ok(f) => spend = Some(f.params),
                Err(ModelError::Cancelled) => return Err(ModelError::Cancelled),
                Err(e) => warnings.push(format!("spend is the mean of all customers, because gamma_gamma could not be fitted: {e}")),
            }
        }
        if spend.is_some()
            && let Some(r) = correlation(p)
            && r.abs() > DEPENDENT
        {
            warnings.push(format!(
                "gamma_gamma takes the value of an order as independent of how many there are: among repeat customers their correlation is {r:.2}"
            ));
        }
        let mean_value = if valued_days > 0.0 { gross / valued_days } else { 0.0 };
        let model = Lifetime {
            days_a_purchase: fit.params.days_a_purchase(p.counts()),
            purchases: fit.params.clone(),
            spend,
            with_first,
            mean_value,
            value_cv2: variation(p, mean_value),
            refunds: Refunds::estimate(p.spending()),
            linear: match crate::models::days(options.get("horizon")) {
                Some(horizon) if self.has_amounts() => Some(ClvLinear::fit(p.counts(), p.spending(), horizon, self.control)?),
                _ => None,
            },
            log_likelihood: fit.log_likelihood,
            customers: fit.customers,
            estimated: fit.parameters as u64,
        };
        Ok((model, fit.map(|_| ())))
    }

    /// Fits a model on all that is known, and scores it on the latest hold-out.
    pub fn fit(&self, options: &Options, start: Option<&[f64]>) -> Result<Outcome, ModelError> {
        let p = self.customers.today();
        let mut out = Outcome { users: p.codes.len() as u64, metric: Some("rmse"), ..Outcome::default() };
        let (model, fit) = self.lifetime(p, options, start, &mut out.warnings)?;
        if fit.on_edge {
            let what = "a parameter lies on the edge of the search: the data show next to no departure, or one rate for all; predictions hold, parameters do not";
            out.warnings.push(what.into());
        }
        out.parameters = model.parameters().into_iter().map(|p| (p.name, p.value)).collect();
        if model.log_likelihood.is_finite() && model.estimated > 0 {
            let (k, n) = (model.estimated as f64, (model.customers as f64).max(1.0));
            out.measured("log_likelihood", model.log_likelihood);
            out.measured("aic", 2.0 * k - 2.0 * model.log_likelihood);
            out.measured("bic", k * n.ln() - 2.0 * model.log_likelihood);
        }
        out.parts = model.to_parts();
        let Some(asked) = options.holdout_days() else { return Ok(out) };
        let Some(&fold) = folds(self.snapshot, asked, 1).first() else {
            out.warnings.push("not scored: the log is too short for a hold-out of a week".into());
            return Ok(out);
        };
        if (fold.days as f64) < asked - 1e-6 {
            out.warnings.push(format!("held out {} days instead of {asked}: a third of the log at most", fold.days));
        }
        match self.score(fold, options, usize::MAX) {
            Ok(scores) => {
                out.metrics.extend(scores);
                out.horizon_days = Some(fold.days as f64);
                out.eval_from_us = Some(fold.cut_us());
            }
            Err(ModelError::Cancelled) => return Err(ModelError::Cancelled),
            Err(e) => out.warnings.push(format!("not scored: {e}")),
        }
        Ok(out)
    }

    /// The figures of a type on one fold, on at most `most` customers, taken evenly by key.
    fn score(&self, fold: Fold, options: &Options, most: usize) -> Result<Scores, ModelError> {
        self.test(fold, options, most).map(|tested| tested.scores)
    }

    /// A type on one fold: what was expected of the customers, what came, and the figures.
    pub fn test(&self, fold: Fold, options: &Options, most: usize) -> Result<Backtested, ModelError> {
        let step = self.customers.len().div_ceil(most).max(1);
        let p = Purchasers::among(self.customers, fold.cut_day, (0..self.customers.len() as u32).step_by(step));
        let (model, _) = self.lifetime(&p, options, None, &mut vec![])?;
        let known = self.context.of(&p);
        let counts = p.counts_with(&known);
        let days = fold.days as f64;
        let mut expected = model.purchases.expected_purchases_all(counts, days, self.control)?;
        expected.iter_mut().for_each(|n| *n *= model.days_a_purchase);
        let churn = model.purchases.p_no_purchase_all(counts, days, self.control)?;
        let (purchases, value) = p.after(self.customers, fold.days);
        let left: Vec<bool> = purchases.iter().map(|&n| n == 0.0).collect();
        // The baseline a merchant would use: everybody goes on at their own rate so far.
        let naive: Vec<f64> = p.x.iter().zip(&p.t).map(|(&x, &t)| days * f64::from(x) / f64::from(t.max(1))).collect();
        // In the calibration period: who had not purchased in its last stretch of the same length.
        let base = {
            let old: Vec<usize> = (0..p.t.len()).filter(|&i| f64::from(p.t[i]) >= days).collect();
            let lapsed = old.iter().filter(|&&i| f64::from(p.t[i] - p.t_x[i].min(p.t[i])) >= days).count();
            if old.is_empty() { 0.5 } else { lapsed as f64 / old.len() as f64 }
        };
        let mut scores = Scores::new();
        let mut measured = |name: &str, value: f64| {
            if value.is_finite() {
                scores.insert(name.to_owned(), value);
            }
        };
        let bias = |predicted: &[f64], actual: &[f64]| {
            let (sum, truth): (f64, f64) = (predicted.iter().sum(), actual.iter().sum());
            100.0 * (sum - truth) / truth
        };
        let futures = model.purchases.futures(counts, days, self.control)?;
        let chances: Vec<f64> = (0..p.len()).map(|i| futures.chance(i, purchases[i] as usize)).collect();
        let naive_chance = |(mean, n): (&f64, &f64)| poisson_chance(*mean, *n as usize);
        measured("users", p.codes.len() as f64);
        measured("count_log_loss", mean_log_loss(&chances));
        measured("baseline_count_log_loss", mean_log_loss(&naive.iter().zip(&purchases).map(naive_chance).collect::<Vec<_>>()));
        measured("rmse", rmse(&expected, &purchases));
        measured("baseline_rmse", rmse(&naive, &purchases));
        measured("zero_rmse", rmse(&vec![0.0; purchases.len()], &purchases));
        measured("mae", mae(&expected, &purchases));
        measured("baseline_mae", mae(&naive, &purchases));
        measured("predicted_total", expected.iter().sum());
        measured("actual_total", purchases.iter().sum());
        measured("bias_pct", bias(&expected, &purchases));
        measured("baseline_bias_pct", bias(&naive, &purchases));
        measured("roc_auc", roc_auc(&churn, &left));
        measured("log_loss", log_loss(&churn, &left));
        measured("baseline_log_loss", log_loss(&vec![base; left.len()], &left));
        if self.has_amounts() {
            let spending = p.spending();
            let worth = model.values(counts, spending, days, 0.0, self.control)?;
            let own: Vec<f64> = model.order_values(spending);
            let naive: Vec<f64> = naive.iter().zip(&own).map(|(n, v)| n * v).collect();
            measured("value_mae", mae(&worth, &value));
            measured("baseline_value_mae", mae(&naive, &value));
            measured("value_rmse", rmse(&worth, &value));
            measured("baseline_value_rmse", rmse(&naive, &value));
            measured("value_predicted_total", worth.iter().sum());
            measured("value_actual_total", value.iter().sum());
            measured("value_bias_pct", bias(&worth, &value));
            measured("baseline_value_bias_pct", bias(&naive, &value));
            measured("value_spearman", spearman(&worth, &value));
            measured("baseline_value_spearman", spearman(&naive, &value));
            measured("value_gini", gini(&worth, &value));
            measured("baseline_value_gini", gini(&naive, &value));
            let intervals = model.intervals(counts, spending, days, 0.0, LEVEL, self.control)?;
            let inside = intervals.iter().zip(&value).filter(|(i, v)| i.low - 1e-9 <= **v && **v <= i.high + 1e-9).count();
            measured("interval_coverage", inside as f64 / value.len() as f64);
        }
        let (from_us, to_us) = (fold.cut_us(), fold.cut_us() + fold.days * DAY_US);
        Ok(Backtested { from_us, to_us, x: p.x.clone(), expected, actual: purchases, scores })
    }

    /// Plays the candidates against each other on rolling hold-outs; the one of the lowest mean log-loss of the counts wins, the first of equals. Baselines are played, but
    /// cannot win.
    pub fn tournament(&self, candidates: &[Options]) -> Result<(Vec<usize>, Vec<Trial>), ModelError> {
        let holdout = candidates.first().and_then(Options::holdout_days);
        let folds = holdout.map(|days| folds(self.snapshot, days, TOURNAMENT_FOLDS)).unwrap_or_default();
        let mut trials: Vec<Trial> = vec![];
        let mut means: Vec<Option<f64>> = vec![];
        for options in candidates {
            let mut sum = Some(0.0);
            for (k, &fold) in folds.iter().enumerate() {
                self.control.check()?;
                let started = std::time::Instant::now();
                let scored = self.score(fold, options, TOURNAMENT_CUSTOMERS);
                if matches!(scored, Err(ModelError::Cancelled)) {
                    return Err(ModelError::Cancelled);
                }
                let (scores, problem) = match scored {
                    Ok(scores) => (scores, None),
                    Err(e) => (Scores::new(), Some(e.to_string())),
                };
                let figure = |name: &str| scores.get(name).copied();
                sum = sum.zip(figure(TOURNAMENT_METRIC)).map(|(a, b)| a + b);
                trials.push(Trial {
                    model_type: options.kind.name.to_owned(),
                    fold: k as u32 + 1,
                    eval_from_us: fold.cut_us(),
                    eval_to_us: fold.cut_us() + fold.days * DAY_US,
                    users: figure("users").unwrap_or(0.0) as u64,
                    metric: TOURNAMENT_METRIC.to_owned(),
                    value: figure(TOURNAMENT_METRIC),
                    baseline_value: figure(&format!("baseline_{TOURNAMENT_METRIC}")),
                    rmse: figure("rmse"),
                    bias_pct: figure("bias_pct"),
                    seconds: started.elapsed().as_secs_f64(),
                    chosen: false,
                    problem,
                });
            }
            means.push(sum.filter(|_| !folds.is_empty()).map(|s| s / folds.len() as f64));
        }
        // A difference in the last digits is none: of equals the first is tried first.
        let mut order: Vec<usize> = (0..candidates.len()).filter(|&i| !candidates[i].kind.baseline).collect();
        let beats = |a: usize, b: usize| match (means[a], means[b]) {
            (Some(a), Some(b)) => a < b * (1.0 - 1e-6),
            (Some(_), None) => true,
            _ => false,
        };
        for i in 1..order.len() {
            let mut at = i;
            while at > 0 && beats(order[at], order[at - 1]) {
                order.swap(at, at - 1);
                at -= 1;
            }
        }
        Ok((order, trials))
    }
}

/// What types are compared by: a proper score of the whole distribution, which tells them apart where their means hardly differ.
const TOURNAMENT_METRIC: &str = "count_log_loss";

/// Mean −ln of the chances given to what came, each taken as 1e-6 at least.
fn mean_log_loss(chances: &[f64]) -> f64 {
    chances.iter().map(|p| -p.clamp(1e-6, 1.0).ln()).sum::<f64>() / chances.len() as f64
}

fn poisson_chance(mean: f64, n: usize) -> f64 {
    let ln_factorial: f64 = (1..=n).map(|i| (i as f64).ln()).sum();
    if mean > 0.0 { (n as f64 * mean.ln() - mean - ln_factorial).exp() } else { f64::from(u8::from(n == 0)) }
}

/// Beyond this the values of orders are not independent of their number.
const DEPENDENT: f64 = 0.3;

/// Pearson's correlation of the number of repeat orders and their mean value, among repeat customers.
pub fn correlation(p: &Purchasers) -> Option<f64> {
    let repeaters: Vec<usize> = (0..p.codes.len()).filter(|&i| p.repeat_valued[i] > 0 && p.mean_value[i] > 0.0).collect();
    let n = repeaters.len() as f64;
    let mean = |f: &dyn Fn(usize) -> f64| repeaters.iter().map(|&i| f(i)).sum::<f64>() / n;
    let (count, value) = (|i: usize| f64::from(p.repeat_valued[i]), |i: usize| p.mean_value[i]);
    let (mean_count, mean_value) = (mean(&count), mean(&value));
    let product = mean(&|i| (count(i) - mean_count) * (value(i) - mean_value));
    let spread = mean(&|i| (count(i) - mean_count).powi(2)) * mean(&|i| (value(i) - mean_value).powi(2));
    Some(product / spread.sqrt()).filter(|r| r.is_finite() && repeaters.len() > 2)
}

/// The squared coefficient of variation of customers' mean values, for an order of any customer.
fn variation(p: &Purchasers, mean: f64) -> f64 {
    let known: Vec<f64> = (0..p.codes.len()).filter(|&i| p.valued_days[i] > 0).map(|i| p.gross[i] / f64::from(p.valued_days[i])).collect();
    if known.is_empty() || mean <= 0.0 {
        return 1.0;
    }
    (known.iter().map(|v| (v / mean - 1.0).powi(2)).sum::<f64>() / known.len() as f64).clamp(1e-4, 1e4)
}
