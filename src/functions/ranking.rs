//! `ndcg(recommended, truth, k)` and its like: how good lists are, as the mean over the rows of a group.

use std::collections::HashMap;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{Field, FieldRef, Int64Type};
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::common::{meeting, named};
use super::prelude::*;
use crate::models::metrics::{average_precision_at_k, hit_rate_at_k, ndcg_at_k, precision_at_k, recall_at_k, reciprocal_rank};

const ARGUMENTS: &[Argument] = &[
    Argument {
        name: "recommended",
        kind: ArgKind::List,
        default: None,
        about: "list of items, the best first; or a list of structs with item_id, as recommend() gives",
    },
    Argument { name: "truth", kind: ArgKind::List, default: None, about: "list of the items that were right, in any order" },
    Argument { name: "k", kind: ArgKind::Count, default: Some("10"), about: "how many of the list are looked at" },
];

const fn spec(
    name: &'static str,
    summary: &'static str,
    method: &'static str,
    source: &'static str,
    example: &'static str,
) -> FunctionSpec {
    FunctionSpec {
        name,
        section: "Evaluation",
        form: Form::Aggregate,
        arguments: ARGUMENTS,
        returns: "Float64",
        unit: "from 0 to 1, the mean over the rows of the group",
        columns: &[],
        summary,
        behaviour: &[
            "One row is one list: a user, a session, a basket. What is right is binary.",
            "Items of other types are compared as text. An item that stands twice in a list counts where it stands first, and takes up both places.",
        ],
        nulls: "A row whose truth is NULL or empty is left out; NULL or an empty list for recommended scores 0. A group without a row → NULL.",
        method,
        source,
        limits: "",
        example,
    }
}

/// One of the metrics, on one row: item codes as recommended, those that are right (ascending), k.
type Metric = fn(&[u32], &[u32], usize) -> f64;

macro_rules! metrics {
    ($($id:ident $metric:expr, $name:literal, $summary:literal, $method:literal, $source:literal, $example:literal;)*) => {
        $(static $id: FunctionSpec = spec($name, $summary, $method, $source, $example);)*

        /// The metrics, as the engine's aggregates.
        pub static RANKING_METRICS: &[(&FunctionSpec, Metric)] = &[$((&$id, $metric)),*];
    };
}

metrics! {
    AVERAGE_PRECISION average_precision_at_k, "average_precision", "Average precision of lists: precision at each right item, over what an ideal list has.",
        "Σ over the first k of precision@i for each right item i, divided by min(k, number of right items)", "Manning, Raghavan & Schütze (2008), Introduction to Information Retrieval, § 8.4",
        "SELECT average_precision(recommended, truth, 3) FROM (VALUES (make_array('a', 'b', 'c'), make_array('a', 'c'))) AS t(recommended, truth)";
    HITRATE hit_rate_at_k, "hitrate", "Share of lists with at least one right item among the first k.",
        "1 if any of the first k is right", "", "SELECT hitrate(recommended, truth, 1) FROM (VALUES (make_array('a', 'b'), make_array('a')), (make_array('b', 'a'), make_array('a'))) AS t(recommended, truth)";
    MRR |list, truth, _| reciprocal_rank(list, truth), "mrr", "Mean reciprocal rank of the first right item.",
        "1 / rank of the first right item among the first k, 0 without one", "Voorhees (1999), The TREC-8 Question Answering Track Report",
        "SELECT mrr(recommended, truth) FROM (VALUES (make_array('b', 'a'), make_array('a'))) AS t(recommended, truth)";
    NDCG ndcg_at_k, "ndcg", "Normalised discounted cumulative gain of lists, binary relevance.",
        "Σ over the first k right items of 1/log₂(rank + 1), divided by the same of an ideal list of min(k, number of right items)", "Järvelin & Kekäläinen (2002), ACM TOIS 20(4)",
        "SELECT ndcg(recommended, truth, 10) FROM (VALUES (make_array('b', 'a'), make_array('a'))) AS t(recommended, truth)";
    PRECISION_AT precision_at_k, "precision_at", "Share of the first k places that are right items.",
        "right items among the first k / k", "", "SELECT precision_at(recommended, truth, 2) FROM (VALUES (make_array('b', 'a'), make_array('a'))) AS t(recommended, truth)";
    RECALL_AT recall_at_k, "recall_at", "Share of the right items that are among the first k.",
        "right items among the first k / number of right items", "", "SELECT recall_at(recommended, truth, 2) FROM (VALUES (make_array('b', 'a'), make_array('a', 'c'))) AS t(recommended, truth)";
}

/// A metric as the engine sees it: its place in [`RANKING_METRICS`].
#[derive(Debug, PartialEq, Eq, Hash)]
struct RankingMetric {
    at: usize,
    signature: Signature,
}

impl RankingMetric {
    fn spec(&self) -> &'static FunctionSpec {
        RANKING_METRICS[self.at].0
    }
}

/// All of them.
pub fn aggregates() -> impl Iterator<Item = AggregateUDF> {
    RANKING_METRICS.iter().enumerate().map(|(at, (spec, _))| {
        let signature = named(spec, Volatility::Immutable);
        AggregateUDF::from(RankingMetric { at, signature })
    })
}

