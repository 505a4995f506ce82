//! A model's tables as Arrow files, and back.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Float32Array, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type, UInt32Type, UInt64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::FileReader;
use datafusion::arrow::ipc::writer::FileWriter;
use twox_hash::XxHash3_64;

use super::error::StoreError;
use crate::models::{Column, Part};

/// Writes a part to a new file, synced; returns its length and checksum.
pub fn write(path: &Path, part: &Part) -> Result<(u64, u64), StoreError> {
    let written = to_bytes(part).and_then(|bytes| {
        let mut file = File::create(path)?;
        std::io::Write::write_all(&mut file, &bytes)?;
        file.sync_all()?;
        Ok((bytes.len() as u64, XxHash3_64::oneshot(&bytes)))
    });
    written.map_err(|e| match e {
        ArrowError::IoError(_, e) => StoreError::io("write", path, &e),
        e => StoreError::io("write", path, &std::io::Error::other(e)),
    })
}

/// A part as an Arrow file.
pub fn to_bytes(part: &Part) -> Result<Vec<u8>, ArrowError> {
    let batch = RecordBatch::try_from_iter(part.columns.iter().map(|(n, c)| (n.as_str(), array(c))))?;
    let mut writer = FileWriter::try_new(vec![], &batch.schema())?;
    writer.write(&batch)?;
    writer.finish()?;
    writer.into_inner()
}

/// Reads a part and checks it.
pub fn read(path: &Path, name: &str, checksum: u64) -> Result<Part, StoreError> {
    let bytes = std::fs::read(path).map_err(|e| StoreError::io("read", path, &e))?;
    from_bytes(bytes, name, checksum).map_err(|why| StoreError::Damaged { path: path.into(), why })
}

/// The part in an Arrow file, or what is wrong with it.
pub fn from_bytes(bytes: Vec<u8>, name: &str, checksum: u64) -> Result<Part, String> {
    if XxHash3_64::oneshot(&bytes) != checksum {
        return Err("its checksum does not hold".into());
    }
    let mut reader = FileReader::try_new(std::io::Cursor::new(bytes), None).map_err(|e| e.to_string())?;
    let batch = reader.next().ok_or("no rows")?.map_err(|e| e.to_string())?;
    let columns: Option<Vec<(String, Column)>> =
        batch.schema().fields().iter().zip(batch.columns()).map(|(f, a)| Some((f.name().clone(), column(a)?))).collect();
    Ok(Part { name: name.into(), columns: columns.ok_or("a column of an unexpected type")? })
}

fn array(column: &Column) -> ArrayRef {
    match column {
        Column::F64(v) => Arc::new(Float64Array::from(v.clone())),
        Column::F32(v) => Arc::new(Float32Array::from(v.clone())),
        Column::U32(v) => Arc::new(UInt32Array::from(v.clone())),
        Column::U64(v) => Arc::new(UInt64Array::from(v.clone())),
        Column::Text(v) => Arc::new(StringArray::from_iter_values(v)),
    }
}

fn column(array: &ArrayRef) -> Option<Column> {
    Some(match array.data_type() {
        DataType::Float64 => Column::F64(array.as_primitive::<Float64Type>().values().to_vec()),
        DataType::Float32 => Column::F32(array.as_primitive::<Float32Type>().values().to_vec()),
        DataType::UInt32 => Column::U32(array.as_primitive::<UInt32Type>().values().to_vec()),
        DataType::UInt64 => Column::U64(array.as_primitive::<UInt64Type>().values().to_vec()),
        DataType::Utf8 => Column::Text(array.as_string::<i32>().iter().map(|s| s.unwrap_or_default().to_owned()).collect()),
        _ => return None,
    })
}
