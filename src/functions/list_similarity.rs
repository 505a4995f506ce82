//! `cosine_similarity(a, b)` and its like: how alike two lists are.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{Field, Float64Type};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::common::{meeting, named};
use super::prelude::*;

const ARGUMENTS: &[Argument] = &[
    Argument { name: "a", kind: ArgKind::List, default: None, about: "a list" },
    Argument { name: "b", kind: ArgKind::List, default: None, about: "another list" },
];

const VECTOR_BEHAVIOUR: &[&str] = &["The lists hold numbers, as many in one as in the other; other lengths are an error."];

const SET_BEHAVIOUR: &[&str] = &[
    "The lists are sets: order and repetitions do not count, and they may be of any length.",
    "Values of two types are compared as text. A NULL inside a list is left out.",
];

/// What is compared: numbers place by place (`None`: no answer), or sets.
#[derive(Debug, Clone, Copy)]
pub enum Compare {
    Vectors(fn(&[f64], &[f64]) -> Option<f64>),
    Sets,
}

macro_rules! similarities {
    ($($id:ident $compare:expr, $name:literal, $unit:literal, $summary:literal, $behaviour:expr, $nulls:literal, $method:literal, $source:literal, $example:literal;)*) => {
        $(static $id: FunctionSpec = FunctionSpec {
            name: $name,
            section: "Similarity",
            form: Form::Scalar,
            arguments: ARGUMENTS,
            returns: "Float64",
            unit: $unit,
            columns: &[],
            summary: $summary,
            behaviour: $behaviour,
            nulls: $nulls,
            method: $method,
            source: $source,
            limits: "",
            example: $example,
        };)*

        /// The functions and what they compare.
        pub static LIST_SIMILARITIES: &[(&FunctionSpec, Compare)] = &[$((&$id, $compare)),*];
    };
}

similarities! {
    COSINE Compare::Vectors(cosine), "cosine_similarity", "from −1 to 1", "The cosine of the angle between two lists of numbers.", VECTOR_BEHAVIOUR,
        "NULL for a list, or inside one, → NULL; so is NaN or infinity. A list without any number but 0 → NULL.",
        "Σ a·b / (‖a‖·‖b‖)", "", "SELECT cosine_similarity(make_array(1, 2, 0), make_array(2, 4, 0)) AS same_direction";
    EUCLID Compare::Vectors(euclid), "euclid_similarity", "from 0 to 1", "How near two lists of numbers are: 1 where they are equal.", VECTOR_BEHAVIOUR,
        "NULL for a list, or inside one, → NULL; so is NaN or infinity. Empty lists → NULL.",
        "1 / (1 + √(Σ (a − b)²))", "Segaran (2007), Programming Collective Intelligence, ch. 2",
        "SELECT euclid_similarity(make_array(1, 2), make_array(4, 6)) AS near";
    JACCARD Compare::Sets, "jaccard_similarity", "from 0 to 1", "The share of the values in either of two lists that are in both.", SET_BEHAVIOUR,
        "NULL for a list → NULL. Two lists without a value → NULL.",
        "|A ∩ B| / |A ∪ B|", "Jaccard (1912), The distribution of the flora in the alpine zone, New Phytologist 11(2)",
        "SELECT jaccard_similarity(make_array('tea', 'cup'), make_array('cup', 'pot')) AS alike";
    PEARSON Compare::Vectors(pearson), "pearson_similarity", "from −1 to 1", "The correlation of two lists of numbers.", VECTOR_BEHAVIOUR,
        "NULL for a list, or inside one, → NULL; so is NaN or infinity. A list whose numbers are all the same → NULL.",
        "Σ (a − ā)(b − b̄) / √(Σ (a − ā)² · Σ (b − b̄)²)", "", "SELECT pearson_similarity(make_array(1, 2, 3), make_array(10, 20, 30)) AS together";
}

/// Divided by the largest magnitude, so that no square overflows or vanishes; `None` where all are 0, or one is no finite number.
fn scaled(v: &[f64]) -> Option<Vec<f64>> {
    let most = v.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    (most > 0.0 && v.iter().all(|x| x.is_finite())).then(|| v.iter().map(|x| x / most).collect())
}

fn cosine(a: &[f64], b: &[f64]) -> Option<f64> {
    let (a, b) = (scaled(a)?, scaled(b)?);
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    Some((dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()).clamp(-1.0, 1.0))
}

fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let centred = |v: &[f64]| {
        // Not by the deviations from the mean, which rounding keeps from 0.
        if v.iter().all(|x| *x == v[0]) {
            return None;
        }
        let v = scaled(v)?;
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        Some(v.into_iter().map(|x| x - mean).collect::<Vec<_>>())
    };
    cosine(&centred(a)?, &centred(b)?)
}

fn euclid(a: &[f64], b: &[f64]) -> Option<f64> {
    let squares: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    Some(1.0 / (1.0 + squares.sqrt())).filter(|_| !a.is_empty() && a.iter().chain(b).all(|x| x.is_finite()))
}

/// One of the functions as the engine sees it.
struct ListSimilarity {
    spec: &'static FunctionSpec,
    compare: Compare,
    signature: Signature,
}

/// All of them.
pub fn similarities() -> impl Iterator<Item = ScalarUDF> {
    LIST_SIMILARITIES.iter().map(|&(spec, compare)| {
        let signature = named(spec, Volatility::Immutable);
        ScalarUDF::from(ListSimilarity { spec, compare, signature })
    })
}

impl std::fmt::Debug for ListSimilarity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.spec.name)
    }
}

impl PartialEq for ListSimilarity {
    fn eq(&self, other: &Self) -> bool {
        self.spec.name == other.spec.name
    }
}

impl Eq for ListSimilarity {}

