//! What the functions of supervised models share.

use datafusion::arrow::array::{ArrayRef, Float64Array};
use datafusion::common::plan_err;

use super::common::{LEVEL, USER, integers_of, values};
use super::pin::{Versioned, blocking};
use super::prelude::*;
use super::spec::ColumnSpec;
use crate::features::Frame;
use crate::models::metrics::Confusion;
use crate::models::supervised::{Scored, Supervised, Task};

pub const MODEL: Argument =
    Argument { name: "model", kind: ArgKind::Model, default: None, about: "a model made by CREATE MODEL ... PREDICT or TARGET" };

pub const WINDOW_MODEL: Argument =
    Argument { name: "model", kind: ArgKind::Model, default: None, about: "a model made by CREATE MODEL ... PREDICT" };

pub const NULLS: &str = "NULL user, a user who is not in `events`, and one whom the model does not speak of (who had not purchased by as_of, or does not meet its WHERE) → NULL.";

/// The columns of what a threshold catches.
pub const COUNTS: [ColumnSpec; 4] = [
    ("true_positives", "Int64", "flagged rows with the label"),
    ("false_positives", "Int64", "flagged rows without"),
    ("true_negatives", "Int64", "rows without that were not flagged"),
    ("false_negatives", "Int64", "rows with that were not flagged"),
];

/// Those columns.
pub fn counts_of<R>(rows: &[R], of: impl Fn(&R) -> Confusion) -> [ArrayRef; 4] {
    [
        integers_of(rows, |r| of(r).true_positives),
        integers_of(rows, |r| of(r).false_positives),
        integers_of(rows, |r| of(r).true_negatives),
        integers_of(rows, |r| of(r).false_negatives),
    ]
}

/// An end of the interval of a prediction, by the spec of its function.
pub const END_OF_PREDICTION: FunctionSpec = FunctionSpec {
    name: "",
    section: "Prediction",
    form: Form::Scalar,
    arguments: &[WINDOW_MODEL, USER, LEVEL],
    returns: "Float64",
    unit: "that of predict()",
    columns: &[],
    summary: "",
    behaviour: &[
        "From what came of held-out customers with the most similar predictions, a tenth of all (50 to 1,000 of them): quantiles of their labels, or the share of them with Wilson's interval.",
        "predict() of the same customer lies in it.",
    ],
    nulls: "As predict(); NULL as well where the model was not evaluated, or on fewer than 50 rows.",
    method: "Conformal prediction by similar predictions (Mondrian); Wilson's score interval.",
    source: "Vovk, Gammerman & Shafer (2005), Algorithmic learning in a random world, § 4.5; Wilson (1927)",
    limits: "The window that was held out is another one than that which is foretold: what makes windows differ is in no interval.",
    example: "",
};

/// One end of the interval of every prediction.
pub async fn ends(pin: &dyn Pin, args: &CallArgs, end: fn((f64, f64)) -> f64) -> Result<Kernel> {
    let level = args.number("level", 0.9);
    by_customer(pin, args, move |model, frame, control| {
        let predictions = model.predict(&frame.table, control).map_err(fit_error)?;
        Ok(model.intervals(&predictions, level).into_iter().map(|i| i.map(end)).collect())
    })
    .await
}

/// Which tree of several.
pub const TREE: Argument =
    Argument { name: "tree", kind: ArgKind::Count, default: Some("1"), about: "which tree, where the model has several" };

/// One number for each customer that a window model speaks of.
pub async fn by_customer(
    pin: &dyn Pin,
    args: &CallArgs,
    compute: impl FnOnce(&Supervised, &Frame, &Control) -> Result<Vec<Option<f64>>> + Send + 'static,
) -> Result<Kernel> {
    let fitted = pin.supervised(args.text("model").unwrap_or_default()).await?;
    of_model(pin, fitted, compute).await
}

/// The same of a model that has been found.
pub async fn of_model(
    pin: &dyn Pin,
    fitted: Arc<Versioned<Supervised>>,
    compute: impl FnOnce(&Supervised, &Frame, &Control) -> Result<Vec<Option<f64>>> + Send + 'static,
) -> Result<Kernel> {
    let (frame, users) = (pin.frame(&fitted).await?, pin.customers().await?.len());
    blocking(Control::default(), move |control| {
        let mut out = vec![None; users];
        for (&code, v) in frame.codes.iter().zip(compute(&fitted.model, &frame, control)?) {
            out[code as usize] = v.filter(|v| v.is_finite());
        }
        Ok(values(Float64Array::from(out)))
    })
    .await
}

