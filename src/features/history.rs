//! The purchase days of every customer: what every look at the past is made from.

use std::ops::Range;

use datafusion::arrow::array::{Array, AsArray, Int64Array, StructArray};
use datafusion::arrow::datatypes::{Int32Type, Int64Type};
use datafusion::common::{Result, internal_err};

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
    fn append(&mut self, column: &Column<'_>, row: usize) {
        let (from, to) = (column.offsets[row] as usize, column.offsets[row + 1] as usize);
        self.days.extend_from_slice(&column.days[from..to]);
        let values = column.values;
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

/// Lists of days and of their values in a summary.
struct Column<'a> {
    offsets: &'a [i32],
    days: &'a [i32],
    values: &'a Int64Array,
}

impl<'a> Column<'a> {
    fn of(summary: &'a StructArray, days: &str, values: &str) -> Result<Self> {
        let list = |name: &str| match summary.column_by_name(name) {
            Some(column) => Ok(column.as_list::<i32>()),
            None => internal_err!("no summary field {name}"),
        };
        let (days, values) = (list(days)?, list(values)?);
        Ok(Self {
            offsets: days.value_offsets(),
            days: days.values().as_primitive::<Int32Type>().values(),
            values: values.values().as_primitive::<Int64Type>(),
        })
    }
}

impl History {
    /// Takes the rows of summaries ([`super::summary::summary_fields`]) in the given order: (summary, row).
    pub fn of_rows(summaries: &[&StructArray], rows: impl Iterator<Item = (usize, usize)>) -> Result<Self> {
        let purchases = summaries.iter().map(|s| Column::of(s, "days", "values")).collect::<Result<Vec<_>>>()?;
        let refunds = summaries.iter().map(|s| Column::of(s, "refund_days", "refunds")).collect::<Result<Vec<_>>>()?;
        let mut out = Self::default();
        for (summary, row) in rows {
            out.purchases.append(&purchases[summary], row);
            out.refunds.append(&refunds[summary], row);
        }
        Ok(out)
    }

    /// The histories of a summary's rows as they stand.
    pub fn of_summary(summary: &StructArray) -> Result<Self> {
        Self::of_rows(&[summary], (0..summary.len()).map(|row| (0, row)))
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
