//! A database is a directory: what is defined in a session is kept there, and found again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::UInt64Type;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::{Column, DataFusionError, Result, TableReference, plan_datafusion_err, plan_err};
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{
    DdlStatement, DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, Statement as PlanStatement, TableType, WriteOp, cast,
};
use datafusion::prelude::{DataFrame, ParquetReadOptions};
use datafusion::sql::parser::Statement as EngineStatement;
use datafusion::sql::sqlparser::ast;

use super::Session;
use super::statement::{Statement, parse};
use crate::config::TenureConfig;
use crate::functions::spec;
use crate::store::{RelationKind, SavedRelation, StoreError};

/// What of the saved relations is registered in the context, and what went wrong with the rest.
#[derive(Default)]
pub struct Restored {
    relations: BTreeMap<String, SavedRelation>,
    /// Those that cannot be defined now, and have been told of.
    lost: BTreeSet<String>,
    warnings: Vec<String>,
    /// The state of the store that has been taken over.
    generation: u64,
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
        self.apply_saved(BTreeSet::new()).await;
    }

    /// Takes over what another process has changed in the database.
    pub(super) async fn catch_up(&self) -> Result<()> {
        if self.engine.store.directory().is_some() {
            let generation = self.engine.store.refresh().map_err(stored)?;
            if std::mem::replace(&mut self.restored().generation, generation) != generation {
                self.apply_saved(BTreeSet::new()).await;
            }
        }
        Ok(())
    }

    /// Brings the context to what is saved. Views that rest on a relation of `changed`, or on one that is no longer what is saved, are planned
    /// anew: a plan holds the relations as they were.
    async fn apply_saved(&self, mut changed: BTreeSet<String>) {
        let saved = self.engine.store.saved();
        let gone: Vec<String> = {
            let restored = self.restored();
            let stays = |n: &str, r: &SavedRelation| saved.iter().any(|s| s.name == n && s == r);
            restored.relations.iter().filter(|(n, r)| !stays(n, r)).map(|(n, _)| n.clone()).collect()
        };
        changed.extend(gone.iter().cloned());
        for name in gone.into_iter().chain(self.resting_on(&saved, &changed)) {
            if !name.starts_with(SCHEMA) {
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
                        let mut restored = self.restored();
                        restored.lost.remove(&relation.name);
                        restored.relations.insert(relation.name.clone(), relation);
                    }
                    Err(e) => failed.push((relation, e.strip_backtrace())),
                }
            }
            if failed.is_empty() || failed.len() == before {
                let mut restored = self.restored();
                for (relation, e) in failed {
                    if restored.lost.insert(relation.name.clone()) {
                        restored.warnings.push(format!("{} {} cannot be used: {e}", relation.kind.word(), relation.name));
                    }
                }
                return;
            }
            open = failed.into_iter().map(|(r, _)| r).collect();
        }
    }

    /// The views among `saved` that rest on one of `changed`, directly or through other views.
    fn resting_on(&self, saved: &[SavedRelation], changed: &BTreeSet<String>) -> Vec<String> {
        let views: Vec<(&String, Vec<String>)> =
            saved.iter().filter(|r| r.kind == RelationKind::View).map(|r| (&r.name, self.references(&r.sql))).collect();
        let mut reached = changed.clone();
        loop {
            let next: Vec<&String> = views
                .iter()
                .filter(|(name, names)| !reached.contains(*name) && names.iter().any(|n| reached.contains(n)))
                .map(|(n, _)| *n)
                .collect();
            if next.is_empty() {
                return reached.difference(changed).cloned().collect();
            }
            reached.extend(next.into_iter().cloned());
        }
    }

    /// The relations that the query of a CREATE VIEW reads.
    fn references(&self, sql: &str) -> Vec<String> {
        let events = self.own_name(&TableReference::from(self.settings().events()));
        let query = match parse(sql) {
            Ok(Statement::Engine(s)) => match *s {
                EngineStatement::Statement(s) => match *s {
                    ast::Statement::CreateView(v) => Some(EngineStatement::Statement(Box::new(ast::Statement::Query(v.query)))),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        };
        let Some(query) = query else { return vec![] };
        let called = match &query {
            EngineStatement::Statement(s) => called(s),
            _ => BTreeSet::new(),
        };
        let references = self.ctx.state().resolve_table_references(&query).unwrap_or_default();
        // Functions of ours read the events, and have the types of their keys; but for those that read nothing.
        let reads_events = |name: &str| spec(name).is_some_and(|s| s.section != "Simulation" && !s.arguments.is_empty());
        let one = |t: &TableReference| match called.contains(&t.table().to_lowercase()) {
            true => reads_events(t.table()).then(|| events.clone()),
            false => Some(self.own_name(t)),
        };
        references.iter().filter_map(one).collect()
    }

    /// Refuses a view that would rest on itself, or take the place of a table.
    async fn check_view(&self, name: &str, text: &str) -> Result<()> {
        let mut above: BTreeSet<String> = [name.to_owned()].into();
        above.extend(self.resting_on(&self.engine.store.saved(), &above));
        if self.references(text).iter().any(|r| above.contains(r)) {
            return plan_err!("view {name} cannot rest on itself: give the relation below it another name");
        }
        match self.ctx.table_provider(TableReference::from(name)).await {
            Ok(t) if t.table_type() == TableType::Base => plan_err!("{name} is a table: DROP TABLE {name} first, or choose another name"),
            _ => Ok(()),
        }
    }

    /// The one name a relation is saved under: without the default catalog and schema, quoted where it must be.
    fn own_name(&self, name: &TableReference) -> String {
        let state = self.ctx.state();
        let own = &state.config_options().catalog;
        let r = name.clone().resolve(&own.default_catalog, &own.default_schema);
        let short = match (*r.catalog == *own.default_catalog, *r.schema == *own.default_schema) {
            (true, true) => TableReference::bare(r.table),
            (true, false) => TableReference::partial(r.schema, r.table),
            (false, _) => TableReference::full(r.catalog, r.schema, r.table),
        };
        short.to_quoted_string()
    }

    async fn define(&self, relation: &SavedRelation) -> Result<()> {
        match relation.kind {
            RelationKind::Table => {
                let dir = self.absolute(relation.locations.first().map(String::as_str).unwrap_or_default());
                self.register_table_dir(&relation.name, &dir).await
            }
            RelationKind::View | RelationKind::External | RelationKind::Schema => {
                let Statement::Engine(mut statement) = parse(&relation.sql)? else {
                    return plan_err!("'{}' is not the definition of a relation", relation.sql);
                };
                if let EngineStatement::CreateExternalTable(c) = statement.as_mut() {
                    c.locations = relation.locations.clone();
                }
                let plan = self.ctx.state().statement_to_plan(*statement).await?;
                self.ctx.execute_logical_plan(plan).await.map(|_| ())
            }
        }
    }

    fn absolute(&self, location: &str) -> PathBuf {
        self.engine.store.directory().map_or_else(|| PathBuf::from(location), |d| d.join(location))
    }

    async fn register_table_dir(&self, name: &str, dir: &Path) -> Result<()> {
        // An empty file would be passed over without a word.
        for entry in std::fs::read_dir(dir).map_err(|e| io("read", dir, e))?.flatten() {
            if entry.metadata().is_ok_and(|m| m.len() == 0) {
                self.restored().warnings.push(format!("damaged file '{}': it is empty, its rows are lost", entry.path().display()));
            }
        }
        let path = format!("{}/", file_url(dir));
        // Later rows may have NULLs where the first had none.
        let found = self.ctx.read_parquet(&path, ParquetReadOptions::default()).await?;
        let fields = found.schema().fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>();
        let schema = Schema::new(fields);
        self.ctx.register_parquet(TableReference::from(name), path, ParquetReadOptions::default().schema(&schema)).await
    }

    /// Carries out a plan: definitions and settings at once (and for good, with a database), everything else lazily.
    pub(super) async fn execute(&self, plan: LogicalPlan, text: &str) -> Result<DataFrame> {
        let has_database = self.engine.store.directory().is_some();
        match plan {
            LogicalPlan::Statement(PlanStatement::SetVariable(set)) => {
                let (name, value) = (set.variable.clone(), set.value.clone());
                let before = self.settings();
                let done = self.ctx.execute_logical_plan(LogicalPlan::Statement(PlanStatement::SetVariable(set))).await?;
                if let Some(key) = name.strip_prefix("tenure.")
                    && let Err(e) = self.engine.store.save_setting(key, &value)
                {
                    self.set_settings(before);
                    return Err(stored(e));
                }
                Ok(done)
            }
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(c)) if has_database && !c.temporary => self.create_table(c).await,
            LogicalPlan::Ddl(DdlStatement::CreateCatalog(_)) if has_database => {
                plan_err!("a database keeps one catalog: CREATE SCHEMA, or open another database")
            }
            LogicalPlan::Ddl(ddl) => self.define_and_save(ddl, text).await,
            LogicalPlan::Dml(d) if self.is_kept_table(&d.table_name) => self.insert(d).await,
            LogicalPlan::Statement(PlanStatement::Prepare(p)) => self.prepare(&p, text),
            LogicalPlan::Statement(PlanStatement::Execute(e)) => {
                let plan = self.with_parameters(e).await?;
                Box::pin(self.execute(plan, text)).await
            }
            LogicalPlan::Statement(PlanStatement::Deallocate(d)) => self.deallocate(&d.name),
            LogicalPlan::Analyze(a) if matches!(a.input.as_ref(), LogicalPlan::Dml(d) if self.is_kept_table(&d.table_name)) => {
                plan_err!("EXPLAIN ANALYZE would carry out the INSERT: explain its query")
            }
            plan => self.ctx.execute_logical_plan(plan).await,
        }
    }

    fn is_kept_table(&self, name: &TableReference) -> bool {
        let name = self.own_name(name);
        self.restored().relations.get(&name).is_some_and(|r| r.kind == RelationKind::Table)
    }

    async fn define_and_save(&self, ddl: DdlStatement, text: &str) -> Result<DataFrame> {
        self.check_kind(&ddl, text).await?;
        let effect = self.effect(&ddl)?;
        let external = match &ddl {
            DdlStatement::CreateExternalTable(t) => Some(format!("'{}' as {}", t.locations.join("', '"), t.file_type)),
            _ => None,
        };
        // What could not be restored is not registered, and can be dropped all the same.
        let lost = |name: &str| {
            let registered = self.ctx.table_exist(TableReference::from(name)).unwrap_or(true);
            !registered && self.engine.store.saved().iter().any(|r| r.name == name)
        };
        let done = match &effect {
            Effect::Drops(name) if lost(name) => self.ctx.read_empty()?,
            _ => self.ctx.execute_logical_plan(LogicalPlan::Ddl(ddl)).await.map_err(|e| unreadable(external, e))?,
        };
        self.keep(effect, text).await?;
        Ok(done)
    }

    /// Refuses a view in the place of a table or over itself, and DROP of the other kind.
    async fn check_kind(&self, ddl: &DdlStatement, text: &str) -> Result<()> {
        let is = |name: &TableReference, kinds: &[RelationKind]| {
            let name = self.own_name(name);
            self.engine.store.saved().iter().any(|r| r.name == name && kinds.contains(&r.kind))
        };
        match ddl {
            DdlStatement::CreateView(v) => self.check_view(&self.own_name(&v.name), text).await,
            DdlStatement::DropView(d) if is(&d.name, &[RelationKind::Table, RelationKind::External]) => {
                plan_err!("{} is a table: DROP TABLE drops it", d.name)
            }
            DdlStatement::DropTable(d) if is(&d.name, &[RelationKind::View]) => plan_err!("{} is a view: DROP VIEW drops it", d.name),
            _ => Ok(()),
        }
    }

    fn effect(&self, ddl: &DdlStatement) -> Result<Effect> {
        let makes = |name: &TableReference, kind, locations| Effect::Makes { name: self.own_name(name), kind, locations };
        Ok(match ddl {
            DdlStatement::CreateView(v) if !v.temporary => makes(&v.name, RelationKind::View, vec![]),
            DdlStatement::CreateExternalTable(t) if t.if_not_exists && self.ctx.table_exist(t.name.clone())? => Effect::None,
            DdlStatement::CreateExternalTable(t) if !t.temporary => {
                makes(&t.name, RelationKind::External, t.locations.iter().map(|l| absolute_location(l)).collect())
            }
            DdlStatement::CreateCatalogSchema(s) => {
                Effect::Makes { name: format!("{SCHEMA}{}", s.schema_name), kind: RelationKind::Schema, locations: vec![] }
            }
            DdlStatement::CreateMemoryTable(c) => Effect::Replaces(self.own_name(&c.name)),
            DdlStatement::DropTable(d) => Effect::Drops(self.own_name(&d.name)),
            DdlStatement::DropView(d) => Effect::Drops(self.own_name(&d.name)),
            DdlStatement::DropCatalogSchema(d) => Effect::DropsSchema(d.name.schema_name().to_owned()),
            _ => Effect::None,
        })
    }

    /// Keeps what has been carried out; what cannot be kept is undone.
    async fn keep(&self, effect: Effect, text: &str) -> Result<()> {
        match effect {
            Effect::None => Ok(()),
            Effect::Makes { name, kind, locations } => {
                let relation = SavedRelation { name: name.clone(), kind, sql: text.to_owned(), locations };
                let saved = self.engine.store.save_relation(relation.clone(), false);
                if saved.is_ok() {
                    self.restored().relations.insert(name.clone(), relation);
                } else {
                    match name.strip_prefix(SCHEMA) {
                        Some(schema) => self.forget_schema(schema),
                        None => drop(self.ctx.deregister_table(TableReference::from(name.as_str()))),
                    }
                    self.restored().relations.remove(&name);
                }
                self.apply_saved([name].into()).await;
                saved.map_err(stored)
            }
            Effect::Drops(name) => {
                let removed = self.engine.store.remove_relations(|r| r.name == name);
                self.restored().relations.remove(&name);
                self.apply_saved([name].into()).await;
                removed.map_err(stored)
            }
            Effect::DropsSchema(schema) => {
                let inside = |name: &str| TableReference::from(name).schema() == Some(schema.as_str());
                let is_it =
                    |r: &SavedRelation| r.name == format!("{SCHEMA}{schema}") || (r.kind != RelationKind::Schema && inside(&r.name));
                let removed = self.engine.store.remove_relations(is_it);
                self.restored().relations.retain(|_, r| !is_it(r));
                self.apply_saved(BTreeSet::new()).await;
                removed.map_err(stored)
            }
            Effect::Replaces(name) => {
                // In memory a table may have taken the place of a view.
                let removed = match self.engine.store.directory() {
                    None => self.engine.store.remove_relations(|r| r.name == name),
                    Some(_) => Ok(()),
                };
                self.restored().relations.remove(&name);
                self.apply_saved([name].into()).await;
                removed.map_err(stored)
            }
        }
    }

    fn forget_schema(&self, name: &str) {
        let state = self.ctx.state();
        if let Some(catalog) = self.ctx.catalog(&state.config_options().catalog.default_catalog) {
            let _ = catalog.deregister_schema(name, true);
        }
    }

    async fn create_table(&self, c: datafusion::logical_expr::CreateMemoryTable) -> Result<DataFrame> {
        let name = self.own_name(&c.name);
        let exists = self.ctx.table_exist(c.name.clone())?;
        match (c.if_not_exists, c.or_replace, exists) {
            (true, false, true) => return self.ctx.read_empty(),
            (false, false, true) => return plan_err!("table {name} exists: CREATE OR REPLACE TABLE, or choose another name"),
            _ => {}
        }
        if let Some((column, _)) = c.column_defaults.first() {
            return plan_err!("column {column}: a table of a database keeps no DEFAULT, give the value in INSERT");
        }
        if let (LogicalPlan::EmptyRelation(e), Some(f)) = (c.input.as_ref(), c.input.schema().fields().iter().find(|f| !f.is_nullable()))
            && !e.produce_one_row
        {
            return plan_err!("column {}: a table of a database keeps no NOT NULL", f.name());
        }
        let finished = self.write_part((*c.input).clone()).await?;
        let dir = self.engine.store.table_dir(&name).map_err(stored)?;
        let part = dir.join(part_name());
        finished.into_place(|file| {
            std::fs::rename(file, &part).and_then(|()| std::fs::File::open(&dir)?.sync_all()).map_err(|e| io("write", &part, e))
        })?;
        let base = self.engine.store.directory().unwrap_or(Path::new("")).to_owned();
        let location = dir.strip_prefix(&base).unwrap_or(&dir).display().to_string();
        let relation = SavedRelation { name: name.clone(), kind: RelationKind::Table, sql: String::new(), locations: vec![location] };
        if let Err(e) = self.engine.store.save_relation(relation, !c.or_replace) {
            let _ = std::fs::remove_dir_all(&dir);
            return Err(stored(e));
        }
        if exists {
            self.ctx.deregister_table(c.name.clone())?;
        }
        self.restored().relations.remove(&name);
        self.apply_saved([name].into()).await;
        self.ctx.read_empty()
    }

    /// Appends the rows of a query to a table: one more file, which is there whole or not at all.
    async fn insert(&self, dml: DmlStatement) -> Result<DataFrame> {
        let name = self.own_name(&dml.table_name);
        if !matches!(dml.op, WriteOp::Insert(InsertOp::Append)) {
            return plan_err!("{} on '{name}': a table of a database takes INSERT INTO only; CREATE OR REPLACE TABLE replaces it", dml.op);
        }
        let location = self.restored().relations.get(&name).and_then(|r| r.locations.first().cloned()).unwrap_or_default();
        let finished = self.write_part((*dml.input).clone()).await?;
        let (rows, part) = (finished.rows, self.absolute(&location).join(part_name()));
        finished.into_place(|file| self.engine.store.add_part(&name, &location, file, &part).map_err(stored))?;
        let count: ArrayRef = std::sync::Arc::new(UInt64Array::from(vec![rows]));
        self.ctx.read_batch(RecordBatch::try_from_iter([("count", count)])?)
    }

    /// Writes the rows of a plan as one Parquet file beside the tables, synced.
    async fn write_part(&self, input: LogicalPlan) -> Result<Finished> {
        let tables = self.absolute("tables");
        std::fs::create_dir_all(&tables).map_err(|e| io("create", &tables, e))?;
        let mut out = Finished { file: tables.join(format!(".tmp-{}-{}.parquet", std::process::id(), nanoseconds())), rows: 0 };
        let frame = self.ctx.execute_logical_plan(plain_strings(input)?).await?;
        let options = DataFrameWriteOptions::new().with_single_file_output(true);
        let counts = frame.write_parquet(&file_url(&out.file), options, None).await?;
        out.rows = counts.iter().map(|b| b.column(0).as_primitive::<UInt64Type>().values().iter().sum::<u64>()).sum();
        std::fs::File::open(&out.file).and_then(|f| f.sync_all()).map_err(|e| io("sync", &out.file, e))?;
        Ok(out)
    }

    /// RESET tenure.name
    pub(super) async fn reset(&self, name: &str) -> Result<LogicalPlan> {
        let mut settings = self.settings();
        settings.reset(name)?;
        self.engine.store.remove_setting(name).map_err(stored)?;
        self.set_settings(settings);
        LogicalPlanBuilder::empty(false).build()
    }

    fn settings(&self) -> TenureConfig {
        self.ctx.state_ref().read().config_options().extensions.get::<TenureConfig>().cloned().unwrap_or_default()
    }

    fn set_settings(&self, settings: TenureConfig) {
        self.ctx.state_ref().write().config_mut().options_mut().extensions.insert(settings);
    }

    fn restored(&self) -> std::sync::MutexGuard<'_, Restored> {
        self.restored.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What was found damaged or could not be restored, in words for the user; each is told once.
    pub fn warnings(&self) -> Vec<String> {
        let mut out = self.engine.store.warnings();
        out.append(&mut self.restored().warnings);
        out.append(&mut self.engine.warnings());
        out
    }
}