/// A model with held-out rows; an error where there are none.
pub async fn held(pin: &dyn Pin, spec: &FunctionSpec, name: &str) -> Result<Arc<Versioned<Supervised>>> {
    let fitted = pin.supervised(name).await?;
    if fitted.model.holdout.key.is_empty() {
        return plan_err!("{}(): model '{name}' was made with split = 'none': nothing was held out", spec.name);
    }
    Ok(fitted)
}

/// The held-out rows of a classifier: their probabilities, ascending, and whether the label came.
pub async fn classified(pin: &dyn Pin, args: &CallArgs) -> Result<(Arc<Versioned<Supervised>>, Vec<f64>, Vec<bool>)> {
    let fitted = held(pin, args.spec, args.text("model").unwrap_or_default()).await?;
    let Supervised { task, holdout: Scored { prediction, label, .. }, .. } = &fitted.model;
    if *task == Task::Regression {
        return plan_err!("{}(): model '{}' foretells a number, not whether something happens", args.spec.name, fitted.name);
    }
    let (scores, labels) = (prediction.clone(), label.iter().map(|y| *y > 0.5).collect());
    Ok((fitted, scores, labels))
}

/// A model of trees, and the place of the one that is asked for.
pub async fn tree(pin: &dyn Pin, args: &CallArgs) -> Result<(Arc<Versioned<Supervised>>, usize)> {
    let fitted = pin.supervised(args.text("model").unwrap_or_default()).await?;
    let (at, trees) = (args.whole("tree", 1) as usize, fitted.model.predictor.trees().len());
    match trees {
        0 => plan_err!("{}(): model '{}' is not one of trees: decision_tree, random_forest and gbt are", args.spec.name, fitted.name),
        n if at > n => plan_err!("{}(): tree = {at}: model '{}' has {n}", args.spec.name, fitted.name),
        _ => Ok((fitted, at - 1)),
    }
}

/// A feature's value and what it means, in a sentence: "last purchase 143 days ago".
pub fn phrase(feature: &str, value: &str, number: Option<f64>) -> String {
    if number.is_none() && value.is_empty() {
        return format!("{feature} is not known");
    }
    let shown = number.map_or_else(|| value.to_owned(), short);
    let days = |text: &str| format!("{text} {shown} days");
    match feature {
        "recency_days" => format!("last purchase {shown} days ago"),
        "tenure_days" => format!("customer for {shown} days"),
        "purchase_days" => format!("purchases on {shown} days"),
        "monetary" => format!("spent {shown} in all"),
        "day_value" => format!("spends {shown} on a purchase day"),
        "gap_mean" => days("usually buys every"),
        "gap_last" => days("last two purchases apart by"),
        "recency_over_gap" => format!("silent for {shown} times the usual gap"),
        "bg_nbd_purchases" => format!("{shown} purchases expected by BG/NBD"),
        "bg_nbd_churn" => format!("P(no purchase) {shown} by BG/NBD"),
        "bg_nbd_value" => format!("{shown} of purchases expected by BG/NBD and gamma-gamma"),
        _ => match (feature.strip_suffix('d').and_then(|f| f.rsplit_once('_')), feature.strip_prefix("days_since_")) {
            (_, Some(what)) => format!("{shown} days since {what}"),
            (Some((what, n)), _) if n.chars().all(|c| c.is_ascii_digit()) && !n.is_empty() => {
                format!("{what} of the last {n} days: {shown}")
            }
            _ => format!("{feature} = {shown}"),
        },
    }
}

/// A number without digits that nobody reads.
fn short(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        a if !(1e-4..1e15).contains(&a) => format!("{x:.2e}"),
        _ if x.fract() == 0.0 => format!("{x}"),
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 1.0 => format!("{x:.1}"),
        _ => format!("{x:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_sentences() {
        assert_eq!(phrase("recency_days", "", Some(143.0)), "last purchase 143 days ago");
        assert_eq!(phrase("purchases_90d", "", Some(2.0)), "purchases of the last 90 days: 2");
        assert_eq!(phrase("plan", "Basic", None), "plan = Basic");
        assert_eq!(phrase("gap_mean", "", None), "gap_mean is not known");
    }
}
