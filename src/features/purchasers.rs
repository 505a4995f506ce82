//! The customers who had purchased by some day, as the lifetime models take them.

use datafusion::arrow::array::Float64Array;

use super::{Customers, Known};
use crate::models::lifetime::{Counts, PurchaseDays, Spending};

/// Nothing besides the purchases.
static NOTHING: Known = Known { covariates: None, calendar: None };

/// Customers who had purchased by `day`. Arrays are parallel to `codes`.
#[derive(Debug, Default)]
pub struct Purchasers {
    /// The day of observation, since 1970.
    pub day: i64,
    /// Ascending.
    pub codes: Vec<u32>,
    pub x: Vec<u32>,
    pub t_x: Vec<u32>,
    pub t: Vec<u32>,
    /// Repeat purchase days with a known value, and their mean value.
    pub repeat_valued: Vec<u32>,
    pub mean_value: Vec<f64>,
    /// Purchases and refunds so far, in the currency's unit.
    pub gross: Vec<f64>,
    pub refunded: Vec<f64>,
    /// Purchase days with a known value.
    pub valued_days: Vec<u32>,
    /// Purchase days since the first: customer i has `days[ends[i−1]..ends[i]]`.
    pub ends: Vec<usize>,
    pub days: Vec<u32>,
    /// The value of each, in the currency's unit; NaN where it is not known.
    pub day_values: Vec<f32>,
}

impl Purchasers {
    pub const BYTES_A_CUSTOMER: usize = 6 * size_of::<u32>() + 4 * size_of::<f64>();
    pub const BYTES_A_DAY: usize = size_of::<u32>() + size_of::<f32>();

    /// Everybody as of an earlier day, its end: nothing after it is looked at.
    pub fn as_of(customers: &Customers, day: i64) -> Self {
        Self::among(customers, day, 0..customers.len() as u32)
    }

    /// Those of `codes` who had purchased by `day`.
    pub fn among(customers: &Customers, day: i64, codes: impl Iterator<Item = u32>) -> Self {
        let mut out = Self { day, ..Self::default() };
        for code in codes {
            let mine = customers.history.of(code as usize).until(day);
            let Some(&first) = mine.days.first() else { continue };
            let since = |d: i64| (d - i64::from(first)).clamp(0, i64::from(u32::MAX)) as u32;
            let (repeat_valued, mean_value) = mine.repeat_value();
            let (gross, valued_days) = mine.value();
            out.codes.push(code);
            out.x.push(mine.repeats() as u32);
            out.t_x.push(since(mine.last()));
            out.t.push(since(day));
            out.repeat_valued.push(repeat_valued);
            out.mean_value.push(mean_value);
            out.gross.push(gross);
            out.valued_days.push(valued_days);
            out.refunded.push(customers.history.refunds(code as usize).until(day).value().0);
            out.days.extend(mine.days.iter().map(|&d| since(i64::from(d))));
            out.day_values.extend(mine.values());
            out.ends.push(out.days.len());
        }
        out
    }

    /// Adds others, who may be the same as of other days; `day` is no longer that of all.
    pub fn append(&mut self, other: Self) {
        let before = self.days.len();
        self.day = other.day;
        self.codes.extend(other.codes);
        self.x.extend(other.x);
        self.t_x.extend(other.t_x);
        self.t.extend(other.t);
        self.repeat_valued.extend(other.repeat_valued);
        self.mean_value.extend(other.mean_value);
        self.gross.extend(other.gross);
        self.refunded.extend(other.refunded);
        self.valued_days.extend(other.valued_days);
        self.ends.extend(other.ends.iter().map(|end| before + end));
        self.days.extend(other.days);
        self.day_values.extend(other.day_values);
    }

    pub fn counts(&self) -> Counts<'_> {
        self.counts_with(&NOTHING)
    }

    /// With what else is known of these customers.
    pub fn counts_with<'a>(&'a self, known: &'a Known) -> Counts<'a> {
        Counts {
            x: &self.x,
            t_x: &self.t_x,
            t: &self.t,
            days: Some(PurchaseDays { ends: &self.ends, days: &self.days }),
            covariates: known.covariates.as_ref(),
            calendar: known.calendar.as_ref(),
        }
    }

    pub fn spending(&self) -> Spending<'_> {
        Spending {
            repeat_valued: &self.repeat_valued,
            mean_value: &self.mean_value,
            gross: &self.gross,
            refunded: &self.refunded,
            valued_days: &self.valued_days,
            day_values: Some(&self.day_values),
        }
    }

    /// Number of customers.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// What they did in the `days` after: purchase days, and purchases less refunds in the currency's unit.
    pub fn after(&self, customers: &Customers, days: i64) -> (Vec<f64>, Vec<f64>) {
        let window = |code: &u32| {
            let code = *code as usize;
            let (from, to) = (self.day, self.day + days);
            let bought = customers.history.of(code).between(from, to);
            let refunded = customers.history.refunds(code).between(from, to).value().0;
            (bought.days.len() as f64, bought.value().0 - refunded)
        };
        self.codes.iter().map(window).unzip()
    }

    /// A column by customer code from values by purchaser: NULL for everybody else, and for what is not finite.
    pub fn column(&self, users: usize, values: &[f64]) -> Float64Array {
        let mut out: Vec<Option<f64>> = vec![None; users];
        for (&code, &v) in self.codes.iter().zip(values) {
            out[code as usize] = v.is_finite().then_some(v);
        }
        out.into()
    }
}
