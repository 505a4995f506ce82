//! A database is a directory: what is defined in a session is kept there, and found again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::datatypes::UInt64Type;
use datafusion::common::{Column, DataFusionError, Result, TableReference, plan_err};
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{
    DdlStatement, DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, Statement as PlanStatement, WriteOp, cast,
};
use datafusion::prelude::{DataFrame, ParquetReadOptions};
use datafusion::sql::parser::{DFParserBuilder, Statement as EngineStatement};

use super::Session;
use crate::config::TenureConfig;
use crate::store::{RelationKind, SavedRelation, StoreError};

/// What of the saved relations is registered in the context, and what went wrong with the rest.
#[derive(Default)]
pub struct Restored {
    relations: BTreeMap<String, SavedRelation>,
    warnings: Vec<String>,
}

/// Readers in other processes may still be reading a table that was replaced this long ago.
const KEPT_AFTER_REPLACEMENT: std::time::Duration = std::time::Duration::from_secs(600);

fn stored(e: StoreError) -> DataFusionError {
    DataFusionError::External(Box::new(e))
}

fn io(what: &str, path: &Path, e: std::io::Error) -> DataFusionError {
    DataFusionError::Execution(format!("cannot {what} '{}': {e}", path.display()))
}

impl Session {
    /// Settings, then relations in the order of their creation. What cannot be restored is a warning.
    pub(super) async fn restore(&self) {
        for (key, value) in self.engine.store.settings() {
            let shared = self.ctx.state_ref();
            let set = shared.write().config_mut().options_mut().set(&format!("tenure.{key}"), &value);
            if let Err(e) = set {
                self.restored().warnings.push(format!("setting tenure.{key}: {}", e.strip_backtrace()));
            }
        }
        self.apply_saved().await;
    }

    /// Takes over what another process has changed in the database.
    pub(super) async fn catch_up(&self) -> Result<()> {
        if self.engine.store.directory().is_some() && self.engine.store.refresh().map_err(stored)? {
            self.apply_saved().await;
        }
        Ok(())
    }

    async fn apply_saved(&self) {
        let saved = self.engine.store.saved();
        let gone: Vec<String> = {
            let restored = self.restored();
            let stays = |n: &str, r: &SavedRelation| saved.iter().any(|s| s.name == n && s == r);
            restored.relations.iter().filter(|(n, r)| !stays(n, r)).map(|(n, _)| n.clone()).collect()
        };
        for name in gone {
            if !name.starts_with("schema ") {
                let _ = self.ctx.deregister_table(TableReference::from(name.as_str()));
            }
            self.restored().relations.remove(&name);
        }
        // A view may rest on one that was replaced after it: what fails is tried again while anything succeeds.
        let mut open: Vec<SavedRelation> = saved.into_iter().filter(|r| !self.restored().relations.contains_key(&r.name)).collect();
        loop {
            let (before, mut failed) = (open.len(), vec![]);
            for relation in open {
                match self.define(&relation).await {
                    Ok(()) => {
                        self.restored().relations.insert(relation.name.clone(), relation);
                    }
                    Err(e) => failed.push((relation, e.strip_backtrace())),
                }
            }
            if failed.is_empty() || failed.len() == before {
                let say = |(r, e): (SavedRelation, String)| format!("relation '{}' could not be restored: {e}", r.name);
                self.restored().warnings.extend(failed.into_iter().map(say));
                return;
            }
            open = failed.into_iter().map(|(r, _)| r).collect();
        }
    }

    async fn define(&self, relation: &SavedRelation) -> Result<()> {
        match relation.kind {
            RelationKind::Table => {
                let dir = self.absolute(relation.location.as_deref().unwrap_or_default());
                self.register_table_dir(&relation.name, &dir).await
            }
            RelationKind::View | RelationKind::External | RelationKind::Schema => {
                let mut statement = DFParserBuilder::new(relation.sql.as_str()).build()?.parse_statement()?;
                if let (EngineStatement::CreateExternalTable(c), Some(location)) = (&mut statement, &relation.location) {
                    c.locations = vec![location.clone()];
                }
                let plan = self.ctx.state().statement_to_plan(statement).await?;
                self.ctx.execute_logical_plan(plan).await.map(|_| ())
            }
        }
    }

    fn absolute(&self, location: &str) -> PathBuf {
        self.engine.store.directory().map_or_else(|| PathBuf::from(location), |d| d.join(location))
    }

    async fn register_table_dir(&self, name: &str, dir: &Path) -> Result<()> {
        let path = format!("{}/", dir.display());
        self.ctx.register_parquet(TableReference::from(name), path, ParquetReadOptions::default()).await
    }

