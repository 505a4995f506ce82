//! `auc(score, label)` and its like: how good predictions are, over the rows of a group.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{Field, FieldRef, Float64Type};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::common::named;
use super::prelude::*;
use crate::models::metrics::{Bins, brier, ece, gini, log_loss, mae, mape, pr_auc, r2, rmse, roc_auc, spearman};

/// What a metric compares.
#[derive(Debug, Clone, Copy)]
enum Metric {
    /// Scores in any order, and whether the label came.
    Order(fn(&[f64], &[bool]) -> Option<f64>),
    /// Probabilities, and whether the label came.
    Probability(fn(&[f64], &[bool]) -> Option<f64>),
    /// Numbers, and what came.
    Number(fn(&[f64], &[f64]) -> Option<f64>),
}

const SCORE: Argument =
    Argument { name: "score", kind: ArgKind::Column, default: None, about: "a number: the higher, the likelier the label" };
const LABEL: Argument = Argument { name: "label", kind: ArgKind::Column, default: None, about: "TRUE or FALSE, or 1 or 0" };
const PROBABILITY: Argument = Argument { name: "probability", kind: ArgKind::Column, default: None, about: "a number from 0 to 1" };
const PREDICTED: Argument = Argument { name: "predicted", kind: ArgKind::Column, default: None, about: "a number" };
const ACTUAL: Argument = Argument { name: "actual", kind: ArgKind::Column, default: None, about: "the number that came" };

const fn spec(
    name: &'static str,
    arguments: &'static [Argument],
    unit: &'static str,
    summary: &'static str,
    method: &'static str,
    source: &'static str,
    example: &'static str,
) -> FunctionSpec {
    FunctionSpec {
        name,
        section: "Evaluation",
        form: Form::Aggregate,
        arguments,
        returns: "Float64",
        unit,
        columns: &[],
        summary,
        behaviour: &["On any relation of predictions and of what came: the answer does not depend on the order of the rows."],
        nulls: "A row in which either is NULL (or not a number) is left out. NULL where the rows do not have an answer: none, or labels of one kind where two are compared.",
        method,
        source,
        limits: "The rows of a group are held in memory.",
        example,
    }
}

macro_rules! metrics {
    ($($id:ident $name:literal, $metric:expr, [$($argument:expr),*], $unit:literal, $summary:literal, $method:literal, $source:literal, $example:literal;)*) => {
        $(static $id: FunctionSpec = spec($name, &[$($argument),*], $unit, $summary, $method, $source, $example);)*

        /// The metrics, as the engine's aggregates.
        static LABEL_METRICS: &[(&FunctionSpec, Metric)] = &[$((&$id, $metric)),*];
    };
}

/// The area under the ROC curve, where there are both labels.
fn area(scores: &[f64], labels: &[bool]) -> Option<f64> {
    (labels.contains(&true) && labels.contains(&false)).then(|| roc_auc(scores, labels))
}

fn some<T>(values: &[f64], of: impl FnOnce() -> T) -> Option<T> {
    (!values.is_empty()).then(of)
}

