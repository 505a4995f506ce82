//! `evaluate('m')`: how good a model is, metric by metric.

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};

use super::common::rows_of;
use super::pin::Measured;
use super::prelude::*;

#[derive(Debug)]
pub struct Evaluate;

static SPEC: FunctionSpec = FunctionSpec {
    name: "evaluate",
    section: "Models",
    form: Form::Table,
    arguments: &[
        Argument { name: "model", kind: ArgKind::Model, default: None, about: "name of the model" },
        Argument { name: "k", kind: ArgKind::Count, default: Some("10"), about: "recommenders: length of the lists" },
    ],
    returns: "",
    unit: "",
    columns: &[
        ("metric", "Utf8", "name of the figure"),
        ("value", "Float64", "the figure; NULL where there is nothing to take it of"),
        ("low", "Float64", "95 % interval of value over users, lower end; NULL for coverage, gini and lifetime models"),
        ("high", "Float64", "upper end"),
        ("baseline_value", "Float64", "the same of popularity, on the same users; of everybody's own rate so far, for lifetime models"),
        ("users", "Int64", "customers, or rows, it was judged on; of a lifetime model, those that the version was fitted to"),
    ],
    summary: "How good a model is on what was held out from it, metric by metric, beside a baseline.",
    behaviour: &[
        "Recommenders. Held out is the item that each user bought or rated last (of several at one moment a tenth, at least one), of at most 2,000 users, drawn, who have another one that is no later; what a user did after it is left out too. The model's type with its options is fitted to the rest, as the events are now, and makes lists of k from the whole catalogue, without what the user has had. ndcg_at_k and hit_rate of k => 10 are the figures that CREATE MODEL gives, as long as the events are the same.",
        "precision_at_k = right items among the first k / k; recall_at_k = right items among the first k / right items; ndcg_at_k, map_at_k = mean of ndcg(), average_precision(); hit_rate = share of users with a right item; mrr = mean of 1 / rank of the first right item among the first k.",
        "coverage = share of all items that stand in any list; gini = of how often items stand in lists, 0 all equally often, 1 always the same one; novelty = mean of −log₂(share of users who have had an item), in bits; intra_list_diversity = mean over pairs in a list of 1 − cosine of who has had the two items.",
        "A user for whom the model finds nothing has an empty list, which is wrong throughout; it is not filled up with popular items as recommend() does.",
        "Lifetime models. The figures that the active version was stored with: its hold-out is the last `holdout` days of the log at the time, out of time, as DESCRIBE MODEL shows.",
        "Models of a label. The figures that the active version was stored with, on the window (or the share of customers or rows) that was held out from what was fitted and calibrated; baseline_value is the same of the best constant of the training rows. closed_form_log_loss and closed_form_roc_auc are those of BG/NBD's own probability, of churn; closed_form_mae is that of BG/NBD and gamma-gamma, of what is spent.",
        "Only events up to as_of are used. The model itself stays as it is; backtest() judges it at earlier moments.",
    ],
    nulls: "",
    method: "Interval: percentile bootstrap of the mean over users, 1,000 draws by the model's seed. coverage and gini are of all lists together, and have none.",
    source: "Efron & Tibshirani (1993), An Introduction to the Bootstrap, § 13.3; Shani & Gunawardana (2011), Evaluating Recommendation Systems, § 8.3",
    limits: "Holding out each user's last item lets other users' later events be known: for a cut in time, see backtest(). The interval is that of other users from the same log, not of other times. Options that model_type = 'auto' chose are not chosen anew.",
    example: "CREATE MODEL taste WITH (model_type = 'item_knn'); SELECT metric, round(value, 4) AS value, round(low, 4) AS low, round(high, 4) AS high, round(baseline_value, 4) AS popularity FROM evaluate('taste')",
};

#[async_trait]
impl RelationFunction for Evaluate {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let rows = pin.evaluate(args.text("model").unwrap_or_default(), args.whole("k", 10) as usize).await?;
        let float = |f: &dyn Fn(&Measured) -> Option<f64>| -> ArrayRef { Arc::new(rows.iter().map(f).collect::<Float64Array>()) };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|m| &m.metric))),
            float(&|m| m.value),
            float(&|m| m.interval.map(|i| i.0)),
            float(&|m| m.interval.map(|i| i.1)),
            float(&|m| m.baseline),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|m| m.users as i64))),
        ];
        rows_of(&SPEC, columns, projection)
    }
}
