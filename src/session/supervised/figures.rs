//! Figures of a model of a label on rows that it has not seen.

use super::data::{Data, Labelled, truth};
use crate::models::metrics::{
    Bins, Confusion, brier, ece, gini, log_loss, mae, median_absolute_error, pr_auc, r2, rmse, roc_auc, spearman,
};
use crate::models::supervised::Task;
use crate::session::families::Outcome;

/// The bins of ece: ten of equal width, as everybody reports it.
const BINS: Bins = Bins::EqualWidth(10);
/// The base rates of training and evaluation differ when one is this much larger.
const DRIFTED: f64 = 1.15;

pub(super) fn metric(task: Task) -> &'static str {
    match task {
        Task::Classification => "log_loss",
        Task::Regression => "mae",
    }
}

impl Data {
    pub(super) fn loss(&self, predictions: &[f64], y: &[f64]) -> f64 {
        match self.task {
            Task::Classification => log_loss(predictions, &truth(y)),
            Task::Regression => mae(predictions, y),
        }
    }

    /// Figures on rows that the model has not seen, beside those of the best constant of the training rows.
    pub(super) fn score(&self, predictions: &[f64], judged: &Labelled, trained: &[f64], out: &mut Outcome) {
        let mean = trained.iter().sum::<f64>() / trained.len().max(1) as f64;
        let constant = vec![mean; judged.y.len()];
        out.measured("holdout_rows", judged.y.len() as f64);
        out.measured("training_rows", trained.len() as f64);
        if self.task == Task::Regression {
            let typical = vec![median(trained); judged.y.len()];
            out.measured("mae", mae(predictions, &judged.y));
            out.measured("baseline_mae", mae(&constant, &judged.y));
            // What nobody who foretells means can beat where most labels are 0.
            out.measured("mae_of_median", mae(&typical, &judged.y));
            out.measured("rmse", rmse(predictions, &judged.y));
            out.measured("baseline_rmse", rmse(&constant, &judged.y));
            median_absolute_error(predictions, &judged.y).into_iter().for_each(|v| out.measured("median_absolute_error", v));
            median_absolute_error(&typical, &judged.y).into_iter().for_each(|v| out.measured("baseline_median_absolute_error", v));
            r2(predictions, &judged.y).into_iter().for_each(|v| out.measured("r2_score", v));
            out.measured("spearman", spearman(predictions, &judged.y));
            out.measured("gini", gini(predictions, &judged.y));
            let (predicted, actual): (f64, f64) = (predictions.iter().sum(), judged.y.iter().sum());
            out.measured("predicted_total", predicted);
            out.measured("actual_total", actual);
            out.measured("bias_pct", 100.0 * (predicted - actual) / actual);
            out.measured("baseline_bias_pct", 100.0 * (mean * judged.y.len() as f64 - actual) / actual);
            if let Some(said) = self.foreseen(&judged.table) {
                let said: Vec<f64> = said.iter().map(|v| if v.is_nan() { mean } else { *v }).collect();
                out.measured("closed_form_mae", mae(&said, &judged.y));
            }
            return;
        }
        let labels = truth(&judged.y);
        let positives = labels.iter().filter(|l| **l).count();
        let mut add = |name: &str, value: Option<f64>, baseline: Option<f64>| {
            value.into_iter().for_each(|v| out.measured(name, v));
            baseline.into_iter().for_each(|v| out.measured(&format!("baseline_{name}"), v));
        };
        let rate = positives as f64 / labels.len().max(1) as f64;
        add("roc_auc", Some(roc_auc(predictions, &labels)), Some(0.5));
        add("pr_auc", pr_auc(predictions, &labels), Some(rate));
        add("log_loss", Some(log_loss(predictions, &labels)), Some(log_loss(&constant, &labels)));
        add("brier", brier(predictions, &labels), brier(&constant, &labels));
        add("ece", ece(predictions, &labels, BINS), ece(&constant, &labels, BINS));
        add("base_rate", Some(rate), Some(mean));
        let c = Confusion::at(predictions, &labels, 0.5);
        add("accuracy", c.accuracy(), Some(if mean >= 0.5 { rate } else { 1.0 - rate }));
        add("precision", c.precision(), None);
        add("recall", c.recall(), None);
        add("f1_score", c.f1(), None);
        if let Some(p) = self.foreseen(&judged.table) {
            let p: Vec<f64> = p.iter().map(|p| if p.is_nan() { rate } else { *p }).collect();
            out.measured("closed_form_log_loss", log_loss(&p, &labels));
            out.measured("closed_form_roc_auc", roc_auc(&p, &labels));
        }
        if rate > 0.0 && mean > 0.0 && (rate / mean > DRIFTED || mean / rate > DRIFTED) {
            let said = predictions.iter().sum::<f64>() / predictions.len() as f64;
            let leans = said / rate > DRIFTED || rate / said > DRIFTED;
            out.warnings.push(format!(
                "the base rate was {:.1} % in training and {:.1} % in the window that was held out: probabilities, {:.1} % in the mean, {}",
                100.0 * mean,
                100.0 * rate,
                100.0 * said,
                if leans { "lean towards the past" } else { "went with it" }
            ));
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n => f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]),
    }
}