metrics! {
    AUC "auc", Metric::Order(area), [SCORE, LABEL], "from 0 to 1; 0.5 is chance", "Area under the ROC curve: how often a row with the label scores above one without.",
        "Mann and Whitney's statistic; ties count half.", "Fawcett (2006), An introduction to ROC analysis",
        "SELECT auc(score, label) FROM (VALUES (0.9, true), (0.4, false), (0.6, false), (0.7, true)) AS t(score, label)";
    BRIER "brier", Metric::Probability(brier), [PROBABILITY, LABEL], "0 is best", "Mean squared error of probabilities.",
        "Mean of (p − y)².", "Brier (1950)", "SELECT brier(p, y) FROM (VALUES (0.8, 1), (0.2, 0)) AS t(p, y)";
    ECE "ece", Metric::Probability(|p, y| ece(p, y, Bins::EqualWidth(10))), [PROBABILITY, LABEL], "from 0 to 1; 0 is best", "Expected calibration error: how far probabilities are from what came.",
        "Ten bins of equal width: mean of |mean probability − share of labels|, weighted by rows.", "Naeini, Cooper & Hauskrecht (2015)", "SELECT ece(p, y) FROM (VALUES (0.8, 1), (0.2, 0)) AS t(p, y)";
    GINI "gini", Metric::Number(|p, y| some(p, || gini(p, y))), [PREDICTED, ACTUAL], "1 is the order of the actual values; 0 is chance", "Normalised Gini coefficient of the order by prediction.",
        "Gini of the actual values in the order of the predictions, over that in their own order.", "", "SELECT gini(p, y) FROM (VALUES (3.0, 9.0), (2.0, 4.0), (1.0, 5.0)) AS t(p, y)";
    LOGLOSS "logloss", Metric::Probability(|p, y| some(p, || log_loss(p, y))), [PROBABILITY, LABEL], "0 is best", "Mean −ln of the probability given to what came.",
        "Mean of −ln p or −ln(1 − p), each p taken within 1e-15 of 0 and 1.", "", "SELECT logloss(p, y) FROM (VALUES (0.8, 1), (0.2, 0)) AS t(p, y)";
    MAE "mae", Metric::Number(|p, y| some(p, || mae(p, y))), [PREDICTED, ACTUAL], "that of the number", "Mean absolute error.", "Mean of |p − y|.", "", "SELECT mae(p, y) FROM (VALUES (3.0, 4.0), (2.0, 2.0)) AS t(p, y)";
    MAPE "mape", Metric::Number(mape), [PREDICTED, ACTUAL], "a share", "Mean absolute error as a share of the actual value.", "Mean of |p − y| / |y| over rows whose actual value is not 0.", "", "SELECT mape(p, y) FROM (VALUES (3.0, 4.0), (2.0, 2.0)) AS t(p, y)";
    PR_AUC "pr_auc", Metric::Order(pr_auc), [SCORE, LABEL], "from 0 to 1; chance is the share of the label", "Average precision: area under the precision-recall curve, not interpolated.",
        "Σ (recall_k − recall_k−1) · precision_k over the thresholds.", "", "SELECT pr_auc(score, label) FROM (VALUES (0.9, true), (0.4, false), (0.6, true)) AS t(score, label)";
    R2 "r2", Metric::Number(r2), [PREDICTED, ACTUAL], "1 is best; 0 is the mean", "Coefficient of determination.", "1 − Σ(p − y)² / Σ(y − mean)².", "", "SELECT r2(p, y) FROM (VALUES (3.0, 4.0), (2.0, 2.0)) AS t(p, y)";
    RMSE "rmse", Metric::Number(|p, y| some(p, || rmse(p, y))), [PREDICTED, ACTUAL], "that of the number", "Root of the mean squared error.", "√ of the mean of (p − y)².", "", "SELECT rmse(p, y) FROM (VALUES (3.0, 4.0), (2.0, 2.0)) AS t(p, y)";
    SPEARMAN "spearman", Metric::Number(|p, y| some(p, || spearman(p, y))), [PREDICTED, ACTUAL], "from −1 to 1", "Rank correlation of predictions and actual values.", "Pearson's correlation of mean ranks.", "Spearman (1904)", "SELECT spearman(p, y) FROM (VALUES (3.0, 9.0), (2.0, 4.0), (1.0, 5.0)) AS t(p, y)";
}

/// The specs of all.
pub fn label_metric_specs() -> impl Iterator<Item = &'static FunctionSpec> {
    LABEL_METRICS.iter().map(|(spec, _)| *spec)
}

/// All of them.
pub fn aggregates() -> impl Iterator<Item = AggregateUDF> {
    let one = |(at, (spec, _)): (usize, &(&'static FunctionSpec, Metric))| {
        AggregateUDF::from(LabelMetric { at, signature: named(spec, Volatility::Immutable) })
    };
    LABEL_METRICS.iter().enumerate().map(one)
}

/// A metric as the engine sees it: its place in [`LABEL_METRICS`].
#[derive(Debug, PartialEq, Eq, Hash)]
struct LabelMetric {
    at: usize,
    signature: Signature,
}

impl LabelMetric {
    fn spec(&self) -> &'static FunctionSpec {
        LABEL_METRICS[self.at].0
    }
}