impl Hash for ListSimilarity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.spec.name.hash(state);
    }
}

/// The type of a list's values.
fn value_type(list: &DataType) -> Option<&DataType> {
    match list {
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => Some(f.data_type()),
        DataType::Null => Some(list),
        _ => None,
    }
}

impl ScalarUDFImpl for ListSimilarity {
    fn name(&self) -> &str {
        self.spec.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let spec = self.spec;
        if given.len() != ARGUMENTS.len() {
            return plan_err!("{}", spec.wrong_count(given.len()));
        }
        let types: Vec<Option<&DataType>> = given.iter().map(value_type).collect();
        let to = match (self.compare, types[0], types[1]) {
            (Compare::Vectors(_), ..) => DataType::Float64,
            (Compare::Sets, Some(a), Some(b)) => meeting(a, b),
            (Compare::Sets, ..) => DataType::Utf8,
        };
        for (argument, (t, values)) in ARGUMENTS.iter().zip(given.iter().zip(&types)) {
            let fits = values.is_some_and(|v| match self.compare {
                Compare::Vectors(_) => v.is_numeric() || v.is_null(),
                Compare::Sets => !v.is_nested(),
            });
            if !fits {
                let what = if matches!(self.compare, Compare::Sets) { "list of plain values" } else { "list of numbers" };
                return plan_err!("{}(): {} is of type {t}: allowed is a {what}. Form: {}", spec.name, argument.name, spec.signature());
            }
        }
        Ok(vec![DataType::List(Arc::new(Field::new_list_field(to, true))); 2])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let lists = args.args.iter().map(|a| a.to_array(rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let (a, b) = (lists[0].as_list::<i32>(), lists[1].as_list::<i32>());
        let out = match self.compare {
            Compare::Vectors(of) => self.vectors(a, b, of)?,
            Compare::Sets => jaccard(a, b)?,
        };
        if constant { Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?)) } else { Ok(ColumnarValue::Array(Arc::new(out))) }
    }
}

impl ListSimilarity {
    fn vectors(&self, a: &ListArray, b: &ListArray, of: fn(&[f64], &[f64]) -> Option<f64>) -> Result<Float64Array> {
        let mut out = Vec::with_capacity(a.len());
        for row in 0..a.len() {
            if a.is_null(row) || b.is_null(row) {
                out.push(None);
                continue;
            }
            let (x, y) = (a.value(row), b.value(row));
            if x.len() != y.len() {
                return exec_err!(
                    "{}(): a has {} numbers and b has {}: both must have as many. Form: {}",
                    self.spec.name,
                    x.len(),
                    y.len(),
                    self.spec.signature()
                );
            }
            let whole = x.null_count() == 0 && y.null_count() == 0;
            out.push(if whole { of(x.as_primitive::<Float64Type>().values(), y.as_primitive::<Float64Type>().values()) } else { None });
        }
        Ok(out.into())
    }
}

fn jaccard(a: &ListArray, b: &ListArray) -> Result<Float64Array> {
    let to = a.value_type();
    let converter = RowConverter::new(vec![SortField::new(to.clone())])?;
    let rows_of = |lists: &ListArray| converter.convert_columns(&[Arc::clone(lists.values())]);
    let (of_a, of_b) = (rows_of(a)?, rows_of(b)?);
    let (nulls_of_a, nulls_of_b) = (a.values().logical_nulls(), b.values().logical_nulls());
    let set = |lists: &ListArray, nulls: &Option<NullBuffer>, row: usize| {
        let offsets = lists.value_offsets();
        let places = offsets[row] as usize..offsets[row + 1] as usize;
        places.filter(|&at| nulls.as_ref().is_none_or(|n| n.is_valid(at))).collect::<Vec<_>>()
    };
    let one = |row: usize| {
        if a.is_null(row) || b.is_null(row) {
            return None;
        }
        let x: HashSet<_> = set(a, &nulls_of_a, row).into_iter().map(|at| of_a.row(at)).collect();
        let y: HashSet<_> = set(b, &nulls_of_b, row).into_iter().map(|at| of_b.row(at)).collect();
        let both = x.intersection(&y).count();
        let either = x.len() + y.len() - both;
        (either > 0).then(|| both as f64 / either as f64)
    };
    Ok((0..a.len()).map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let close = |a: Option<f64>, b: f64| assert!(a.is_some_and(|a| (a - b).abs() < 1e-15), "{a:?} {b}");
        close(cosine(&[1.0, 0.0], &[1.0, 1.0]), 0.5f64.sqrt());
        close(pearson(&[1.0, 2.0, 4.0], &[2.0, 1.0, 0.0]), -9.0 / 84f64.sqrt());
        close(euclid(&[1.0, 2.0], &[4.0, 6.0]), 1.0 / 6.0);
    }

    /// No square overflows, vanishes, or makes a correlation of rounding.
    #[test]
    fn the_ends_of_the_range() {
        assert_eq!(cosine(&[1e300, 1e300], &[1e-300, 1e-300]), Some(1.0));
        assert_eq!((pearson(&[0.1; 3], &[1.0, 2.0, 3.0]), pearson(&[1.0], &[1.0]), pearson(&[], &[])), (None, None, None));
        assert_eq!((cosine(&[0.0, -0.0], &[1.0, 2.0]), cosine(&[], &[]), euclid(&[], &[])), (None, None, None));
        assert_eq!((euclid(&[1e300], &[-1e300]), euclid(&[f64::NAN], &[1.0]), cosine(&[f64::INFINITY], &[1.0])), (Some(0.0), None, None));
        assert!(pearson(&[1.7e308, -1.7e308, 0.0], &[3.0, 1.0, 2.0]).is_some_and(|r| (r - 1.0).abs() < 1e-12));
    }
}
