//! The purchase days of every customer: what every look at the past is made from.

use std::ops::Range;

use datafusion::arrow::array::{Array, AsArray, StructArray};
use datafusion::arrow::datatypes::{Int32Type, Int64Type};
use datafusion::common::{Result, internal_datafusion_err};

/// Days and values of all customers, one after the other; a customer is named by position. Values are in millionths of the currency's unit.
#[derive(Debug, Default)]
pub struct History {
    purchases: Lists,
    refunds: Lists,
}

#[derive(Debug, Default)]
struct Lists {
    /// Customer i has `ends[i−1]..ends[i]`.
    ends: Vec<usize>,
    days: Vec<i32>,
    values: Vec<i64>,
}

/// The value of a purchase day of which none is known.
const UNKNOWN: i64 = i64::MIN;

/// One customer's purchase days since 1970, ascending, and what is known of their values.
#[derive(Debug, Clone, Copy)]
pub struct Days<'a> {
    pub days: &'a [i32],
    values: &'a [i64],
}

impl Lists {
    fn append(&mut self, days: &dyn Array, values: &dyn Array, row: usize) {
        let (lists, values) = (days.as_list::<i32>(), values.as_list::<i32>());
        let (from, to) = (lists.value_offsets()[row] as usize, lists.value_offsets()[row + 1] as usize);
        self.days.extend_from_slice(&lists.values().as_primitive::<Int32Type>().values()[from..to]);
        let values = values.values().as_primitive::<Int64Type>();
        self.values.extend((from..to).map(|i| if values.is_valid(i) { values.value(i) } else { UNKNOWN }));
        self.ends.push(self.days.len());
    }

    fn range(&self, customer: usize) -> Range<usize> {
        customer.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[customer]
    }

    fn of(&self, customer: usize) -> Days<'_> {
        let range = self.range(customer);
        Days { days: &self.days[range.clone()], values: &self.values[range] }
    }

    fn size(&self) -> usize {
        self.ends.capacity() * size_of::<usize>() + self.days.capacity() * size_of::<i32>() + self.values.capacity() * size_of::<i64>()
    }
}

impl History {
    /// Takes the rows of summaries ([`super::summary::summary_fields`]) in the given order: (summary, row).
    pub fn of_rows<'a>(rows: impl Iterator<Item = (&'a StructArray, usize)>) -> Result<Self> {
        let mut out = Self::default();
        for (summary, row) in rows {
            let column = |name: &str| summary.column_by_name(name).ok_or_else(|| internal_datafusion_err!("no summary field {name}"));
            out.purchases.append(column("days")?, column("values")?, row);
            out.refunds.append(column("refund_days")?, column("refunds")?, row);
        }
        Ok(out)
    }

    /// The histories of a summary's rows as they stand.
    pub fn of_summary(summary: &StructArray) -> Result<Self> {
        Self::of_rows((0..summary.len()).map(|row| (summary, row)))
    }

    /// The purchases of a customer.
    pub fn of(&self, customer: usize) -> Days<'_> {
        self.purchases.of(customer)
    }

    /// The refunds of a customer.
    pub fn refunds(&self, customer: usize) -> Days<'_> {
        self.refunds.of(customer)
    }

    /// Purchase days of all customers.
    pub fn days(&self) -> usize {
        self.purchases.days.len()
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.purchases.size() + self.refunds.size()
    }
}

impl<'a> Days<'a> {
    /// Those after `from` and up to `to`, days since 1970.
    pub fn between(&self, from: i64, to: i64) -> Days<'a> {
        let at = |day: i64| self.days.partition_point(|&d| i64::from(d) <= day);
        let (start, end) = (at(from), at(to).max(at(from)));
        Days { days: &self.days[start..end], values: &self.values[start..end] }
    }

    /// Those up to a day.
    pub fn until(&self, day: i64) -> Days<'a> {
        self.between(i64::MIN, day)
    }

    /// The value of each day in the currency's unit; NaN where it is not known.
    pub fn values(&self) -> impl Iterator<Item = f32> {
        self.values.iter().map(|&v| if v == UNKNOWN { f32::NAN } else { (v as f64 / 1e6) as f32 })
    }

    /// Days after the first.
    pub fn repeats(&self) -> usize {
        self.days.len().saturating_sub(1)
    }

    /// The last day; 0 without any.
    pub fn last(&self) -> i64 {
        self.days.last().copied().map_or(0, i64::from)
    }

    /// Sum of the known values, in the currency's unit, and on how many days one is known.
    pub fn value(&self) -> (f64, u32) {
        let known = self.values.iter().filter(|v| **v != UNKNOWN);
        // A sum of all of a customer's values was checked when it was read.
        (known.clone().sum::<i64>() as f64 / 1e6, known.count() as u32)
    }

    /// On how many days after the first a value is known, and the mean of those values in the currency's unit; 0 where there is none.
    pub fn repeat_value(&self) -> (u32, f64) {
        if self.days.is_empty() {
            return (0, 0.0);
        }
        let (sum, n) = Days { days: &self.days[1..], values: &self.values[1..] }.value();
        (n, if n == 0 { 0.0 } else { sum / f64::from(n) })
    }
}
