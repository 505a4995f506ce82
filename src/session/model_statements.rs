//! CREATE, REFRESH, ALTER, DROP, EXPORT, IMPORT, SHOW and DESCRIBE MODEL.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::catalog::{MemTable, Session as EngineSession, TableProvider};
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;

use super::Session;
use super::engine::Engine;
use super::fitting::{self, Fitted, known_type};
use super::pin::QueryPin;
use super::resolution::active;
use super::statement::{Change, Statement};
use crate::events::quote;
use crate::functions::{LazyExec, MakeRows, model_record};
use crate::models::supervised::Definition;
use crate::models::{Family, MODEL_TYPES, Options};
use crate::store::{Existing, Origin, StoreError, VersionInfo, export, import};

pub(super) fn stored(e: StoreError) -> DataFusionError {
    DataFusionError::External(Box::new(e))
}

impl Session {
    /// The plan of a statement about models. Fitting waits until the plan runs; the rest is done at once.
    pub(super) async fn plan_model_statement(&self, statement: Statement) -> Result<LogicalPlan> {
        let store = &self.engine.store;
        match statement {
            Statement::CreateModel { name, or_replace, if_not_exists, definition, options } => {
                let exists = store.model(&name).is_some();
                not_automatic(&name)?;
                if exists && !or_replace && !if_not_exists {
                    return plan_err!("model '{name}' exists: CREATE OR REPLACE MODEL, REFRESH MODEL {name}, or choose another name");
                }
                let (kind, rest) = taken(options, "model_type")?;
                let (family, rest) = taken(rest, FAMILY)?;
                let kind = kind.as_deref().unwrap_or("auto");
                let candidates = match (kind, family) {
                    (auto, None) if auto.eq_ignore_ascii_case("auto") && definition.is_some() => {
                        fitting::auto_candidates(Family::Supervised, &rest)?
                    }
                    (auto, family) if definition.is_none() && auto.eq_ignore_ascii_case("auto") => {
                        fitting::auto_candidates(auto_family(family.as_deref())?, &rest)?
                    }
                    (name, None) => vec![fitting::options(known_type(name)?, &rest)?],
                    (name, Some(family)) => {
                        return plan_err!("option {FAMILY} = '{family}' goes with model_type = 'auto' only: '{name}' has its family");
                    }
                };
                let supervised = candidates.first().is_some_and(|o| o.kind.family() == Family::Supervised);
                match &definition {
                    None if supervised => {
                        return plan_err!(
                            "model_type '{kind}' foretells a label: CREATE MODEL {name} PREDICT count(*) FILTER (WHERE event_type = 'purchase') = 0 \
                             WITHIN INTERVAL '90 days' FOR EACH user_id WITH (...), or CREATE MODEL {name} TARGET column WITH (...) AS SELECT ..."
                        );
                    }
                    Some(d) if !supervised => {
                        let types: Vec<&str> = MODEL_TYPES.iter().filter(|t| t.family() == Family::Supervised).map(|t| t.name).collect();
                        return plan_err!("model_type '{kind}' does not foretell {}: allowed is auto, {}", d.target(), types.join(", "));
                    }
                    _ => {}
                }
                let existing = if or_replace { Existing::Replace } else { Existing::Create };
                self.fit(Fit { name, candidates, definition, origin: Origin::User, existing, as_of: None, if_not_exists })
            }
            Statement::RefreshModel { name, as_of } => {
                let pin = QueryPin::new(Arc::clone(&self.engine), self.ctx.state());
                let record = model_record(&pin, &name)?;
                let v = active(&record)?;
                let candidates = vec![fitting::options_of(v)?];
                let definition = match candidates[0].kind.family() {
                    Family::Supervised => Some(pin.definition(&name, v.version)?),
                    _ => None,
                };
                self.fit(Fit {
                    candidates,
                    name,
                    definition,
                    origin: record.origin,
                    existing: Existing::Append,
                    as_of,
                    if_not_exists: false,
                })
            }
            Statement::AlterModel { name, change } => {
                let record = model_record(&QueryPin::new(Arc::clone(&self.engine), self.ctx.state()), &name)?;
                if record.origin == Origin::Auto {
                    return plan_err!(
                        "{name} is an auto model, which finds the version that fits the events itself: CREATE MODEL makes one of your own"
                    );
                }
                match change {
                    Change::SetActive(version) => store.set_active(&name, version).map_err(stored)?,
                    Change::Rollback => store.rollback(&name).map(|_| ()).map_err(stored)?,
                    Change::Rename(to) => {
                        not_automatic(&to)?;
                        store.rename(&name, &to).map_err(stored)?;
                    }
                }
                nothing()
            }
            Statement::DropModel { name, if_exists, version } => {
                if if_exists && store.model(&name).is_none() {
                    return nothing();
                }
                model_record(&QueryPin::new(Arc::clone(&self.engine), self.ctx.state()), &name)?;
                match version {
                    Some(v) => store.drop_version(&name, v).map_err(stored)?,
                    None => store.drop_model(&name).map_err(stored)?,
                }
                nothing()
            }
            Statement::ExportModel { name, version, path } => {
                let record = model_record(&QueryPin::new(Arc::clone(&self.engine), self.ctx.state()), &name)?;
                let v = version.map_or_else(|| active(&record), |number| record.version(number).map_err(stored))?;
                let parts = store.load(&name, v.version).map_err(stored)?;
                let size = export(Path::new(&path), &name, v, &parts).map_err(stored)?;
                let text = |t: String| Arc::new(StringArray::from(vec![t])) as ArrayRef;
                let int = |n: u64| Arc::new(Int64Array::from(vec![n as i64])) as ArrayRef;
                let columns = [("model", text(name)), ("version", int(v.version.into())), ("path", text(path)), ("size_bytes", int(size))];
                rows("export", RecordBatch::try_from_iter(columns)?)
            }
            Statement::ImportModel { name, path } => {
                not_automatic(&name)?;
                let (info, parts) = import(Path::new(&path)).map_err(stored)?;
                // What this program cannot read is refused now, not when it is asked.
                Fitted::from_parts(&name, &info, &parts)?;
                let info = store.add_version(&name, Origin::Import, info, &parts, true, Existing::Create).map_err(stored)?;
                rows("import", result(&name, "imported", &info)?)
            }
            Statement::ShowModels { like } => {
                let filter = like.map(|p| format!(" WHERE name LIKE '{}'", p.replace('\'', "''"))).unwrap_or_default();
                self.select(&format!("SELECT * FROM models(){filter} ORDER BY name")).await
            }
            Statement::DescribeModel { name, version } => {
                let version = version.map(|v| format!(", version => {v}")).unwrap_or_default();
                self.select(&format!("SELECT * FROM model_info('{}'{version})", name.replace('\'', "''"))).await
            }
            other => plan_err!("{other:?} is not a statement about models"),
        }
    }

