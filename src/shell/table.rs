//! Tables for people: widths from the first rows, then every row as it comes.

use std::io::{self, Write};

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use unicode_width::UnicodeWidthStr;

/// Rows from which the widths of columns are taken.
const SAMPLE: usize = 1000;

/// Prints rows of text in columns.
pub struct TableWriter {
    names: Vec<String>,
    right: Vec<bool>,
    widths: Vec<usize>,
    waiting: Vec<Vec<String>>,
    started: bool,
}

impl TableWriter {
    pub fn new(schema: &SchemaRef) -> Self {
        let right = |t: &DataType| t.is_numeric();
        let names: Vec<String> = schema.fields().iter().map(|f| one_line(f.name())).collect();
        Self {
            widths: names.iter().map(|n| n.width()).collect(),
            right: schema.fields().iter().map(|f| right(f.data_type())).collect(),
            names,
            waiting: vec![],
            started: false,
        }
    }

    pub fn row(&mut self, cells: Vec<String>, out: &mut dyn Write) -> io::Result<()> {
        let cells: Vec<String> = cells.iter().map(|c| one_line(c)).collect();
        if self.started {
            return self.line(&cells, out);
        }
        for (w, c) in self.widths.iter_mut().zip(&cells) {
            *w = (*w).max(c.width());
        }
        self.waiting.push(cells);
        if self.waiting.len() >= SAMPLE { self.start(out) } else { Ok(()) }
    }

    fn start(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.started = true;
        self.rule(out)?;
        let names: Vec<String> = self.names.clone();
        self.line(&names, out)?;
        self.rule(out)?;
        for row in std::mem::take(&mut self.waiting) {
            self.line(&row, out)?;
        }
        Ok(())
    }

    pub fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if !self.started {
            self.start(out)?;
        }
        self.rule(out)
    }

    fn rule(&self, out: &mut dyn Write) -> io::Result<()> {
        let dashes: Vec<String> = self.widths.iter().map(|w| "-".repeat(w + 2)).collect();
        writeln!(out, "+{}+", dashes.join("+"))
    }

    fn line(&self, cells: &[String], out: &mut dyn Write) -> io::Result<()> {
        let cell = |(i, c): (usize, &String)| {
            let pad = " ".repeat(self.widths[i].saturating_sub(c.width()));
            if self.right[i] { format!(" {pad}{c} ") } else { format!(" {c}{pad} ") }
        };
        writeln!(out, "|{}|", cells.iter().enumerate().map(cell).collect::<Vec<_>>().join("|"))
    }
}

/// Control characters would break the table: they are shown as escapes.
fn one_line(text: &str) -> String {
    if !text.contains(|c: char| c.is_control()) {
        return text.to_owned();
    }
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::{Field, Schema};
    use std::sync::Arc;

    #[test]
    fn wide_characters_align_and_numbers_stand_right() {
        let schema = Arc::new(Schema::new(vec![Field::new("item", DataType::Utf8, true), Field::new("n", DataType::Int64, true)]));
        let mut t = TableWriter::new(&schema);
        let mut out = vec![];
        for (a, b) in [("绿茶", "1"), ("tea\n", "20"), ("é", "NULL")] {
            t.row(vec![a.into(), b.into()], &mut out).unwrap();
        }
        t.finish(&mut out).unwrap();
        let expected = "+-------+------+\n| item  |    n |\n+-------+------+\n| 绿茶  |    1 |\n| tea\\n |   20 |\n| é     | NULL |\n+-------+------+\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn every_row_comes_out_beyond_the_sample() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let mut t = TableWriter::new(&schema);
        let mut out = vec![];
        for i in 0..2500 {
            t.row(vec![(i * 1000).to_string()], &mut out).unwrap();
        }
        t.finish(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2500 + 4);
    }
}