/// The type of a list's items; of a list of structs, that of their item_id.
fn item_type(list: &DataType) -> Option<&DataType> {
    let items = match list {
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => f.data_type(),
        _ => return None,
    };
    match items {
        DataType::Struct(fields) => fields.iter().find(|f| f.name() == ITEM).map(|f| f.data_type()),
        items if items.is_nested() => None,
        items => Some(items),
    }
}

/// The field of a struct that is the item.
const ITEM: &str = "item_id";

impl AggregateUDFImpl for RankingMetric {
    fn name(&self) -> &str {
        self.spec().name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let spec = self.spec();
        if given.len() < spec.required() || given.len() > spec.arguments.len() {
            return plan_err!("{}", spec.wrong_count(given.len()));
        }
        let one = |(i, t): (usize, &DataType)| match i {
            2 if t.is_integer() => Ok(DataType::Int64),
            0 | 1 if t.is_null() => Ok(DataType::List(Arc::new(Field::new_list_field(DataType::Null, true)))),
            0 | 1 if item_type(t).is_some() => match t {
                DataType::List(_) => Ok(t.clone()),
                DataType::LargeList(f) | DataType::FixedSizeList(f, _) => Ok(DataType::List(Arc::clone(f))),
                _ => plan_err!("{}", spec.wrong_value(&spec.arguments[i], format!("a value of type {t}"))),
            },
            _ => plan_err!("{}", spec.wrong_value(&spec.arguments[i], format!("a value of type {t}"))),
        };
        given.iter().enumerate().map(one).collect()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Mean { spec: self.spec(), metric: RANKING_METRICS[self.at].1, sum: 0, rows: 0 }))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let int = |n: &str| Arc::new(Field::new(n, DataType::Int64, true));
        Ok(vec![int("high"), int("low"), int("rows")])
    }
}

/// A mean of values in [0, 1] that does not depend on the order in which they come.
#[derive(Debug)]
struct Mean {
    spec: &'static FunctionSpec,
    metric: Metric,
    /// In units of 2⁻⁵³.
    sum: i128,
    rows: i64,
}

const UNIT: f64 = (1u64 << 53) as f64;

/// The items of a column of lists, as rows that compare.
fn items(lists: &ListArray, converter: &RowConverter, to: &DataType) -> Result<Rows> {
    let values = match lists.values().as_struct_opt().and_then(|s| s.column_by_name(ITEM)) {
        Some(items) => Arc::clone(items),
        None => Arc::clone(lists.values()),
    };
    Ok(converter.convert_columns(&[cast(&values, to)?])?)
}

impl Accumulator for Mean {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let (recommended, truth) = (columns[0].as_list::<i32>(), columns[1].as_list::<i32>());
        let depth: Option<&Int64Array> = columns.get(2).map(|k| k.as_primitive::<Int64Type>());
        let types = item_type(recommended.data_type()).zip(item_type(truth.data_type()));
        let to = types.map_or(DataType::Utf8, |(a, b)| meeting(a, b));
        let converter = RowConverter::new(vec![SortField::new(to.clone())])?;
        let (given, right) = (items(recommended, &converter, &to)?, items(truth, &converter, &to)?);
        let range = |lists: &ListArray, row: usize| {
            let offsets = lists.value_offsets();
            if lists.is_null(row) { 0..0 } else { offsets[row] as usize..offsets[row + 1] as usize }
        };
        for row in 0..truth.len() {
            let k = match depth {
                Some(k) if k.is_valid(row) && (1..=100_000).contains(&k.value(row)) => k.value(row) as usize,
                None => 10,
                Some(k) => {
                    let given = if k.is_valid(row) { k.value(row).to_string() } else { "NULL".into() };
                    return exec_err!("{}", self.spec.wrong_value(&self.spec.arguments[2], given));
                }
            };
            let mut codes = HashMap::new();
            for at in range(truth, row) {
                let next = codes.len() as u32;
                codes.entry(right.row(at)).or_insert(next);
            }
            if codes.is_empty() {
                continue;
            }
            let truth: Vec<u32> = (0..codes.len() as u32).collect();
            let mut list = vec![];
            for (place, at) in range(recommended, row).take(k).enumerate() {
                // A right item that comes again, and every other item, is wrong: a code beyond those of the truth.
                list.push(codes.remove(&given.row(at)).unwrap_or(truth.len() as u32 + place as u32));
            }
            self.sum += ((self.metric)(&list, &truth, k) * UNIT).round() as i128;
            self.rows += 1;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64((self.rows > 0).then(|| self.sum as f64 / UNIT / self.rows as f64)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let int = |v: i64| ScalarValue::Int64(Some(v));
        Ok(vec![int((self.sum >> 62) as i64), int((self.sum & ((1 << 62) - 1)) as i64), int(self.rows)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let column = |at: usize| states[at].as_primitive::<Int64Type>();
        for row in 0..column(0).len() {
            self.sum += (i128::from(column(0).value(row)) << 62) + i128::from(column(1).value(row));
            self.rows += column(2).value(row);
        }
        Ok(())
    }
}