    async fn select(&self, sql: &str) -> Result<LogicalPlan> {
        self.ctx.state().create_logical_plan(sql).await
    }

    fn fit(&self, fit: Fit) -> Result<LogicalPlan> {
        let title = quote(&fit.name);
        let table = FitTable { engine: Arc::clone(&self.engine), fit };
        LogicalPlanBuilder::scan(title.as_str(), provider_as_source(Arc::new(table)), None)?.build()
    }
}

/// Which family 'auto' chooses in.
const FAMILY: &str = "family";

/// Names and values WITH (...).
type Given = Vec<(String, String)>;

/// The value of an option, and the options without it.
fn taken(options: Given, name: &str) -> Result<(Option<String>, Given)> {
    let (mut found, rest): (Vec<_>, Vec<_>) = options.into_iter().partition(|(k, _)| k.eq_ignore_ascii_case(name));
    if found.len() > 1 {
        return plan_err!("option {name} is given twice");
    }
    Ok((found.pop().map(|(_, v)| v), rest))
}

fn auto_family(name: Option<&str>) -> Result<Family> {
    let allowed = [Family::Lifetime, Family::Recommend];
    match allowed.into_iter().find(|f| name.is_none_or(|n| f.name().eq_ignore_ascii_case(n))) {
        Some(family) => Ok(family),
        None => plan_err!("option {FAMILY} = '{}': allowed is 'lifetime', 'recommend'", name.unwrap_or_default()),
    }
}

/// Refuses a name that auto models have.
fn not_automatic(name: &str) -> Result<()> {
    if name == "auto" || name.starts_with("auto_") {
        return plan_err!("'auto' and names that begin with auto_ belong to the auto models: choose another");
    }
    Ok(())
}

/// A plan of rows that are there.
fn rows(name: &str, rows: RecordBatch) -> Result<LogicalPlan> {
    let table = MemTable::try_new(rows.schema(), vec![vec![rows]])?;
    LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(table)), None)?.build()
}

/// A plan without columns and rows.
fn nothing() -> Result<LogicalPlan> {
    LogicalPlanBuilder::empty(false).build()
}

/// A model to be fitted.
#[derive(Debug, Clone)]
struct Fit {
    name: String,
    /// The types that play for it.
    candidates: Vec<Options>,
    /// What a supervised model predicts.
    definition: Option<Definition>,
    origin: Origin,
    existing: Existing,
    as_of: Option<String>,
    /// A model that is there already is left as it is.
    if_not_exists: bool,
}

