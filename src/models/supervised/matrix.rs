//! What is learned from.

use std::ops::Range;

/// Encoded features, column by column; NaN is a value that is not known. Never infinite.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matrix {
    pub rows: usize,
    pub columns: Vec<Vec<f64>>,
}

impl Matrix {
    /// The rows at these places, in their order.
    pub fn take(&self, rows: &[usize]) -> Self {
        Self { rows: rows.len(), columns: self.columns.iter().map(|c| rows.iter().map(|&r| c[r]).collect()).collect() }
    }
}

/// What the label is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// 0 or 1.
    Classification,
    /// A number.
    Regression,
}

/// Features with their label, one a row, finite.
#[derive(Debug, Clone, Copy)]
pub struct Training<'a> {
    pub x: &'a Matrix,
    pub y: &'a [f64],
    pub task: Task,
    /// Columns that are the levels of one feature, at most one of which is 1 in a row.
    pub levels: &'a [Range<usize>],
    /// The column that is itself a forecast of the label, by a buy-till-you-die model.
    pub forecast: Option<usize>,
}