/// The functions that stand in FROM, in lower case.
fn called(statement: &ast::Statement) -> BTreeSet<String> {
    #[derive(Default)]
    struct Calls(BTreeSet<String>);
    impl ast::Visitor for Calls {
        type Break = ();

        fn pre_visit_table_factor(&mut self, table: &ast::TableFactor) -> ControlFlow<()> {
            if let ast::TableFactor::Table { name, args: Some(_), .. } | ast::TableFactor::Function { name, .. } = table {
                self.0.extend(name.0.last().and_then(|p| p.as_ident()).map(|i| i.value.to_lowercase()));
            }
            ControlFlow::Continue(())
        }
    }
    let mut calls = Calls::default();
    let _ = ast::Visit::visit(statement, &mut calls);
    calls.0
}

/// What a definition does to the relations there are.
enum Effect {
    None,
    Makes {
        name: String,
        kind: RelationKind,
        locations: Vec<String>,
    },
    /// A table that is not kept.
    Replaces(String),
    Drops(String),
    DropsSchema(String),
}

/// Rows in a temporary file, which goes when it is not put into place: after an error, or when the query is given up.
struct Finished {
    file: PathBuf,
    rows: u64,
}

impl Finished {
    fn into_place(self, put: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        put(&self.file)
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// What the names of saved schemas begin with; no relation has a name with a space that is not quoted.
const SCHEMA: &str = "schema ";

fn nanoseconds() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos())
}

/// A name that no other file of a table has.
fn part_name() -> String {
    format!("part-{}-{}.parquet", nanoseconds(), std::process::id())
}

/// The error of an external table, with its files.
fn unreadable(external: Option<String>, e: DataFusionError) -> DataFusionError {
    match external {
        Some(what) => plan_datafusion_err!("cannot read {what}: {}", e.find_root().strip_backtrace()),
        None => e,
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

/// A path as a URL: nothing in it is a pattern.
fn file_url(path: &Path) -> String {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.' | b'~');
    let path = path.display().to_string();
    let encoded: String = path.bytes().map(|b| if fine(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect();
    format!("file://{encoded}")
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