/// The result of CREATE and REFRESH MODEL as a table: fitting happens when it is read.
#[derive(Clone)]
struct FitTable {
    engine: Arc<Engine>,
    fit: Fit,
}

impl fmt::Debug for FitTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.fit)
    }
}

fn result_schema() -> SchemaRef {
    let us = DataType::Timestamp(TimeUnit::Microsecond, None);
    let columns = [
        ("model", DataType::Utf8),
        ("version", DataType::Int64),
        ("model_type", DataType::Utf8),
        ("status", DataType::Utf8),
        ("rows", DataType::Int64),
        ("users", DataType::Int64),
        ("train_from", us.clone()),
        ("train_to", us.clone()),
        ("eval_from", us.clone()),
        ("eval_to", us),
        ("metric", DataType::Utf8),
        ("value", DataType::Float64),
        ("baseline_value", DataType::Float64),
        ("seconds", DataType::Float64),
        ("warnings", DataType::Utf8),
    ];
    Arc::new(Schema::new(columns.map(|(n, t)| Field::new(n, t, true)).to_vec()))
}

fn result(name: &str, status: &str, v: &VersionInfo) -> Result<RecordBatch> {
    let text = |t: Option<String>| Arc::new(StringArray::from(vec![t])) as ArrayRef;
    let time = |t: Option<i64>| Arc::new(TimestampMicrosecondArray::from(vec![t])) as ArrayRef;
    let int = |n: u64| Arc::new(Int64Array::from(vec![n as i64])) as ArrayRef;
    let float = |x: Option<f64>| Arc::new(Float64Array::from(vec![x])) as ArrayRef;
    let columns = vec![
        text(Some(name.to_owned())),
        int(u64::from(v.version)),
        text(Some(v.model_type.clone())),
        text(Some(status.to_owned())),
        int(v.data_rows),
        int(v.users),
        time(v.train_from_us),
        time(v.train_to_us),
        time(v.eval_from_us),
        time(v.eval_to_us),
        text(v.metric.clone()),
        float(v.value),
        float(v.baseline_value),
        float(Some(v.seconds)),
        text(Some(v.warnings.join("; ")).filter(|w| !w.is_empty())),
    ];
    Ok(RecordBatch::try_new(result_schema(), columns)?)
}

impl FitTable {
    async fn run(self, mut state: SessionState) -> Result<RecordBatch> {
        let Fit { name, candidates, definition, origin, existing, as_of, if_not_exists } = self.fit;
        let there = || match self.engine.store.model(&name) {
            Some(record) if if_not_exists => record.active_version().cloned(),
            _ => None,
        };
        if let Some(v) = there() {
            return result(&name, "unchanged", &v);
        }
        if let Some(as_of) = as_of {
            state.config_mut().options_mut().set("tenure.as_of", &as_of)?;
        }
        let replaced = self.engine.store.model(&name).is_some();
        let pin = QueryPin::new(Arc::clone(&self.engine), state);
        let created = match fitting::create(&pin, &self.engine, &name, origin, candidates, definition, Some(existing)).await {
            Ok(created) => created,
            // Another process may have made it meanwhile.
            Err(e) => return there().map_or(Err(e), |v| result(&name, "unchanged", &v)),
        };
        let status = match (existing, created.activated) {
            (Existing::Append, true) => "refreshed",
            (Existing::Append, false) => "kept: the new version does not score as well, the old one stays active",
            (Existing::Replace, _) if replaced => "replaced",
            _ => "created",
        };
        result(&name, status, &created.info)
    }
}

#[async_trait]
impl TableProvider for FitTable {
    fn schema(&self) -> SchemaRef {
        result_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        session: &dyn EngineSession,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(state) = session.as_any().downcast_ref::<SessionState>().cloned() else {
            return exec_err!("CREATE MODEL needs a DataFusion SessionState to run in");
        };
        let table = self.clone();
        let all: Vec<usize> = (0..result_schema().fields().len()).collect();
        let projection = projection.cloned().unwrap_or(all);
        let schema = Arc::new(result_schema().project(&projection)?);
        let make: MakeRows = Arc::new(move || {
            let (table, state, projection) = (table.clone(), state.clone(), projection.clone());
            async move { Ok(table.run(state).await?.project(&projection)?) }.boxed()
        });
        let kinds: Vec<&str> = self.fit.candidates.iter().map(|o| o.kind.name).collect();
        let title = format!("model {} ({})", self.fit.name, kinds.join(", "));
        Ok(Arc::new(LazyExec::new(title, schema, 1, make)))
    }
}
