//! `backtest('m')`: a model on rolling hold-outs.

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};

use super::common::{FOLDS, HOLDOUT, MODEL, rows_of};
use super::prelude::*;
use crate::models::Family;

#[derive(Debug)]
pub struct Backtest;

const COLUMNS: &[super::spec::ColumnSpec] = &[
    ("fold", "Int64", "the hold-out, 1 = the latest"),
    ("eval_from", "Timestamp", "end of what the model was fitted to, UTC"),
    ("eval_to", "Timestamp", "end of the hold-out, UTC"),
    ("users", "Int64", "customers who had purchased by then; of a recommender, those it is judged on"),
    ("predicted_total", "Float64", "purchase days expected of all of them"),
    ("actual_total", "Float64", "purchase days that came"),
    ("bias_pct", "Float64", "predicted less actual, percent of the actual"),
    ("baseline_bias_pct", "Float64", "the same of everybody's own rate so far"),
    ("rmse", "Float64", "root of the mean squared error of purchase days"),
    ("baseline_rmse", "Float64", "the same of everybody's own rate so far"),
    ("zero_rmse", "Float64", "the same of predicting none"),
    ("count_log_loss", "Float64", "mean of −ln P(number of purchase days that came)"),
    ("baseline_count_log_loss", "Float64", "the same of Poisson purchases at everybody's own rate so far"),
    ("mae", "Float64", "mean absolute error of purchase days"),
    ("baseline_mae", "Float64", "the same of everybody's own rate so far"),
    ("roc_auc", "Float64", "of churn_prob: who did not purchase"),
    ("log_loss", "Float64", "of churn_prob"),
    ("baseline_log_loss", "Float64", "of the share of lapsed customers in the stretch before"),
    ("value_predicted_total", "Float64", "net value expected, not discounted; NULL without amounts, as all that follows"),
    ("value_actual_total", "Float64", "net value that came"),
    ("value_bias_pct", "Float64", "predicted less actual, percent of the actual"),
    ("value_mae", "Float64", "mean absolute error of net value"),
    ("baseline_value_mae", "Float64", "the same of everybody's own rate so far, at the model's order value"),
    ("value_rmse", "Float64", "root of the mean squared error of net value"),
    ("baseline_value_rmse", "Float64", "the same of the baseline"),
    ("value_spearman", "Float64", "rank correlation of expected and actual net value"),
    ("baseline_value_spearman", "Float64", "the same of the baseline"),
    ("value_gini", "Float64", "normalised Gini coefficient of the order by expected net value"),
    ("baseline_value_gini", "Float64", "the same of the baseline"),
    ("interval_coverage", "Float64", "share of customers whose value lay in their 90 % interval"),
    ("ndcg_at_10", "Float64", "recommenders, as all that follows: NDCG of lists of 10, mean over customers"),
    ("recall_at_10", "Float64", "share of the right items that are in the list"),
    ("hit_rate_at_10", "Float64", "share of customers with a right item in the list"),
    ("precision_at_10", "Float64", "share of the 10 places that are right items"),
    ("baseline_ndcg_at_10", "Float64", "the same of popularity, on the same customers"),
    ("baseline_recall_at_10", "Float64", "the same of popularity"),
    ("baseline_hit_rate_at_10", "Float64", "the same of popularity"),
    ("baseline_precision_at_10", "Float64", "the same of popularity"),
    ("pr_auc", "Float64", "models of a label, as all that follows: average precision"),
    ("brier", "Float64", "mean squared error of the probabilities"),
    ("ece", "Float64", "expected calibration error, ten bins of equal width"),
    ("base_rate", "Float64", "share of the label in the hold-out"),
    ("baseline_base_rate", "Float64", "share of the label in what was learned from"),
    ("spearman", "Float64", "rank correlation of predictions and what came"),
    ("gini", "Float64", "normalised Gini coefficient of the order by prediction"),
];

static SPEC: FunctionSpec = FunctionSpec {
    name: "backtest",
    section: "Models",
    form: Form::Table,
    arguments: &[MODEL, FOLDS, HOLDOUT],
    returns: "",
    unit: "",
    columns: COLUMNS,
    summary: "A lifetime model or a recommender, fitted anew at several earlier moments and judged on what came after each.",
    behaviour: &[
        "Each fold fits the model's type, with its options, to the events up to eval_from only, and predicts what comes up to eval_to.",
        "A recommender is asked for lists of 10 for customers who had done something by eval_from, from all items there were by then, without those recommend() would not offer again. Right are the items that a customer bought or rated by eval_to and had not before, new items among them, which cannot be foreseen. Judged on are customers with such an item; of more than 2,000, 2,000 are drawn.",
        "A model of PREDICT is made anew at as_of, one window earlier, two windows earlier …, and each is evaluated on its last window; predicted and actual totals are those of its label.",
        "A column that does not go with the model's kind is NULL.",
        "The latest hold-out ends at as_of, the others lie one before the other; there are as many as the log has room for.",
        "The model itself stays as it is.",
    ],
    nulls: "",
    method: "Rolling origin, out of time.",
    source: "",
    limits: "",
    example: "SELECT fold, users, round(rmse, 3) AS rmse, round(baseline_rmse, 3) AS baseline, round(bias_pct, 1) AS bias_pct FROM backtest(folds => 2)",
};

#[async_trait]
impl RelationFunction for Backtest {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let (model, folds, holdout) = (args.text("model"), args.whole("folds", 4) as usize, args.span("holdout"));
        let record = model.and_then(|name| pin.store().model(name));
        let family = record.as_ref().and_then(|m| m.active_version()).map(|v| v.family.as_str());
        let folds = match (model, family) {
            (Some(model), Some(f)) if f == Family::Supervised.name() => pin.backtest_supervised(model, folds).await?,
            (_, Some(f)) if f == Family::Recommend.name() => pin.backtest_recommender(model, folds, holdout).await?,
            _ => pin.backtest(model, folds, holdout).await?,
        };
        let column = |(name, _, _): &super::spec::ColumnSpec| -> ArrayRef {
            match *name {
                "fold" => Arc::new(Int64Array::from_iter_values(1..=folds.len() as i64)),
                "eval_from" => Arc::new(TimestampMicrosecondArray::from_iter_values(folds.iter().map(|f| f.from_us))),
                "eval_to" => Arc::new(TimestampMicrosecondArray::from_iter_values(folds.iter().map(|f| f.to_us))),
                "users" => Arc::new(Int64Array::from_iter_values(folds.iter().map(|f| f.users as i64))),
                name => Arc::new(folds.iter().map(|f| f.scores.get(name).copied()).collect::<Float64Array>()),
            }
        };
        rows_of(&SPEC, COLUMNS.iter().map(column).collect(), projection)
    }
}
