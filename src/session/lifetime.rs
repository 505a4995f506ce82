//! Lifetime models: from customers to a fitted model, its figures on hold-outs, and the tournament of the types.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::families::Outcome;
use crate::events::{EventColumn, Snapshot};
use crate::features::{Context, Customers, DAY_US, Purchasers, day_of, end_of_day};
use crate::functions::Backtested;
use crate::models::lifetime::{ClvLinear, Counts, Fit, GammaGamma, Lifetime, Refunds, Sample};
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
        end_of_day(self.cut_day)
    }

    /// µs since 1970 at which the hold-out ends.
    pub fn end_us(&self) -> i64 {
        self.cut_us() + self.days * DAY_US
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
#[derive(Default)]
struct Scores(BTreeMap<String, f64>);

impl Scores {
    /// Takes a figure that is a number.
    fn measured(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.0.insert(name.to_owned(), value);
        }
    }
}

impl Study<'_> {
    fn has_amounts(&self) -> bool {
        self.snapshot.contract.has(EventColumn::Amount)
    }

    /// Fits the model of purchases of a type.
    fn purchases(&self, counts: Counts<'_>, options: &Options, start: Option<&[f64]>) -> Result<Fit<AnyPurchases>, ModelError> {
        let Make::Purchases { fit, .. } = options.kind.make else {
            return Err(ModelError::TooLittleData(format!("{} is no model of purchases", options.kind.name)));
        };
        match fit(&Sample { counts, start }, options, self.control) {
            // Where the old parameters are no way to the new ones, a start of the model's own may be.
            Err(ModelError::NotConverged { .. }) if start.is_some() => fit(&Sample { counts, start: None }, options, self.control),
            fitted => fitted,
        }
    }

    /// Adds to a model of purchases what an order is worth to the same customers.
    fn lifetime(
        &self,
        p: &Purchasers,
        fit: &Fit<AnyPurchases>,
        options: &Options,
        warnings: &mut Vec<String>,
    ) -> Result<Lifetime, ModelError> {
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
        let linear = match crate::models::days(options.get("horizon")) {
            Some(horizon) if self.has_amounts() => Some(ClvLinear::fit(p.counts(), p.spending(), horizon, self.control)?),
            _ => None,
        };
        let mean_value = if valued_days > 0.0 { gross / valued_days } else { 0.0 };
        Ok(Lifetime {
            purchases: Arc::clone(&fit.params),
            spend,
            with_first,
            mean_value,
            value_cv2: variation(p, mean_value),
            refunds: Refunds::estimate(p.spending()),
            days_a_purchase: fit.params.days_a_purchase(p.counts()),
            linear,
            log_likelihood: fit.log_likelihood,
            customers: fit.customers,
            estimated: fit.parameters as u64,
        })
    }

    /// Fits a model on all that is known, and scores it on the latest hold-out.
    pub fn fit(&self, options: &Options, start: Option<&[f64]>) -> Result<Outcome, ModelError> {
        let p = self.customers.today();
        let mut out = Outcome { users: p.codes.len() as u64, metric: Some("rmse"), ..Outcome::default() };
        let fit = self.purchases(p.counts_with(&self.context.of(p)), options, start)?;
        let model = self.lifetime(p, &fit, options, &mut out.warnings)?;
        if fit.on_edge {
            let what = "a parameter lies on the edge of the search: the data show next to no departure, or one rate for all; predictions hold, parameters do not";
            out.warnings.push(what.into());
        }
        out.parameters = model.parameters().into_iter().map(|p| (p.name, p.value)).collect();
        if model.log_likelihood.is_finite() && model.estimated > 0 {
            let (k, n) = (model.estimated as f64, (model.customers as f64).max(1.0));
            out.measured("log_likelihood", model.log_likelihood);
            out.measured("fit_evaluations", fit.evaluations as f64);
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
        match self.test(fold, options) {
            Ok(tested) => {
                out.metrics.extend(tested.scores);
                out.horizon_days = Some(fold.days as f64);
                out.eval_from_us = Some(fold.cut_us());
            }
            Err(ModelError::Cancelled) => return Err(ModelError::Cancelled),
            Err(e) => out.warnings.push(format!("not scored: {e}")),
        }
        Ok(out)
    }

    /// A type on one fold, fitted and judged on all customers: what was expected of them, what came, and the figures.
    pub fn test(&self, fold: Fold, options: &Options) -> Result<Backtested, ModelError> {
        let p = Purchasers::as_of(self.customers, fold.cut_day);
        let known = self.context.of(&p);
        let counts = p.counts_with(&known);
        let fit = self.purchases(counts, options, None)?;
        let model = self.lifetime(&p, &fit, options, &mut vec![])?;
        let (purchases, value) = p.after(self.customers, fold.days);
        let (expected, mut scores) = self.score_counts(&fit.params, &p, counts, fold.days as f64, &purchases)?;
        if self.has_amounts() {
            self.score_values(&model, &p, counts, fold.days as f64, &value, &mut scores)?;
        }
        let (from_us, to_us, users) = (fold.cut_us(), fold.end_us(), p.x.len() as u64);
        Ok(Backtested { from_us, to_us, users, x: p.x, expected, actual: purchases, scores: scores.0 })
    }

    /// How well the number of purchase days in the `days` after was foreseen; the expected numbers come first.
    fn score_counts(
        &self,
        model: &AnyPurchases,
        p: &Purchasers,
        counts: Counts<'_>,
        days: f64,
        actual: &[f64],
    ) -> Result<(Vec<f64>, Scores), ModelError> {
        let days_a_purchase = model.days_a_purchase(counts);
        let expected = model.expected_purchases_all(counts, days, self.control)?;
        let expected: Vec<f64> = expected.into_iter().map(|n| n * days_a_purchase).collect();
        let churn = model.p_no_purchase_all(counts, days, self.control)?;
        let left: Vec<bool> = actual.iter().map(|&n| n == 0.0).collect();
        let naive = naive(p, days);
        // In the calibration period: who had not purchased in its last stretch of the same length.
        let base = {
            let old: Vec<usize> = (0..p.len()).filter(|&i| f64::from(p.t[i]) >= days).collect();
            let lapsed = old.iter().filter(|&&i| f64::from(p.t[i] - p.t_x[i].min(p.t[i])) >= days).count();
            if old.is_empty() { 0.5 } else { lapsed as f64 / old.len() as f64 }
        };
        let mut scores = Scores::default();
        // A model that counts periods gives no chance to a number of days.
        if days_a_purchase == 1.0 {
            let futures = model.futures(counts, days, self.control)?;
            let chances: Vec<f64> = (0..p.len()).map(|i| futures.chance(i, actual[i] as usize)).collect();
            scores.measured("count_log_loss", mean_log_loss(&chances));
        }
        let poisson: Vec<f64> = naive.iter().zip(actual).map(|(mean, n)| poisson_chance(*mean, *n as usize)).collect();
        scores.measured("baseline_count_log_loss", mean_log_loss(&poisson));
        scores.measured("rmse", rmse(&expected, actual));
        scores.measured("baseline_rmse", rmse(&naive, actual));
        scores.measured("zero_rmse", rmse(&vec![0.0; actual.len()], actual));
        scores.measured("mae", mae(&expected, actual));
        scores.measured("baseline_mae", mae(&naive, actual));
        scores.measured("predicted_total", expected.iter().sum());
        scores.measured("actual_total", actual.iter().sum());
        scores.measured("bias_pct", bias_pct(&expected, actual));
        scores.measured("baseline_bias_pct", bias_pct(&naive, actual));
        scores.measured("roc_auc", roc_auc(&churn, &left));
        scores.measured("log_loss", log_loss(&churn, &left));
        scores.measured("baseline_log_loss", log_loss(&vec![base; left.len()], &left));
        Ok((expected, scores))
    }

    /// How well net value in the `days` after was foreseen, not discounted.
    fn score_values(
        &self,
        model: &Lifetime,
        p: &Purchasers,
        counts: Counts<'_>,
        days: f64,
        actual: &[f64],
        scores: &mut Scores,
    ) -> Result<(), ModelError> {
        let spending = p.spending();
        let intervals = model.intervals(counts, spending, days, 0.0, LEVEL, self.control)?;
        let expected: Vec<f64> = intervals.iter().map(|i| i.value).collect();
        let naive: Vec<f64> = naive(p, days).iter().zip(model.order_values(spending)).map(|(n, v)| n * v).collect();
        for (prefix, predicted) in [("", &expected), ("baseline_", &naive)] {
            scores.measured(&format!("{prefix}value_mae"), mae(predicted, actual));
            scores.measured(&format!("{prefix}value_rmse"), rmse(predicted, actual));
            scores.measured(&format!("{prefix}value_bias_pct"), bias_pct(predicted, actual));
            scores.measured(&format!("{prefix}value_spearman"), spearman(predicted, actual));
            scores.measured(&format!("{prefix}value_gini"), gini(predicted, actual));
        }
        scores.measured("value_predicted_total", expected.iter().sum());
        scores.measured("value_actual_total", actual.iter().sum());
        let inside = intervals.iter().zip(actual).filter(|(i, v)| i.low - 1e-9 <= **v && **v <= i.high + 1e-9).count();
        scores.measured("interval_coverage", inside as f64 / actual.len() as f64);
        Ok(())
    }

    /// Plays the candidates against each other on rolling hold-outs, on a part of the customers taken evenly by key, and answers the order in which they are
    /// to be tried: by mean log-loss of the counts, the first of equals first. Baselines are played, but cannot win.
    pub fn tournament(&self, candidates: &[Options]) -> Result<(Vec<usize>, Vec<Trial>), ModelError> {
        let holdout = candidates.first().and_then(Options::holdout_days);
        let folds = holdout.map(|days| folds(self.snapshot, days, TOURNAMENT_FOLDS)).unwrap_or_default();
        let step = self.customers.len().div_ceil(TOURNAMENT_CUSTOMERS).max(1);
        let mut trials: Vec<Vec<Trial>> = vec![vec![]; candidates.len()];
        for (k, fold) in folds.iter().enumerate() {
            let p = Purchasers::among(self.customers, fold.cut_day, (0..self.customers.len() as u32).step_by(step));
            let known = self.context.of(&p);
            let counts = p.counts_with(&known);
            let (actual, _) = p.after(self.customers, fold.days);
            for (options, trials) in candidates.iter().zip(&mut trials) {
                self.control.check()?;
                let started = Instant::now();
                let fitted = self.purchases(counts, options, None);
                let scored = fitted.and_then(|fit| self.score_counts(&fit.params, &p, counts, fold.days as f64, &actual));
                let (scores, problem) = match scored {
                    Ok((_, scores)) => (scores, None),
                    Err(ModelError::Cancelled) => return Err(ModelError::Cancelled),
                    Err(e) => (Scores::default(), Some(e.to_string())),
                };
                let figure = |name: &str| scores.0.get(name).copied();
                trials.push(Trial {
                    model_type: options.kind.name.to_owned(),
                    options: None,
                    fold: k as u32 + 1,
                    eval_from_us: fold.cut_us(),
                    eval_to_us: fold.end_us(),
                    users: p.len() as u64,
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
        }
        let mean = |trials: &Vec<Trial>| {
            let values: Option<Vec<f64>> = trials.iter().map(|t| t.value).collect();
            values.filter(|v| !v.is_empty()).map(|v| v.iter().sum::<f64>() / v.len() as f64)
        };
        let means: Vec<Option<f64>> = trials.iter().map(mean).collect();
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
        Ok((order, trials.concat()))
    }
}

/// What types are compared by: a proper score of the whole distribution, which tells them apart where their means hardly differ.
const TOURNAMENT_METRIC: &str = "count_log_loss";

/// The baseline a merchant would use: everybody goes on at their own rate so far.
fn naive(p: &Purchasers, days: f64) -> Vec<f64> {
    p.x.iter().zip(&p.t).map(|(&x, &t)| days * f64::from(x) / f64::from(t.max(1))).collect()
}

/// The predicted total less the actual one, percent of the actual.
fn bias_pct(predicted: &[f64], actual: &[f64]) -> f64 {
    let (sum, truth): (f64, f64) = (predicted.iter().sum(), actual.iter().sum());
    100.0 * (sum - truth) / truth
}

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
fn correlation(p: &Purchasers) -> Option<f64> {
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
