//! `compare_models('a, b')`: whether one model is better than another on the same rows.

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::common::plan_err;

use super::common::{floats_of, integers_of, rows_of, texts_of};
use super::labelled::held;
use super::prelude::*;
use crate::models::metrics::{Better, Difference, brier, delong, log_loss, mae, paired_bootstrap, pr_auc, rmse};
use crate::models::supervised::{Scored, Task};

#[derive(Debug)]
pub struct CompareModels;

static SPEC: FunctionSpec = FunctionSpec {
    name: "compare_models",
    section: "Prediction",
    form: Form::Table,
    arguments: &[Argument {
        name: "models",
        kind: ArgKind::Text,
        default: None,
        about: "names, separated by commas; the first is compared with each of the others",
    }],
    returns: "",
    unit: "",
    columns: &[
        ("first", "Utf8", "the first model"),
        ("second", "Utf8", "the other one"),
        ("metric", "Utf8", "name of the figure"),
        ("first_value", "Float64", "the figure of the first on the rows that both were judged on"),
        ("second_value", "Float64", "that of the second"),
        ("difference", "Float64", "second − first"),
        ("low", "Float64", "95 % interval of the difference, lower end"),
        ("high", "Float64", "upper end"),
        ("p_better", "Float64", "how likely the second is the better one"),
        ("rows", "Int64", "rows that both were judged on"),
    ],
    summary: "Two models on the same held-out rows: how much they differ, and how likely that is no accident.",
    behaviour: &[
        "Rows are paired by customer and cut-off, or by the content of a query's row: models must have been held out from the same ones, with the same label. Without a common row it is an error.",
    ],
    nulls: "",
    method: "Paired bootstrap, 1,000 draws; DeLong's test for roc_auc.",
    source: "Efron & Tibshirani (1993), § 13.3; DeLong, DeLong & Clarke-Pearson (1988); Sun & Xu (2014)",
    limits: "The same window for both: another one may decide otherwise.",
    example: "CREATE MODEL c8 PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'logistic_reg'); CREATE MODEL c9 PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 WITHIN INTERVAL '30 days' FOR EACH user_id WITH (model_type = 'decision_tree'); SELECT metric, rows > 0 AS any FROM compare_models('c8, c9') ORDER BY metric",
};

#[async_trait]
impl RelationFunction for CompareModels {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let names: Vec<&str> = args.text("models").unwrap_or_default().split(',').map(str::trim).filter(|n| !n.is_empty()).collect();
        let [first, others @ ..] = &names[..] else { return plan_err!("compare_models(): two names at least, such as 'a, b'") };
        if others.is_empty() {
            return plan_err!("compare_models(): two names at least, such as '{first}, another'");
        }
        let (a, mut rows) = (held(pin, &SPEC, first).await?, vec![]);
        for second in others {
            let b = held(pin, &SPEC, second).await?;
            if a.model.task != b.model.task {
                return plan_err!(
                    "compare_models(): '{first}' and '{second}' foretell different things: a number, and whether something happens"
                );
            }
            let (x, y, label) = paired(&a.model.holdout, &b.model.holdout);
            if label.is_empty() {
                return plan_err!(
                    "compare_models(): '{first}' and '{second}' were not judged on the same rows with the same label: make both on the same events, window and split"
                );
            }
            for (metric, d) in compared(a.model.task, [&x, &y], &label) {
                rows.push(((*first).to_owned(), (*second).to_owned(), metric, d, label.len() as u64));
            }
        }
        let columns: Vec<ArrayRef> = vec![
            texts_of(&rows, |r| Some(r.0.clone())),
            texts_of(&rows, |r| Some(r.1.clone())),
            texts_of(&rows, |r| Some(r.2.to_owned())),
            floats_of(&rows, |r| Some(r.3.first)),
            floats_of(&rows, |r| Some(r.3.second)),
            floats_of(&rows, |r| Some(r.3.difference)),
            floats_of(&rows, |r| Some(r.3.low)),
            floats_of(&rows, |r| Some(r.3.high)),
            floats_of(&rows, |r| Some(r.3.p_better)),
            integers_of(&rows, |r| r.4),
        ];
        rows_of(&SPEC, columns, projection)
    }
}

const DRAWS: usize = 1_000;
const SEED: u64 = 42;

/// The predictions of both for the rows with the same key and label, and the labels; by key.
fn paired(a: &Scored, b: &Scored) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let by_key = |s: &Scored| {
        let mut rows: Vec<(u64, u64, f64)> = (0..s.key.len()).map(|i| (s.key[i], s.label[i].to_bits(), s.prediction[i])).collect();
        rows.sort_by(|x, y| (x.0, x.1).cmp(&(y.0, y.1)).then(x.2.total_cmp(&y.2)));
        rows
    };
    let (a, b) = (by_key(a), by_key(b));
    let (mut i, mut j, mut out) = (0, 0, (vec![], vec![], vec![]));
    while i < a.len() && j < b.len() {
        match (a[i].0, a[i].1).cmp(&(b[j].0, b[j].1)) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                out.0.push(a[i].2);
                out.1.push(b[j].2);
                out.2.push(f64::from_bits(a[i].1));
                (i, j) = (i + 1, j + 1);
            }
        }
    }
    out
}

fn compared(task: Task, scores: [&[f64]; 2], label: &[f64]) -> Vec<(&'static str, Difference)> {
    let mut out = vec![];
    if task == Task::Regression {
        out.extend(paired_bootstrap(scores, label, |p, y| Some(mae(p, y)), Better::Lower, DRAWS, SEED).map(|d| ("mae", d)));
        out.extend(paired_bootstrap(scores, label, |p, y| Some(rmse(p, y)), Better::Lower, DRAWS, SEED).map(|d| ("rmse", d)));
        return out;
    }
    let positive: Vec<bool> = label.iter().map(|y| *y > 0.5).collect();
    if let Some(d) = delong(scores, &positive) {
        let d = Difference { first: d.first, second: d.second, difference: d.difference, low: d.low, high: d.high, p_better: d.p_better };
        out.push(("roc_auc", d));
    }
    let log = |p: &[f64], y: &[bool]| Some(log_loss(p, y));
    out.extend(paired_bootstrap(scores, &positive, log, Better::Lower, DRAWS, SEED).map(|d| ("log_loss", d)));
    out.extend(paired_bootstrap(scores, &positive, brier, Better::Lower, DRAWS, SEED).map(|d| ("brier", d)));
    out.extend(paired_bootstrap(scores, &positive, pr_auc, Better::Higher, DRAWS, SEED).map(|d| ("pr_auc", d)));
    out
}
