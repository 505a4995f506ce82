//! A database is a directory: what is defined in a session is kept there, and found again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::UInt64Type;
use datafusion::common::{DataFusionError, Result, TableReference, plan_err};
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DdlStatement, DmlStatement, LogicalPlan, Statement as PlanStatement, WriteOp};
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
            let _ = self.ctx.deregister_table(TableReference::from(name.as_str()));
            self.restored().relations.remove(&name);
        }
        for relation in saved {
            if self.restored().relations.contains_key(&relation.name) {
                continue;
            }
            let result = self.define(&relation).await;
            let mut restored = self.restored();
            match result {
                Ok(()) => {
                    restored.relations.insert(relation.name.clone(), relation);
                }
                Err(e) => restored.warnings.push(format!("relation '{}' could not be restored: {}", relation.name, e.strip_backtrace())),
            }
        }
    }

    async fn define(&self, relation: &SavedRelation) -> Result<()> {
        match relation.kind {
            RelationKind::Table => {
                let dir = self.absolute(relation.location.as_deref().unwrap_or_default());
                self.register_table_dir(&relation.name, &dir).await
            }
            RelationKind::View | RelationKind::External => {
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
            _ => None,
        };
        let dropped = match &ddl {
            DdlStatement::DropTable(d) => Some(d.name.to_string()),
            DdlStatement::DropView(d) => Some(d.name.to_string()),
            _ => None,
        };
        let done = self.ctx.execute_logical_plan(LogicalPlan::Ddl(ddl)).await?;
        if let Some((name, kind, location)) = made {
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
        let old = self.restored().relations.insert(relation.name.clone(), relation);
        self.delete_data(old);
        Ok(())
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
        let dir = self.engine.store.table_dir(&name).map_err(stored)?;
        let written = self.write_part(&dir, (*c.input).clone()).await;
        if let Err(e) = written {
            let _ = std::fs::remove_dir_all(&dir);
            return Err(e);
        }
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
        let rows = self.write_part(&dir, (*dml.input).clone()).await?;
        let count: ArrayRef = std::sync::Arc::new(UInt64Array::from(vec![rows]));
        self.ctx.read_batch(RecordBatch::try_from_iter([("count", count)])?)
    }

    /// Writes the rows of a plan as one Parquet file of a table: to a temporary file, synced, renamed.
    async fn write_part(&self, dir: &Path, input: LogicalPlan) -> Result<u64> {
        std::fs::create_dir_all(dir).map_err(|e| io("create", dir, e))?;
        let number = std::fs::read_dir(dir).map_err(|e| io("read", dir, e))?.count();
        let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let tables = dir.parent().unwrap_or(dir);
        let temporary = tables.join(format!(".tmp-{}-{stamp}.parquet", std::process::id()));
        let written = async {
            let frame = self.ctx.execute_logical_plan(input).await?;
            let options = DataFrameWriteOptions::new().with_single_file_output(true);
            let counts = frame.write_parquet(&temporary.display().to_string(), options, None).await?;
            let rows = counts.iter().map(|b| b.column(0).as_primitive::<UInt64Type>().values().iter().sum::<u64>()).sum();
            std::fs::File::open(&temporary).and_then(|f| f.sync_all()).map_err(|e| io("sync", &temporary, e))?;
            let part = dir.join(format!("part-{number:06}-{stamp}.parquet"));
            std::fs::rename(&temporary, &part).map_err(|e| io("write", &part, e))?;
            std::fs::File::open(dir).and_then(|d| d.sync_all()).map_err(|e| io("sync", dir, e))?;
            Ok(rows)
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
        datafusion::logical_expr::LogicalPlanBuilder::empty(false).build()
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
