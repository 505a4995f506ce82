//! What a function is: the single source of registration, `functions()`, help, completion and the reference pages.

use std::fmt;

use crate::text::did_you_mean;

/// What an argument means, and so which values it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArgKind {
    /// A customer's key, of any scalar type; may be a column.
    User,
    /// An item's key, of any scalar type; may be a column.
    Item,
    /// Keys of items: one of any scalar type, or a list of them; may be a column.
    Items,
    /// A span of time: an INTERVAL, or a number of days.
    Days,
    /// The same, or 'infinity'.
    DaysOrInfinity,
    /// A number between 0 and 1, neither of them.
    Share,
    /// A whole number from 1 to 100,000.
    Count,
    /// A whole number ≥ 0.
    Whole,
    /// The name of a model.
    Model,
    /// TRUE or FALSE.
    Flag,
    /// A number.
    Number,
    /// A text.
    Text,
    /// A date or timestamp.
    Time,
    /// A column of the aggregated relation.
    Column,
    /// A list, or a column of lists.
    List,
    /// A row of features: a struct, a column of them.
    Row,
    /// A query in parentheses, run on its own: a constant of the call.
    Query,
}

impl ArgKind {
    /// Whether an argument is a key, which may differ from row to row.
    pub fn is_key(self) -> bool {
        matches!(self, Self::User | Self::Item | Self::Items | Self::Row)
    }

    /// The kind as it stands in help and messages.
    pub fn label(self) -> &'static str {
        match self {
            Self::User | Self::Item => "any scalar",
            Self::Items => "any scalar, or a list of them",
            Self::Days => "INTERVAL, days or '90 days'",
            Self::DaysOrInfinity => "INTERVAL, days, '90 days' or 'infinity'",
            Self::Share => "number between 0 and 1",
            Self::Count => "integer from 1 to 100000",
            Self::Whole => "integer from 0",
            Self::Model => "name of a model",
            Self::Flag => "boolean",
            Self::Number => "number",
            Self::Text => "text",
            Self::Time => "date or timestamp",
            Self::Column => "column",
            Self::List => "list",
            Self::Row => "a struct of features: named_struct('name', column, ...)",
            Self::Query => "query in parentheses",
        }
    }
}

/// One argument; without a default it must be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Argument {
    pub name: &'static str,
    pub kind: ArgKind,
    pub default: Option<&'static str>,
    pub about: &'static str,
}

/// How a function may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    Scalar,
    Table,
    /// The scalar returns a struct or a list of structs; in FROM its fields are columns.
    ScalarAndTable,
    Aggregate,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Table => "table",
            Self::ScalarAndTable => "scalar, table",
            Self::Aggregate => "aggregate",
        })
    }
}

/// A result column: name, type, meaning with its unit.
pub type ColumnSpec = (&'static str, &'static str, &'static str);

/// Everything that is said about a function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct FunctionSpec {
    pub name: &'static str,
    pub section: &'static str,
    pub form: Form,
    pub arguments: &'static [Argument],
    /// The type a scalar or aggregate returns; empty for a table.
    pub returns: &'static str,
    /// The unit of the answer, when it has one.
    pub unit: &'static str,
    /// Columns of the table form.
    pub columns: &'static [ColumnSpec],
    pub summary: &'static str,
    /// What it does, point by point.
    pub behaviour: &'static [&'static str],
    /// What NULL, unknown and thin users get.
    pub nulls: &'static str,
    pub method: &'static str,
    pub source: &'static str,
    pub limits: &'static str,
    /// A statement that runs on a simulated shop.
    pub example: &'static str,
}

impl FunctionSpec {
    /// `clv(user, horizon => 365 days, model => auto)`.
    pub fn signature(&self) -> String {
        let one = |a: &Argument| match a.default {
            None => a.name.to_owned(),
            Some(d) => format!("{} => {d}", a.name),
        };
        format!("{}({})", self.name, self.arguments.iter().map(one).collect::<Vec<_>>().join(", "))
    }

    /// The arguments that must be given in the scalar form.
    pub fn required(&self) -> usize {
        self.arguments.iter().filter(|a| a.default.is_none()).count()
    }

    /// The position of an argument by name, letter case ignored; the error names the allowed ones and the nearest.
    pub fn position(&self, name: &str) -> Result<usize, String> {
        self.arguments.iter().position(|a| a.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
            let names: Vec<&str> = self.arguments.iter().map(|a| a.name).collect();
            let hint = did_you_mean(name, names.iter().copied(), "", "");
            let allowed = if names.is_empty() { "form takes none".to_owned() } else { format!("arguments: {}", names.join(", ")) };
            format!("{}() has no argument {name}{hint} Its {allowed}. Form: {}", self.name, self.signature())
        })
    }

    /// The message for a wrong number of arguments.
    pub fn wrong_count(&self, given: usize) -> String {
        let (least, most) = (self.required(), self.arguments.len());
        let allowed = if least == most { format!("{most}") } else { format!("{least} to {most}") };
        format!("{}() takes {allowed} argument(s), not {given}. Form: {}", self.name, self.signature())
    }

    /// The message for an argument of a wrong type or value.
    pub fn wrong_value(&self, argument: &Argument, given: impl fmt::Display) -> String {
        format!("{}(): {} = {given}: allowed is {}. Form: {}", self.name, argument.name, argument.kind.label(), self.signature())
    }
}
