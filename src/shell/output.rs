//! Results as table, csv, json or json lines: written batch by batch, all of them.

use std::io::{self, Write};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::WriterBuilder;
use datafusion::arrow::json::writer::LineDelimited;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::args::Format;
use super::table::TableWriter;

/// Writes one result.
pub struct ResultWriter {
    format: Format,
    schema: SchemaRef,
    table: TableWriter,
    pub rows: usize,
}

fn io_error(e: ArrowError) -> io::Error {
    match e {
        ArrowError::IoError(_, e) => e,
        e => io::Error::other(e),
    }
}

impl ResultWriter {
    pub fn new(format: Format, schema: &SchemaRef, out: &mut dyn Write) -> io::Result<Self> {
        match format {
            Format::Csv => writeln!(out, "{}", line(schema.fields().iter().map(|f| f.name().as_str())))?,
            Format::Json => write!(out, "[")?,
            Format::Table | Format::Jsonl => {}
        }
        Ok(Self { format, schema: schema.clone(), table: TableWriter::new(schema), rows: 0 })
    }

    pub fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        match self.format {
            Format::Table => {
                for row in cells(batch, "NULL")? {
                    self.table.row(row, out)?;
                }
            }
            Format::Csv => {
                for row in cells(batch, "")? {
                    writeln!(out, "{}", line(row.iter().map(String::as_str)))?;
                }
            }
            Format::Jsonl => out.write_all(&json_lines(batch)?)?,
            Format::Json => {
                for (i, object) in json_lines(batch)?.split(|b| *b == b'\n').filter(|l| !l.is_empty()).enumerate() {
                    out.write_all(if self.rows + i > 0 { b",\n " } else { b"" })?;
                    out.write_all(object)?;
                }
            }
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    /// `footer`: on a terminal, how many rows there were.
    pub fn finish(mut self, footer: bool, out: &mut dyn Write) -> io::Result<()> {
        match self.format {
            Format::Table => {
                self.table.finish(out)?;
                if footer {
                    writeln!(out, "({} row{})", self.rows, if self.rows == 1 { "" } else { "s" })?;
                }
            }
            Format::Json => writeln!(out, "]")?,
            Format::Csv | Format::Jsonl => {}
        }
        debug_assert!(!self.schema.fields().is_empty());
        Ok(())
    }
}

/// The cells of a batch as text, by row.
fn cells(batch: &RecordBatch, null: &str) -> io::Result<Vec<Vec<String>>> {
    let options = FormatOptions::default().with_null(null).with_display_error(true);
    let columns: Result<Vec<ArrayFormatter>, ArrowError> =
        batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options)).collect();
    let columns = columns.map_err(io_error)?;
    Ok((0..batch.num_rows()).map(|i| columns.iter().map(|c| c.value(i).to_string()).collect()).collect())
}

fn json_lines(batch: &RecordBatch) -> io::Result<Vec<u8>> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(vec![]);
    writer.write(batch).and_then(|()| writer.finish()).map_err(io_error)?;
    Ok(writer.into_inner())
}

/// A line of csv as in RFC 4180.
fn line<'a>(fields: impl Iterator<Item = &'a str>) -> String {
    let quote = |f: &str| {
        let special = f.contains([',', '"', '\n', '\r']) || f.starts_with(' ') || f.ends_with(' ');
        if special { format!("\"{}\"", f.replace('"', "\"\"")) } else { f.to_owned() }
    };
    fields.map(quote).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_fields_are_quoted_where_they_must_be() {
        assert_eq!(line(["a", "b,c", "d\"e", "f\ng", ""].into_iter()), "a,\"b,c\",\"d\"\"e\",\"f\ng\",");
    }
}
