//! What is known besides the purchases: covariates of the customers, and of the calendar.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Date32Type, Float64Type};
use datafusion::common::{Result, exec_err};

use super::{Purchasers, UserCovariates};
use crate::models::lifetime::{Calendar, Covariates};

/// What a model with covariates needs besides the purchases; nothing for one without.
#[derive(Debug, Default)]
pub struct Context {
    pub users: Option<UserCovariates>,
    /// Whether the value of the first order is a covariate: [`FIRST_ORDER_VALUE`].
    pub first_order_value: bool,
    pub calendar: Option<Calendar>,
}

/// A covariate that needs no relation `users`: ln(1 + value of the first purchase day), to the nearest quarter. It is known from the first day on, and does not
/// change.
pub const FIRST_ORDER_VALUE: &str = "first_order_value";
const STEPS_A_UNIT: f64 = 4.0;

/// The same for some customers, as of some day.
#[derive(Debug, Default)]
pub struct Known {
    pub covariates: Option<Covariates>,
    pub calendar: Option<Calendar>,
}

impl Context {
    /// Changes with what is known; of this process only.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.first_order_value.hash(&mut hasher);
        if let Some(users) = &self.users {
            users.hash_into(&mut hasher);
        }
        if let Some(Calendar { names, first_day, rows, .. }) = &self.calendar {
            (names, first_day).hash(&mut hasher);
            rows.iter().flatten().for_each(|v| v.to_bits().hash(&mut hasher));
        }
        hasher.finish()
    }

    /// For purchasers, on their day.
    pub fn of(&self, p: &Purchasers) -> Known {
        self.on(p, p.day)
    }

    /// For purchasers, seen from another day.
    pub fn on(&self, p: &Purchasers, day: i64) -> Known {
        let calendar = self.calendar.clone().map(|calendar| Calendar { today: day, ..calendar });
        let of_users = self.users.as_ref().map(|c| c.of(&p.codes));
        let covariates = if self.first_order_value { Some(with_first_orders(of_users, p)) } else { of_users };
        Known { covariates, calendar }
    }
}

/// The covariates with [`FIRST_ORDER_VALUE`] as the last of them. A value that is not known counts as the mean of the others.
fn with_first_orders(covariates: Option<Covariates>, p: &Purchasers) -> Covariates {
    let mut out = covariates.unwrap_or_else(|| Covariates { rows: vec![vec![]], cell: vec![0; p.len()], ..Covariates::default() });
    let step = |i: usize| {
        let value = f64::from(p.day_values[i.checked_sub(1).map_or(0, |before| p.ends[before])]);
        value.is_finite().then(|| (STEPS_A_UNIT * value.max(0.0).ln_1p()).round() as i64)
    };
    let steps: Vec<Option<i64>> = (0..p.len()).map(step).collect();
    let (sum, known) = steps.iter().flatten().fold((0, 0), |(sum, n), step| (sum + step, n + 1));
    let mean = (sum as f64 / f64::from(known.max(1))).round() as i64;
    let mut cells: HashMap<(u32, i64), u32> = HashMap::new();
    let mut rows: Vec<Vec<f64>> = vec![];
    for (cell, step) in out.cell.iter_mut().zip(steps) {
        let step = step.unwrap_or(mean);
        *cell = *cells.entry((*cell, step)).or_insert_with(|| {
            let own = out.rows[*cell as usize].iter().copied().chain([step as f64 / STEPS_A_UNIT]);
            rows.push(own.collect());
            (rows.len() - 1) as u32
        });
    }
    out.rows = rows;
    out.names.push(FIRST_ORDER_VALUE.to_owned());
    out
}

/// A calendar from batches of (day Date32, covariate Float64, …) in the order of days.
pub fn calendar(batches: &[RecordBatch]) -> Result<Calendar> {
    let mut out = Calendar { names: vec![], first_day: 0, rows: vec![], today: 0 };
    for b in batches {
        let days = cast(b.column(0), &DataType::Date32)?;
        let days = days.as_primitive::<Date32Type>();
        let columns = b.columns()[1..].iter().map(|c| cast(c, &DataType::Float64)).collect::<std::result::Result<Vec<_>, _>>()?;
        for row in 0..b.num_rows() {
            let day = i64::from(days.value(row));
            if days.is_null(row) || columns.iter().any(|c| c.is_null(row) || !c.as_primitive::<Float64Type>().value(row).is_finite()) {
                return exec_err!("calendar: row {} has no value: every day needs one of every covariate", out.rows.len() + 1);
            }
            if out.rows.is_empty() {
                out.first_day = day;
            } else if day != out.first_day + out.rows.len() as i64 {
                return exec_err!(
                    "calendar: day {} is followed by day {} (since 1970): one row for every day is needed",
                    out.first_day + out.rows.len() as i64 - 1,
                    day
                );
            }
            out.rows.push(columns.iter().map(|c| c.as_primitive::<Float64Type>().value(row)).collect());
        }
    }
    out.names = batches.first().map(|b| b.schema().fields().iter().skip(1).map(|f| f.name().clone()).collect()).unwrap_or_default();
    Ok(out)
}
