//! `training_log('m')`: what was played to choose a model.

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};

use super::common::rows_of;
use super::model_versions::record;
use super::prelude::*;
use crate::store::Trial;

#[derive(Debug)]
pub struct TrainingLog;

const COLUMNS: &[super::spec::ColumnSpec] = &[
    ("version", "Int64", "number of the version"),
    ("model_type", "Utf8", "the type that was played"),
    ("options", "Utf8", "its options that are not the defaults"),
    ("fold", "Int64", "the hold-out, 1 = the latest"),
    ("eval_from", "Timestamp", "end of what the type was fitted to, UTC; NULL where rows have no time"),
    ("eval_to", "Timestamp", "end of the hold-out, UTC"),
    ("users", "Int64", "customers it was judged on"),
    ("metric", "Utf8", "name of the figure"),
    ("value", "Float64", "the figure; NULL with a problem"),
    ("baseline_value", "Float64", "the same of everybody's own rate so far; of popularity, for recommenders"),
    ("rmse", "Float64", "root of the mean squared error of purchase days"),
    ("bias_pct", "Float64", "predicted total less actual total, percent of the actual"),
    ("seconds", "Float64", "time taken"),
    ("chosen", "Boolean", "whether this type is the model's"),
    ("problem", "Utf8", "why there is no figure"),
];

static SPEC: FunctionSpec = FunctionSpec {
    name: "training_log",
    section: "Models",
    form: Form::Table,
    arguments: &[Argument { name: "model", kind: ArgKind::Model, default: None, about: "name of the model" }],
    returns: "",
    unit: "",
    columns: COLUMNS,
    summary: "Every model type that was tried for a model, on every hold-out, and which was chosen.",
    behaviour: &[
        "Without rows: the type was given, nothing was tried.",
        "Of a model of PREDICT, a row for each cut-off as well, with the mean of its label: features are those up to eval_from, the label is that of the window up to eval_to. Windows that are learned from never overlap the one that is evaluated on. Types are compared on a window before that one.",
        "The type of the lowest mean of the metric over the folds wins; baselines are played for comparison and cannot win.",
        "count_log_loss is the mean of −ln P(number of purchase days that came): it scores the whole forecast, not only its mean.",
        "Recommenders are tried on the item that each user had last before the one the model is then scored on, their options one after another, then blends of the best; the largest ndcg_at_10 wins. The winner's figure here is the best of many: that of models(), on items that were not chosen on, is the one to quote.",
        "On more than 30,000 customers the types play on a part of them, taken evenly by key; the winner is then fitted to all.",
    ],
    nulls: "",
    method: "",
    source: "",
    limits: "",
    example: "CREATE MODEL best WITH (model_type = 'auto'); SELECT model_type, round(avg(value), 4) AS log_loss, bool_or(chosen) AS chosen FROM training_log('best') GROUP BY model_type ORDER BY log_loss, model_type",
};

#[async_trait]
impl RelationFunction for TrainingLog {
    fn spec(&self) -> &'static FunctionSpec {
        &SPEC
    }

    async fn rows(&self, pin: &dyn Pin, args: &CallArgs, projection: &[usize]) -> Result<RecordBatch> {
        let model = record(pin, args.text("model").unwrap_or_default())?;
        let trials: Vec<(u32, &Trial)> = model.versions.iter().flat_map(|v| v.trials.iter().map(|t| (v.version, t))).collect();
        let int =
            |f: &dyn Fn(u32, &Trial) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(trials.iter().map(|(v, t)| f(*v, t)))) };
        let text =
            |f: &dyn Fn(&Trial) -> Option<String>| -> ArrayRef { Arc::new(trials.iter().map(|(_, t)| f(t)).collect::<StringArray>()) };
        let float =
            |f: &dyn Fn(&Trial) -> Option<f64>| -> ArrayRef { Arc::new(trials.iter().map(|(_, t)| f(t)).collect::<Float64Array>()) };
        let time = |f: &dyn Fn(&Trial) -> i64| -> ArrayRef {
            // 0: rows without a time.
            Arc::new(trials.iter().map(|(_, t)| Some(f(t)).filter(|us| *us != 0)).collect::<TimestampMicrosecondArray>())
        };
        let columns: Vec<ArrayRef> = vec![
            int(&|v, _| i64::from(v)),
            text(&|t| Some(t.model_type.clone())),
            text(&|t| t.options.clone()),
            int(&|_, t| i64::from(t.fold)),
            time(&|t| t.eval_from_us),
            time(&|t| t.eval_to_us),
            int(&|_, t| t.users as i64),
            text(&|t| Some(t.metric.clone())),
            float(&|t| t.value),
            float(&|t| t.baseline_value),
            float(&|t| t.rmse),
            float(&|t| t.bias_pct),
            float(&|t| Some(t.seconds)),
            Arc::new(trials.iter().map(|(_, t)| Some(t.chosen)).collect::<BooleanArray>()),
            text(&|t| t.problem.clone()),
        ];
        rows_of(&SPEC, columns, projection)
    }
}
