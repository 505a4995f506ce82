//! Covariates: columns of `users` as numbers, for models in which the customers differ by more than their purchases.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, exec_err};

use super::{Customers, NO_CODE};
use crate::models::lifetime::Covariates;

/// The covariates of every customer code.
#[derive(Debug, Default)]
pub struct UserCovariates {
    pub names: Vec<String>,
    rows: Arc<Vec<Vec<f64>>>,
    cell: Vec<u32>,
}

/// Values of a text column that have a column of their own.
const MOST_CATEGORIES: usize = 50;

/// A covariate that needs no column of `users`: ln(1 + value of the first purchase day), to the nearest quarter. It is known from the first day on, and does not
/// change.
pub const FIRST_ORDER_VALUE: &str = "first_order_value";
const STEPS_A_UNIT: f64 = 4.0;

/// [`FIRST_ORDER_VALUE`] by customer code. One that is not known counts as the mean of those who began on earlier days: nothing that came later tells.
fn first_order_values(customers: &Customers) -> Vec<f64> {
    let first_day = |code: usize| customers.history.of(code).days.first().map(|&day| (day, code));
    let mut began: Vec<(i32, usize)> = (0..customers.len()).filter_map(first_day).collect();
    began.sort_unstable();
    let mut out = vec![0.0; customers.len()];
    let (mut sum, mut known) = (0.0, 0);
    for same_day in began.chunk_by(|a, b| a.0 == b.0) {
        let mean = sum / f64::from(known.max(1));
        for &(_, code) in same_day {
            let value = customers.history.of(code).values().next().map(f64::from).filter(|v| v.is_finite());
            let ln = value.map(|v| v.max(0.0).ln_1p());
            out[code] = (STEPS_A_UNIT * ln.unwrap_or(mean)).round() / STEPS_A_UNIT;
            (sum, known) = (sum + ln.unwrap_or(0.0), known + i32::from(ln.is_some()));
        }
    }
    out
}

impl UserCovariates {
    /// From batches of (user_id, covariate, …). Text becomes a column of 0 and 1 for each of its values but the first, named `column=value`; a missing number is
    /// the mean of the others, a missing text is a value of its own, '(missing)'. `wanted` are the names a fitted model has: values it does not know are no
    /// value of its. With `first_orders`, [`FIRST_ORDER_VALUE`] is one of them.
    pub fn new(customers: &Customers, batches: &[RecordBatch], first_orders: bool, wanted: Option<&[String]>) -> Result<Self> {
        let (keys, users) = (&customers.keys, customers.len());
        let mut columns: Vec<(String, Vec<f64>)> = vec![];
        let width = batches.first().map_or(0, RecordBatch::num_columns);
        let mut codes = vec![];
        let mut seen = vec![false; users];
        for b in batches {
            let of_batch = keys.lookup(b.column(0))?;
            for &code in of_batch.iter().filter(|c| **c != NO_CODE) {
                if std::mem::replace(&mut seen[code as usize], true) {
                    return exec_err!("users has several rows of one user_id: one row a user is needed");
                }
            }
            codes.push(of_batch);
        }
        for at in 1..width {
            let name = batches[0].schema().field(at).name().clone();
            let kind = batches[0].column(at).data_type().clone();
            if kind.is_numeric() || kind == DataType::Boolean {
                let mut values = vec![f64::NAN; users];
                for (b, codes) in batches.iter().zip(&codes) {
                    let column = cast(b.column(at), &DataType::Float64)?;
                    let column = column.as_primitive::<Float64Type>();
                    for (row, &code) in codes.iter().enumerate().filter(|(_, c)| **c != NO_CODE) {
                        values[code as usize] = if column.is_valid(row) { column.value(row) } else { f64::NAN };
                    }
                }
                let known: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
                let mean = if known.is_empty() { 0.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
                values.iter_mut().filter(|v| !v.is_finite()).for_each(|v| *v = mean);
                columns.push((name, values));
            } else if let Ok(text) = batches.iter().map(|b| cast(b.column(at), &DataType::Utf8)).collect::<std::result::Result<Vec<_>, _>>()
            {
                let mut values: Vec<Option<String>> = vec![None; users];
                for (column, codes) in text.iter().zip(&codes) {
                    for (row, &code) in codes.iter().enumerate().filter(|(_, c)| **c != NO_CODE) {
                        values[code as usize] =
                            column.as_string::<i32>().is_valid(row).then(|| column.as_string::<i32>().value(row).to_owned());
                    }
                }
                let level = |v: &Option<String>| v.clone().unwrap_or_else(|| "(missing)".to_owned());
                let levels: BTreeSet<String> = values.iter().map(level).collect();
                if levels.len() > MOST_CATEGORIES {
                    return exec_err!(
                        "covariate {name} of users has {} values: at most {MOST_CATEGORIES}. Group them, or make numbers of them",
                        levels.len()
                    );
                }
                for one in levels.iter().skip(usize::from(wanted.is_none())) {
                    let is = values.iter().map(|v| f64::from(u8::from(level(v) == *one))).collect();
                    columns.push((format!("{name}={one}"), is));
                }
            } else {
                return exec_err!("covariate {name} of users is of type {kind}: a number, a boolean or a text is needed");
            }
        }
        if first_orders {
            columns.push((FIRST_ORDER_VALUE.to_owned(), first_order_values(customers)));
        }
        if let Some(wanted) = wanted {
            let mut known: BTreeMap<String, Vec<f64>> = columns.into_iter().collect();
            columns = wanted.iter().map(|n| (n.clone(), known.remove(n).unwrap_or_else(|| vec![0.0; users]))).collect();
        }
        let mut cells: HashMap<Vec<u64>, u32> = HashMap::new();
        let mut rows: Vec<Vec<f64>> = vec![];
        let cell = (0..users).map(|code| {
            let row: Vec<f64> = columns.iter().map(|(_, v)| v[code]).collect();
            *cells.entry(row.iter().map(|v| v.to_bits()).collect()).or_insert_with(|| {
                rows.push(row);
                (rows.len() - 1) as u32
            })
        });
        let cell = cell.collect();
        Ok(Self { names: columns.into_iter().map(|(n, _)| n).collect(), rows: Arc::new(rows), cell })
    }

    /// Feeds all that it holds to a hasher.
    pub fn hash_into(&self, hasher: &mut impl Hasher) {
        (&self.names, &self.cell).hash(hasher);
        self.rows.iter().flatten().for_each(|v| v.to_bits().hash(hasher));
    }

    /// Those of some customers.
    pub fn of(&self, codes: &[u32]) -> Covariates {
        // Only the rows that they have.
        let mut of: HashMap<u32, u32> = HashMap::new();
        let mut rows: Vec<Vec<f64>> = vec![];
        let cell = codes.iter().map(|&code| {
            let row = self.cell[code as usize];
            *of.entry(row).or_insert_with(|| {
                rows.push(self.rows[row as usize].clone());
                (rows.len() - 1) as u32
            })
        });
        let cell = cell.collect();
        Covariates { names: self.names.clone(), rows, cell }
    }
}