impl AggregateUDFImpl for LabelMetric {
    fn name(&self) -> &str {
        self.spec().name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        if given.len() != 2 {
            return plan_err!("{}", self.spec().wrong_count(given.len()));
        }
        for (argument, t) in self.spec().arguments.iter().zip(given) {
            let label = argument.name == LABEL.name && t == &DataType::Boolean;
            if !(t.is_numeric() || t.is_null() || label) {
                return plan_err!(
                    "{}(): {} of type {t}: {} is needed. Form: {}",
                    self.spec().name,
                    argument.name,
                    argument.about,
                    self.spec().signature()
                );
            }
        }
        Ok(vec![DataType::Float64, if given[1] == DataType::Boolean { DataType::Boolean } else { DataType::Float64 }])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Pairs { spec: self.spec(), metric: LABEL_METRICS[self.at].1, rows: vec![] }))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let list = |n: &str| Arc::new(Field::new(n, DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true))), true));
        Ok(vec![list("predicted"), list("actual")])
    }
}

/// Predictions with what came.
#[derive(Debug)]
struct Pairs {
    spec: &'static FunctionSpec,
    metric: Metric,
    rows: Vec<(f64, f64)>,
}

impl Pairs {
    fn push(&mut self, predicted: f64, actual: f64) -> Result<()> {
        if predicted.is_nan() || actual.is_nan() {
            return Ok(());
        }
        let argument = |i: usize| &self.spec.arguments[i];
        let wrong = |i: usize, v: f64| exec_err!("{}(): {} = {v}: {} is needed", self.spec.name, argument(i).name, argument(i).about);
        match self.metric {
            Metric::Probability(_) if !(0.0..=1.0).contains(&predicted) => return wrong(0, predicted),
            Metric::Order(_) | Metric::Probability(_) if actual != 0.0 && actual != 1.0 => return wrong(1, actual),
            Metric::Number(_) if !predicted.is_finite() || !actual.is_finite() => return Ok(()),
            _ => {}
        }
        self.rows.push((predicted, actual));
        Ok(())
    }
}

impl Accumulator for Pairs {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let (predicted, actual) = (cast(&columns[0], &DataType::Float64)?, cast(&columns[1], &DataType::Float64)?);
        let (predicted, actual) = (predicted.as_primitive::<Float64Type>(), actual.as_primitive::<Float64Type>());
        for i in 0..predicted.len() {
            if predicted.is_valid(i) && actual.is_valid(i) {
                self.push(predicted.value(i), actual.value(i))?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // In one order, whatever the rows came in.
        self.rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let (predicted, actual): (Vec<f64>, Vec<f64>) = self.rows.iter().copied().unzip();
        let labels = || actual.iter().map(|y| *y == 1.0).collect::<Vec<_>>();
        let value = match self.metric {
            Metric::Order(of) | Metric::Probability(of) => of(&predicted, &labels()),
            Metric::Number(of) => of(&predicted, &actual),
        };
        Ok(ScalarValue::Float64(value.filter(|v| v.is_finite())))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.rows.capacity() * size_of::<(f64, f64)>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let list = |values: Vec<f64>| {
            let field = Arc::new(Field::new_list_field(DataType::Float64, true));
            let offsets = OffsetBuffer::from_lengths([values.len()]);
            ScalarValue::List(Arc::new(ListArray::new(field, offsets, Arc::new(Float64Array::from(values)), None)))
        };
        let (predicted, actual) = std::mem::take(&mut self.rows).into_iter().unzip();
        Ok(vec![list(predicted), list(actual)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (predicted, actual) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for i in 0..predicted.len() {
            let (p, a) = (predicted.value(i), actual.value(i));
            let (p, a) = (p.as_primitive::<Float64Type>().values(), a.as_primitive::<Float64Type>().values());
            self.rows.extend(p.iter().copied().zip(a.iter().copied()));
        }
        Ok(())
    }
}
