//! What is known besides the purchases: covariates of the customers, and of the calendar.

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
    pub calendar: Option<Calendar>,
}

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
        Known { covariates: self.users.as_ref().map(|c| c.of(&p.codes)), calendar }
    }
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
