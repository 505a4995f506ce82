//! What explanations are made of: baseline + the sum of the contributions = prediction.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, StringArray, StructArray};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};

fn reason_fields() -> Fields {
    vec![
        Field::new("rank", DataType::Int64, false),
        Field::new("feature", DataType::Utf8, false),
        Field::new("value", DataType::Float64, true),
        Field::new("contribution", DataType::Float64, true),
        Field::new("text", DataType::Utf8, false),
    ]
    .into()
}

fn list_field() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(reason_fields()), true))
}

/// The fields of an explanation.
pub fn explanation() -> Fields {
    vec![
        Field::new("prediction", DataType::Float64, true),
        Field::new("baseline", DataType::Float64, true),
        Field::new("reasons", DataType::List(list_field()), true),
    ]
    .into()
}

/// A reason before it has a rank: feature, value, contribution, text.
pub type Reason = (String, Option<f64>, Option<f64>, String);

/// Explanations as they are made, one a row.
#[derive(Default)]
pub struct Explanations {
    prediction: Vec<Option<f64>>,
    baseline: Vec<Option<f64>>,
    valid: Vec<bool>,
    ends: Vec<i32>,
    rank: Vec<i64>,
    reasons: Vec<Reason>,
}

impl Explanations {
    /// Adds a row; its reasons come by size of their contribution, equal ones as they are given.
    pub fn push(&mut self, is_valid: bool, prediction: Option<f64>, baseline: Option<f64>, mut reasons: Vec<Reason>) {
        let size = |r: &Reason| r.2.unwrap_or(0.0).abs();
        reasons.sort_by(|a, b| size(b).total_cmp(&size(a)));
        self.valid.push(is_valid);
        self.prediction.push(prediction);
        self.baseline.push(baseline);
        self.rank.extend(1..=reasons.len() as i64);
        self.reasons.extend(reasons);
        self.ends.push(self.rank.len() as i32);
    }

    pub fn finish(self) -> ArrayRef {
        let text = |of: fn(&Reason) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(self.reasons.iter().map(of))) };
        let float = |of: fn(&Reason) -> Option<f64>| -> ArrayRef { Arc::new(self.reasons.iter().map(of).collect::<Float64Array>()) };
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(self.rank)), text(|r| &r.0), float(|r| r.1), float(|r| r.2), text(|r| &r.3)];
        let reasons = StructArray::new(reason_fields(), columns, None);
        let offsets: Vec<i32> = std::iter::once(0).chain(self.ends).collect();
        let reasons = ListArray::new(list_field(), OffsetBuffer::new(ScalarBuffer::from(offsets)), Arc::new(reasons), None);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Float64Array::from(self.prediction)), Arc::new(Float64Array::from(self.baseline)), Arc::new(reasons)];
        Arc::new(StructArray::new(explanation(), columns, Some(NullBuffer::from(self.valid))))
    }
}
