//! Features as rows of the engine, and rows of the engine as features.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, RecordBatchOptions, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Schema};
use datafusion::common::Result;
use datafusion::execution::SessionState;

use super::aggregates::{over_rows, plain};
use crate::models::supervised::{FeatureSql, NO_LEVEL, NamedSql, Table, Values};

/// What TRANSFORM makes of rows; `*` stands for all features of `table`, which are of the same rows.
pub fn transformed(
    state: &SessionState,
    rows: &RecordBatch,
    table: &Table,
    exprs: &NamedSql,
    as_of_us: Option<i64>,
) -> Result<(Table, Vec<FeatureSql>)> {
    let mut out = Table { rows: table.rows, columns: vec![] };
    let written: NamedSql = exprs.iter().filter(|(_, sql)| sql != "*").cloned().collect();
    if exprs.len() > written.len() {
        out.columns = table.columns.clone();
    }
    let sql = |name: &String, sql: &String| FeatureSql { name: name.clone(), relation: String::new(), sql: sql.clone() };
    let mut described: Vec<FeatureSql> = out.columns.iter().map(|(n, _)| sql(n, n)).collect();
    for ((name, array), (_, text)) in over_rows(state, rows, &written, "TRANSFORM")?.into_iter().zip(&written) {
        out.columns.retain(|(n, _)| *n != name);
        described.retain(|f| f.name != name);
        described.push(sql(&name, text));
        out.columns.push((name, values_of(&[array], as_of_us)?));
    }
    Ok((out, described))
}

/// A table as a batch.
pub fn batch(table: &Table) -> Result<RecordBatch> {
    let (mut fields, mut columns): (Vec<Field>, Vec<ArrayRef>) = (vec![], vec![]);
    for (name, values) in &table.columns {
        let array: ArrayRef = match values {
            Values::Number(v) => Arc::new(v.iter().map(|x| (!x.is_nan()).then_some(*x)).collect::<Float64Array>()),
            Values::Level { codes, names } => {
                Arc::new(codes.iter().map(|&c| (c != NO_LEVEL).then(|| names[c as usize].as_str())).collect::<StringArray>())
            }
        };
        fields.push(Field::new(name, array.data_type().clone(), true));
        columns.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(table.rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// A column in batches as the values of a feature.
pub fn values_of(arrays: &[ArrayRef], as_of_us: Option<i64>) -> Result<Values> {
    let plain: Vec<ArrayRef> = arrays.iter().map(|a| plain(a, as_of_us)).collect::<Result<_>>()?;
    if plain.iter().any(|a| a.data_type() == &DataType::Utf8) {
        let text = plain.iter().flat_map(|a| {
            let a = a.as_string_opt::<i32>();
            let n = a.map_or(0, |a| a.len());
            (0..n).map(move |i| a.filter(|a| a.is_valid(i)).map(|a| a.value(i)))
        });
        return Ok(Values::levels(text));
    }
    let number = |a: &ArrayRef| -> Vec<f64> {
        let a = a.as_primitive::<Float64Type>();
        a.iter().map(|v| v.filter(|v| v.is_finite()).unwrap_or(f64::NAN)).collect()
    };
    Ok(Values::Number(plain.iter().flat_map(number).collect()))
}

/// The columns of a batch as features; a column of a nested type is none, and is named.
pub fn table_of(batch: &RecordBatch) -> Result<(Table, Vec<String>)> {
    let mut out = Table { rows: batch.num_rows(), columns: vec![] };
    let mut nested = vec![];
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() {
            nested.push(field.name().clone());
        } else {
            out.columns.push((field.name().clone(), values_of(std::slice::from_ref(column), None)?));
        }
    }
    Ok((out, nested))
}
