//! Sessions: a DataFusion context that knows customers. Statements are parsed, planned, bound and run here.

mod binding;
mod calls;
mod database;
mod engine;
mod errors;
mod evaluation;
mod families;
mod fitting;
mod frames;
mod lifetime;
mod margins;
mod model_statements;
mod pin;
mod prepared;
mod resolution;
pub mod split;
mod statement;
mod supervised;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{AggregateUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF};
use datafusion::optimizer::OptimizerRule;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};

use crate::config::TenureConfig;
use crate::functions::{CUSTOMER_FUNCTIONS, ClvSum, CustomerUdf, RfmSummary, label_metrics, list_similarities, ranking_metrics};
use crate::models::OnProgress;
use crate::store::Store;
use binding::BindingPlanner;
use calls::{CallPlanner, LowerLateralCalls};
use engine::Engine;
pub use errors::{Place, render_error};
use statement::{Statement, parse};

/// How a session is opened.
#[derive(Clone, Default)]
pub struct SessionOptions {
    /// The directory that keeps tables, views, settings and models; in memory when `None`.
    pub database: Option<PathBuf>,
    /// Told of the stages of long work.
    pub progress: Option<OnProgress>,
    /// Threads of a query; `None`: as many as there are cores.
    pub threads: Option<usize>,
    /// Rows of a batch; `None`: the engine's default.
    pub batch_size: Option<usize>,
}

/// A context that knows customers. Clones share everything.
#[derive(Clone)]
pub struct Session {
    ctx: SessionContext,
    engine: Arc<Engine>,
    restored: Arc<std::sync::Mutex<database::Restored>>,
    prepared: Arc<std::sync::Mutex<HashMap<String, String>>>,
}

/// Puts tenure into a context that is there already: afterwards its `sql`, the DataFrame API and PREPARE / EXECUTE know
/// the functions. Models are kept in memory. For `CREATE MODEL` and the other statements use the session returned.
///
/// # Errors
/// A context that has tenure already.
pub fn install(ctx: &SessionContext) -> Result<Session> {
    Session::over(ctx.clone(), Store::memory(), None)
}

/// Half of the machine's memory, in bytes.
fn half_of_memory() -> usize {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok()
    });
    total.map_or(2 << 30, |kb| kb * 1024 / 2)
}

impl Session {
    /// Opens a session of its own.
    ///
    /// # Errors
    /// The directory cannot be used as a database; the message says why.
    pub async fn open(options: SessionOptions) -> Result<Self> {
        let store = match &options.database {
            Some(dir) => Store::open(dir).map_err(|e| DataFusionError::External(Box::new(e)))?,
            None => Store::memory(),
        };
        let mut config = SessionConfig::new().with_information_schema(true);
        config.options_mut().sql_parser.collect_spans = true;
        if let Some(n) = options.threads {
            config = config.with_target_partitions(n);
        }
        if let Some(n) = options.batch_size {
            config = config.with_batch_size(n);
        }
        let pool = TrackConsumersPool::new(FairSpillPool::new(half_of_memory()), std::num::NonZeroUsize::MIN.saturating_add(4));
        // Files come and go under a running prompt: their lists are read anew.
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).with_object_list_cache_limit(0).build_arc()?;
        let ctx = SessionContext::new_with_config_rt(config, runtime);
        let session = Self::over(ctx, store, options.progress)?;
        session.restore().await;
        Ok(session)
    }

    fn over(ctx: SessionContext, store: Store, progress: Option<OnProgress>) -> Result<Self> {
        if ctx.state_ref().read().scalar_functions().contains_key("clv") {
            return plan_err!("this context has tenure already");
        }
        let engine = Arc::new(Engine::new(store, progress));
        for f in CUSTOMER_FUNCTIONS {
            ctx.register_udf(ScalarUDF::from(CustomerUdf::new(*f, Arc::clone(&engine) as _)));
        }
        ctx.register_udaf(AggregateUDF::from(RfmSummary::default()));
        ctx.register_udaf(AggregateUDF::from(ClvSum::default()));
        label_metrics().chain(ranking_metrics()).for_each(|m| ctx.register_udaf(m));
        list_similarities().for_each(|s| ctx.register_udf(s));
        let weak = ctx.state_weak_ref();
        engine.find_contract_by(move || {
            let shared = weak.upgrade()?;
            let state = shared.try_read()?;
            engine::contract_of(&state)
        });
        let shared = ctx.state_ref();
        let mut state = shared.write();
        state.config_mut().options_mut().extensions.insert(TenureConfig::default());
        let inner = Arc::clone(state.query_planner());
        let planner = BindingPlanner { engine: Arc::clone(&engine), inner };
        let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![Arc::new(LowerLateralCalls)];
        rules.extend(state.optimizer().rules.iter().cloned());
        let builder = SessionStateBuilder::new_from_existing(state.clone()).with_query_planner(Arc::new(planner));
        let mut built: SessionState = builder.with_optimizer_rules(rules).build();
        built.register_relation_planner(Arc::new(CallPlanner { engine: Arc::clone(&engine) }))?;
        built.add_analyzer_rule(Arc::new(LowerLateralCalls));
        *state = built;
        drop(state);
        Ok(Self { ctx, engine, restored: Arc::default(), prepared: Arc::default() })
    }

    /// The context underneath: tables can be registered in it, and its own `sql` knows the functions.
    pub fn context(&self) -> &SessionContext {
        &self.ctx
    }

    /// Plans one statement. Queries, and models to be fitted, run when the frame is collected or streamed; definitions of
    /// tables, views and settings are carried out at once, and kept when the session has a database.
    pub async fn sql(&self, statement: &str) -> Result<DataFrame> {
        self.catch_up().await?;
        let plan = self.plan(parse(statement)?).await?;
        self.execute(plan, statement).await
    }

    /// Runs a script, statement by statement; each is planned after the one before it has run.
    ///
    /// # Errors
    /// The first that occurs, with its place in the script.
    pub async fn run_script(&self, script: &str) -> Result<Vec<Vec<datafusion::arrow::array::RecordBatch>>> {
        let mut out = vec![];
        for s in split::split(script) {
            let result = async { self.sql(s.text).await?.collect().await }.await;
            out.push(result.map_err(|e| e.context(format!("line {}", s.line)))?);
        }
        Ok(out)
    }

    fn plan(&self, statement: Statement) -> std::pin::Pin<Box<dyn Future<Output = Result<LogicalPlan>> + Send + '_>> {
        Box::pin(async move {
            match statement {
                Statement::Engine(s) => self.ctx.state().statement_to_plan(*s).await,
                Statement::Explain { analyze, verbose, inner } => {
                    LogicalPlanBuilder::from(self.plan(*inner).await?).explain(verbose, analyze)?.build()
                }
                Statement::Reset(name) => self.reset(&name).await,
                other => self.plan_model_statement(other).await,
            }
        })
    }
}
