//! Runs every `.slt` file: each in a session of its own.

use std::path::PathBuf;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::DataFusionError;
use sqllogictest::{DBOutput, DefaultColumnType, Runner};
use tenure::session::{Place, render_error};
use tenure::{Session, SessionOptions};

struct Db(Session);

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Shown(String);

#[async_trait::async_trait]
impl sqllogictest::AsyncDB for Db {
    type Error = Shown;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Shown> {
        let run = async {
            let frame = self.0.sql(sql).await?;
            let types = frame.schema().fields().iter().map(|f| column_type(f.data_type())).collect::<Vec<_>>();
            Ok::<_, DataFusionError>((types, frame.collect().await?))
        };
        let (types, batches) = run.await.map_err(|e| Shown(render_error(&e, sql, &Place::default())))?;
        if types.is_empty() {
            return Ok(DBOutput::StatementComplete(0));
        }
        Ok(DBOutput::Rows { types, rows: batches.iter().flat_map(rows).collect() })
    }

    async fn shutdown(&mut self) {}
}

fn column_type(t: &DataType) -> DefaultColumnType {
    match t {
        t if t.is_integer() => DefaultColumnType::Integer,
        t if t.is_floating() => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

fn rows(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<ArrayFormatter> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
    let cell = |c: &ArrayFormatter, i: usize| match c.value(i).to_string() {
        t if t.is_empty() => "(empty)".to_owned(),
        t => t,
    };
    (0..batch.num_rows()).map(|i| columns.iter().map(|c| cell(c, i)).collect()).collect()
}

/// `SLT_FILTER=name` runs only files with that in their name; `SLT_COMPLETE=1` writes what came out into them.
#[tokio::test(flavor = "multi_thread")]
async fn slt_files() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let filter = std::env::var("SLT_FILTER").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "slt") && f.to_string_lossy().contains(&filter));
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let mut runner = Runner::new(|| async {
            let options = SessionOptions { threads: Some(2), ..SessionOptions::default() };
            Ok(Db(Session::open(options).await.map_err(|e| Shown(e.to_string()))?))
        });
        if std::env::var_os("SLT_COMPLETE").is_some() {
            let validator = sqllogictest::default_validator;
            let columns = sqllogictest::default_column_validator;
            runner.update_test_file(&file, " ", validator, sqllogictest::default_normalizer, columns).await.unwrap();
        } else {
            runner.run_file_async(&file).await.unwrap_or_else(|e| panic!("{}", e.display(false)));
        }
    }
}