    /// Carries out a plan: definitions and settings at once (and for good, with a database), everything else lazily.
    pub(super) async fn execute(&self, plan: LogicalPlan, text: &str) -> Result<DataFrame> {
        match plan {
            LogicalPlan::Statement(PlanStatement::SetVariable(set)) => {
                let (name, value) = (set.variable.clone(), set.value.clone());
                let done = self.ctx.execute_logical_plan(LogicalPlan::Statement(PlanStatement::SetVariable(set))).await?;
                if let Some(key) = name.strip_prefix("tenure.") {
                    self.engine.store.save_setting(key, &value).map_err(stored)?;
                }
                Ok(done)
            }
            plan if self.engine.store.directory().is_none() => self.ctx.execute_logical_plan(plan).await,
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(c)) if !c.temporary => self.create_table(c).await,
            LogicalPlan::Ddl(ddl) => self.define_and_save(ddl, text).await,
            LogicalPlan::Dml(d) if self.is_kept_table(&d.table_name) => self.insert(d).await,
            plan => self.ctx.execute_logical_plan(plan).await,
        }
    }

    fn is_kept_table(&self, name: &TableReference) -> bool {
        let name = name.to_string();
        self.restored().relations.get(&name).is_some_and(|r| r.kind == RelationKind::Table)
    }

    async fn define_and_save(&self, ddl: DdlStatement, text: &str) -> Result<DataFrame> {
        let made = match &ddl {
            DdlStatement::CreateView(v) if !v.temporary => Some((v.name.to_string(), RelationKind::View, None)),
            DdlStatement::CreateExternalTable(t) if !t.temporary => {
                let location = t.locations.first().map(|l| absolute_location(l));
                Some((t.name.to_string(), RelationKind::External, location))
            }
            DdlStatement::CreateCatalogSchema(s) => Some((format!("schema {}", s.schema_name), RelationKind::Schema, None)),
            _ => None,
        };
        let dropped = match &ddl {
            DdlStatement::DropTable(d) => Some(d.name.to_string()),
            DdlStatement::DropView(d) => Some(d.name.to_string()),
            DdlStatement::DropCatalogSchema(d) => Some(format!("schema {}", d.name)),
            _ => None,
        };
        // What could not be restored is not registered, and can be dropped all the same.
        let lost = dropped
            .as_ref()
            .is_some_and(|n| !self.ctx.table_exist(n.as_str()).unwrap_or(true) && self.engine.store.saved().iter().any(|r| r.name == *n));
        let kept = match &ddl {
            DdlStatement::CreateExternalTable(t) => t.if_not_exists && self.ctx.table_exist(t.name.clone())?,
            _ => false,
        };
        let done = if lost { self.ctx.read_empty()? } else { self.ctx.execute_logical_plan(LogicalPlan::Ddl(ddl)).await? };
        if let Some((name, kind, location)) = made.filter(|_| !kept) {
            let relation = SavedRelation { name: name.clone(), kind, sql: text.to_owned(), location };
            self.save(relation)?;
        }
        if let Some(name) = dropped {
            let old = self.restored().relations.remove(&name);
            self.engine.store.remove_relation(&name).map_err(stored)?;
            self.delete_data(old);
        }
        Ok(done)
    }

    fn save(&self, relation: SavedRelation) -> Result<()> {
        self.engine.store.save_relation(relation.clone()).map_err(stored)?;
        self.restored().relations.insert(relation.name.clone(), relation);
        Ok(())
    }

    /// Removes the files of tables that have been replaced, once nobody can be reading them any more.
    fn sweep(&self) {
        let saved = self.engine.store.saved();
        let Some(tables) = self.engine.store.directory().map(|d| d.join("tables")) else { return };
        for entry in std::fs::read_dir(&tables).into_iter().flatten().flatten() {
            let name = format!("tables/{}", entry.file_name().to_string_lossy());
            let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
            let used = saved.iter().any(|r| r.location.as_deref() == Some(name.as_str()));
            if !used && entry.path().is_dir() && age.is_some_and(|a| a > KEPT_AFTER_REPLACEMENT) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// The files of a table that nothing refers to any more.
    fn delete_data(&self, old: Option<SavedRelation>) {
        if let Some(SavedRelation { kind: RelationKind::Table, location: Some(l), .. }) = old {
            let _ = std::fs::remove_dir_all(self.absolute(&l));
        }
    }

    async fn create_table(&self, c: datafusion::logical_expr::CreateMemoryTable) -> Result<DataFrame> {
        let name = c.name.to_string();
        let exists = self.ctx.table_exist(c.name.clone())?;
        match (c.if_not_exists, c.or_replace, exists) {
            (true, false, true) => return self.ctx.read_empty(),
            (false, false, true) => return plan_err!("table '{name}' exists: CREATE OR REPLACE TABLE, or choose another name"),
            _ => {}
        }
        self.sweep();
        let (dir, _) = self.write_part(None, &name, (*c.input).clone()).await?;
        if exists {
            self.ctx.deregister_table(c.name.clone())?;
        }
        self.register_table_dir(&name, &dir).await?;
        let base = self.engine.store.directory().unwrap_or(Path::new("")).to_owned();
        let location = dir.strip_prefix(&base).unwrap_or(&dir).display().to_string();
        self.save(SavedRelation { name, kind: RelationKind::Table, sql: String::new(), location: Some(location) })?;
        self.ctx.read_empty()
    }

    /// Appends the rows of a query to a table: one more file, which is there whole or not at all.
    async fn insert(&self, dml: DmlStatement) -> Result<DataFrame> {
        let name = dml.table_name.to_string();
        if !matches!(dml.op, WriteOp::Insert(InsertOp::Append)) {
            return plan_err!("{} on '{name}': a table of a database takes INSERT INTO only; CREATE OR REPLACE TABLE replaces it", dml.op);
        }
        let location = self.restored().relations.get(&name).and_then(|r| r.location.clone());
        let dir = self.absolute(&location.unwrap_or_default());
        let (_, rows) = self.write_part(Some(dir), &name, (*dml.input).clone()).await?;
        let count: ArrayRef = std::sync::Arc::new(UInt64Array::from(vec![rows]));
        self.ctx.read_batch(RecordBatch::try_from_iter([("count", count)])?)
    }

    /// Writes the rows of a plan as one Parquet file of a table: to a temporary file, synced, renamed into the table's
    /// directory (`None`: a new one). Returns the directory and the number of rows.
    async fn write_part(&self, dir: Option<PathBuf>, name: &str, input: LogicalPlan) -> Result<(PathBuf, u64)> {
        let tables = self.absolute("tables");
        std::fs::create_dir_all(&tables).map_err(|e| io("create", &tables, e))?;
        let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let temporary = tables.join(format!(".tmp-{}-{stamp}.parquet", std::process::id()));
        let written = async {
            let frame = self.ctx.execute_logical_plan(plain_strings(input)?).await?;
            let options = DataFrameWriteOptions::new().with_single_file_output(true);
            let counts = frame.write_parquet(&temporary.display().to_string(), options, None).await?;
            let rows = counts.iter().map(|b| b.column(0).as_primitive::<UInt64Type>().values().iter().sum::<u64>()).sum();
            std::fs::File::open(&temporary).and_then(|f| f.sync_all()).map_err(|e| io("sync", &temporary, e))?;
            let dir = match dir {
                Some(d) => d,
                None => self.engine.store.table_dir(name).map_err(stored)?,
            };
            let part = dir.join(format!("part-{stamp}-{}.parquet", std::process::id()));
            std::fs::rename(&temporary, &part).map_err(|e| io("write", &part, e))?;
            std::fs::File::open(&dir).and_then(|d| d.sync_all()).map_err(|e| io("sync", &dir, e))?;
            Ok((dir, rows))
        }
        .await;
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }

    /// RESET tenure.name
    pub(super) async fn reset(&self, name: &str) -> Result<LogicalPlan> {
        let shared = self.ctx.state_ref();
        {
            let mut state = shared.write();
            if let Some(config) = state.config_mut().options_mut().extensions.get_mut::<TenureConfig>() {
                config.reset(name)?;
            }
        }
        self.engine.store.remove_setting(name).map_err(stored)?;
        LogicalPlanBuilder::empty(false).build()
    }

    fn restored(&self) -> std::sync::MutexGuard<'_, Restored> {
        self.restored.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What was found damaged or could not be restored, in words for the user; each is told once.
    pub fn warnings(&self) -> Vec<String> {
        let mut out = self.engine.store.warnings();
        out.append(&mut self.restored().warnings);
        out
    }
}

/// Strings and bytes of every kind as the one kind that all parts of a table have.
fn plain_strings(input: LogicalPlan) -> Result<LogicalPlan> {
    let plain = |t: &DataType| match t {
        DataType::Utf8View | DataType::LargeUtf8 => Some(DataType::Utf8),
        DataType::BinaryView | DataType::LargeBinary => Some(DataType::Binary),
        DataType::Dictionary(_, v) if v.is_string() => Some(DataType::Utf8),
        _ => None,
    };
    if input.schema().fields().iter().all(|f| plain(f.data_type()).is_none()) {
        return Ok(input);
    }
    let columns: Vec<Expr> = input
        .schema()
        .iter()
        .map(|(q, f)| {
            let column = Expr::Column(Column::new(q.cloned(), f.name()));
            match plain(f.data_type()) {
                Some(t) => cast(column, t).alias_qualified(q.cloned(), f.name()),
                None => column,
            }
        })
        .collect();
    LogicalPlanBuilder::from(input).project(columns)?.build()
}

/// A path of the file system made absolute, so that the database can be opened from anywhere; URLs stay.
fn absolute_location(location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    let absolute = std::path::absolute(location).unwrap_or_else(|_| PathBuf::from(location));
    let mut text = absolute.display().to_string();
    if location.ends_with('/') && !text.ends_with('/') {
        text.push('/');
    }
    text
}
