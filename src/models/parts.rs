//! The form in which a fitted model writes itself: named tables of plain columns. `store/` turns them into Arrow files.

use super::ModelError;

/// One column of a [`Part`].
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    F64(Vec<f64>),
    F32(Vec<f32>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    Text(Vec<String>),
}

/// A named table; all columns have one length.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub name: String,
    pub columns: Vec<(String, Column)>,
}

impl Part {
    pub fn new(name: &str, columns: Vec<(&str, Column)>) -> Self {
        Self { name: name.into(), columns: columns.into_iter().map(|(n, c)| (n.into(), c)).collect() }
    }

    fn damaged(&self, column: &str, what: &str) -> ModelError {
        ModelError::Damaged(format!("{what} '{column}' in table '{}'", self.name))
    }

    fn column(&self, name: &str) -> Result<&Column, ModelError> {
        self.columns.iter().find(|(n, _)| n == name).map(|(_, c)| c).ok_or_else(|| self.damaged(name, "no column"))
    }

    pub fn f64(&self, name: &str) -> Result<&[f64], ModelError> {
        match self.column(name)? {
            Column::F64(v) => Ok(v),
            _ => Err(self.damaged(name, "unexpected type of column")),
        }
    }

    pub fn f32(&self, name: &str) -> Result<&[f32], ModelError> {
        match self.column(name)? {
            Column::F32(v) => Ok(v),
            _ => Err(self.damaged(name, "unexpected type of column")),
        }
    }

    pub fn u32(&self, name: &str) -> Result<&[u32], ModelError> {
        match self.column(name)? {
            Column::U32(v) => Ok(v),
            _ => Err(self.damaged(name, "unexpected type of column")),
        }
    }

    pub fn u64(&self, name: &str) -> Result<&[u64], ModelError> {
        match self.column(name)? {
            Column::U64(v) => Ok(v),
            _ => Err(self.damaged(name, "unexpected type of column")),
        }
    }

    /// The one value of a column, which must be finite.
    pub fn number(&self, name: &str) -> Result<f64, ModelError> {
        match *self.f64(name)? {
            [value] if value.is_finite() => Ok(value),
            [value] => Err(ModelError::Damaged(format!("{name} = {value} in table '{}'", self.name))),
            _ => Err(self.damaged(name, "not one value in column")),
        }
    }

    /// A column of finite numbers.
    pub fn finite(&self, name: &str) -> Result<&[f64], ModelError> {
        let values = self.f64(name)?;
        match values.iter().find(|v| !v.is_finite()) {
            Some(value) => Err(ModelError::Damaged(format!("{name} = {value} in table '{}'", self.name))),
            None => Ok(values),
        }
    }

    /// The one value of a column, which must be above 0.
    pub fn positive(&self, name: &str) -> Result<f64, ModelError> {
        match self.number(name)? {
            value if value > 0.0 => Ok(value),
            value => Err(ModelError::Damaged(format!("{name} = {value} in table '{}', which must be above 0", self.name))),
        }
    }

    /// A table of one row.
    pub fn row(name: &str, columns: &[(&str, f64)]) -> Self {
        Self::new(name, columns.iter().map(|&(n, v)| (n, Column::F64(vec![v]))).collect())
    }

    pub fn text(&self, name: &str) -> Result<&[String], ModelError> {
        match self.column(name)? {
            Column::Text(v) => Ok(v),
            _ => Err(self.damaged(name, "unexpected type of column")),
        }
    }
}

/// The part called `name`, or an error that names it.
pub fn part<'a>(parts: &'a [Part], name: &str) -> Result<&'a Part, ModelError> {
    parts.iter().find(|p| p.name == name).ok_or_else(|| ModelError::Damaged(format!("no table '{name}'")))
}
