//! One query's pin: the snapshot and the model versions that all its calls share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::execution::SessionState;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{cast, ident};
use datafusion::prelude::SessionContext;
use tokio::sync::OnceCell;

use super::binding::refuse_calls;
use super::engine::{Engine, SnapshotData};
use super::evaluation;
use super::fitting::{self, Fitted};
use super::frames::{self, Wanted};
use super::lifetime::{self, Fold, Study};
use super::margins;
use super::resolution::{AUTO_CHURN, active, of_query, stale_reason};
use super::supervised;
use crate::config::TenureConfig;
use crate::events::{Snapshot, time_text};
use crate::features::{
    Activity, Categories, Customers, DAY_US, FIRST_ORDER_VALUE, Frame, ITEMS, Interactions, OrderBaskets, UserCovariates, calendar, day_of,
};
use crate::functions::{
    ArgKind, Backtested, Bound, CUSTOMER_FUNCTIONS, CallArgs, Margins, Measured, Memo, Pin, Versioned, blocking, context, fit_error,
    model_record, read_rfm_rules, too_little,
};
use crate::models::lifetime::{Calendar, Lifetime};
use crate::models::recommend::ItemModel;
use crate::models::segment::Rfm;
use crate::models::supervised::{Definition, Supervised};
use crate::models::{Control, Family, HOLDOUT_DAYS, ModelError};
use crate::store::{ModelRecord, Store};

/// The relation of what is known of the users, and its key.
pub const USERS: &str = "users";
pub const USER_ID: &str = "user_id";
/// The relation of what is known of the days, and its key.
const CALENDAR: &str = "calendar";
const DAY: &str = "day";
/// Functions that take margins into account.
const MARGINAL: &[&str] = &["clv", "clv_low", "clv_high", "clv_sum", "total_value", "explain_clv"];

/// The view of one query.
pub struct QueryPin {
    pub(super) engine: Arc<Engine>,
    state: SessionState,
    config: TenureConfig,
    data: OnceCell<Arc<SnapshotData>>,
    /// By family and name asked for.
    pub(super) models: Mutex<HashMap<(Family, Option<String>), Fitted>>,
    memo: Memo,
    /// The models there were when the query first looked.
    pub(super) records: Mutex<Option<Arc<Vec<ModelRecord>>>>,
}

impl QueryPin {
    pub fn new(engine: Arc<Engine>, state: SessionState) -> Self {
        let config = state.config_options().extensions.get::<TenureConfig>().cloned().unwrap_or_default();
        Self { engine, state, config, data: OnceCell::new(), models: Mutex::default(), memo: Memo::default(), records: Mutex::default() }
    }

    /// This pin, or one with another `as_of` for a call that has its own.
    pub fn for_call(self: &Arc<Self>, args: &CallArgs) -> Result<Arc<dyn Pin>> {
        match args.time("as_of") {
            Some(as_of_us) => Ok(Arc::new(self.at(as_of_us)?)),
            None => Ok(Arc::clone(self) as _),
        }
    }

    /// A view with another `as_of`, in µs since 1970: nothing later is in it.
    pub fn at(&self, as_of_us: i64) -> Result<Self> {
        let Some(as_of) = time_text(as_of_us) else { return plan_err!("as_of = {as_of_us} µs since 1970 is no time") };
        let mut state = self.state.clone();
        state.config_mut().options_mut().set("tenure.as_of", &as_of)?;
        Ok(Self::new(Arc::clone(&self.engine), state))
    }

    /// For long work.
    pub fn control(&self) -> Control {
        self.engine.progress.clone().map(Control::reporting).unwrap_or_default()
    }

    async fn data(&self) -> Result<&Arc<SnapshotData>> {
        self.data.get_or_try_init(|| async { self.engine.snapshot(&self.state, &self.config).await }).await
    }

    /// What is read of the snapshot once; where the memory does not suffice, what was read of others is let go of.
    async fn read_once<T, F>(&self, cell: &OnceCell<Arc<T>>, stage: &str, read: impl Fn() -> F + Send + Sync) -> Result<Arc<T>>
    where
        T: Send + Sync,
        F: Future<Output = Result<T>> + Send,
    {
        let reported = || async {
            self.engine.report(stage, 0.0);
            let out = read().await?;
            self.engine.report(stage, 1.0);
            Ok::<_, DataFusionError>(Arc::new(out))
        };
        match cell.get_or_try_init(reported).await {
            Err(e) if exhausted(&e) => {
                self.engine.forget_others(self.data().await?);
                Ok(Arc::clone(cell.get_or_try_init(reported).await?))
            }
            out => Ok(Arc::clone(out?)),
        }
    }

    /// Where an observation ends: `tenure.as_of`, or max(ts) of the events.
    pub async fn end_of_observation(&self) -> Result<i64> {
        match self.config.as_of_us() {
            Some(us) => Ok(us),
            None => Ok(self.snapshot().await?.as_of_us),
        }
    }

    /// The function of a call, bound to this pin.
    pub async fn bind(self: &Arc<Self>, args: &CallArgs) -> Result<Arc<Bound>> {
        let Some(function) = CUSTOMER_FUNCTIONS.iter().find(|f| f.spec().name == args.spec.name) else {
            return plan_err!("there is no function {}()", args.spec.name);
        };
        let key = args.spec.arguments.iter().map(|a| a.kind).find(|k| k.is_key());
        if key == Some(ArgKind::Row) {
            // Rows of a query have nothing to do with the events.
            return Ok(Arc::new(Bound { customers: None, kernel: function.bind(self.as_ref(), args).await? }));
        }
        let customers = if key == Some(ArgKind::User) { Some(self.customers().await?) } else { None };
        let data = Arc::clone(self.data().await?);
        let key = format!("{} {}", args.display(), self.version_key(args).await?);
        if let Some(bound) = data.known(&key) {
            return Ok(bound);
        }
        let kernel = function.bind(self.as_ref(), args).await?;
        let bound = Arc::new(Bound { customers, kernel });
        data.remember(key, Arc::clone(&bound));
        Ok(bound)
    }

    /// What an answer depends on besides the snapshot: settings, and the versions of all models.
    async fn version_key(&self, args: &CallArgs) -> Result<String> {
        let made = |m: &ModelRecord| m.active_version().map_or(0, |v| v.created_at_us);
        let active: Vec<String> = self.records().iter().map(|m| format!("{}:{}:{}", m.name, m.active, made(m))).collect();
        let rules = match self.config.rfm_rules() {
            Some(relation) if matches!(args.spec.name, "rfm" | "segment") => format!("{:?}", self.rules(relation).await?),
            _ => String::new(),
        };
        let margins = match MARGINAL.contains(&args.spec.name) {
            true => format!("{:x}", margins::hash_of(self.margins().await?.as_ref())),
            false => String::new(),
        };
        // A query of a call answers as its relations are now.
        let mut queries = String::new();
        for argument in args.spec.arguments.iter().filter(|a| a.kind == ArgKind::Query) {
            if let Some(sql) = args.text(argument.name) {
                queries += &format!("{:x} ", content_of(self.query(sql).await?.as_ref())?);
            }
        }
        // What a model knows besides the events may change without them: covariates of one that is named, columns of users as features.
        let mut known = String::new();
        if args.spec.section == "Customer value"
            && let Some(name) = args.text("model")
            && let Ok(fitted) = self.lifetime(Some(name)).await
        {
            known = format!("{:x}", context(self, &fitted).await?.fingerprint());
        }
        if matches!(args.spec.section, "Churn" | "Prediction") {
            known = format!("{:x} {:x}", content_of(frames::users(self).await?.as_ref())?, self.categories().await?.1);
        }
        if args.text("by").is_some_and(|by| by.eq_ignore_ascii_case("category")) {
            known = format!("{:x}", self.categories().await?.1);
        }
        Ok(format!("{:?} {active:?} {rules} {margins} {queries} {known}", self.config))
    }

    async fn rules(&self, relation: &str) -> Result<Vec<crate::models::segment::Rule>> {
        let ctx = SessionContext::new_with_state(self.state.clone());
        let read = async {
            let table = ctx.table(relation).await?;
            refuse_calls(table.logical_plan(), relation)?;
            table.collect().await
        };
        let rows = read.await.or_else(|e| plan_err!("tenure.rfm_rules = '{relation}': {}", e.find_root().strip_backtrace()))?;
        read_rfm_rules(relation, &rows)
    }
}

/// The hold-outs of a log, or an error that says why there are none.
fn holdouts(snapshot: &Snapshot, days: f64, most: usize) -> Result<Vec<Fold>> {
    let folds = lifetime::folds(snapshot, days, most);
    if folds.is_empty() {
        let why = "no hold-out: it needs a week at least and is a third of the log at most; the log, or holdout, is too short";
        return Err(fit_error(ModelError::TooLittleData(why.into())));
    }
    Ok(folds)
}

/// A number for rows in any order.
fn content_of(rows: &RecordBatch) -> Result<u64> {
    let mut hashes = vec![0; rows.num_rows()];
    create_hashes(rows.columns(), &RandomState::with_seed(1), &mut hashes)?;
    Ok(hashes.iter().fold(rows.num_rows() as u64, |sum, h| sum.wrapping_add(*h)))
}

fn exhausted(e: &DataFusionError) -> bool {
    matches!(e.find_root(), DataFusionError::ResourcesExhausted(_))
}

#[async_trait]
impl Pin for QueryPin {
    fn config(&self) -> &TenureConfig {
        &self.config
    }

    fn state(&self) -> &SessionState {
        &self.state
    }

    fn store(&self) -> &Store {
        &self.engine.store
    }

    fn memo(&self) -> &Memo {
        &self.memo
    }

    async fn query(&self, sql: &str) -> Result<Arc<RecordBatch>> {
        let read = async {
            let ctx = SessionContext::new_with_state(self.state.clone());
            let plan = ctx.state().create_logical_plan(sql).await?;
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false).verify_plan(&plan)?;
            let rows = ctx.execute_logical_plan(plan).await?;
            let schema = Arc::clone(rows.schema().inner());
            Ok(concat_batches(&schema, &rows.collect().await?)?)
        };
        self.memo.get(format!("query {sql}"), read).await
    }

    async fn snapshot(&self) -> Result<Arc<Snapshot>> {
        Ok(Arc::clone(&self.data().await?.snapshot))
    }

    async fn customers(&self) -> Result<Arc<Customers>> {
        let data = self.data().await?;
        self.read_once(&data.customers, "reading customers", || Customers::read(&self.state, &data.snapshot)).await
    }

    async fn interactions(&self) -> Result<Arc<Interactions>> {
        let (data, customers) = (self.data().await?, self.customers().await?);
        self.read_once(&data.interactions, "reading interactions", || Interactions::read(&self.state, &data.snapshot, &customers)).await
    }

    async fn baskets(&self) -> Result<Arc<OrderBaskets>> {
        let (data, customers, interactions) = (self.data().await?, self.customers().await?, self.interactions().await?);
        let read = || OrderBaskets::read(&self.state, &data.snapshot, &customers, Arc::clone(&interactions));
        self.read_once(&data.baskets, "reading baskets", read).await
    }

    async fn categories(&self) -> Result<Arc<(Option<Categories>, u64)>> {
        let read = async {
            let ctx = SessionContext::new_with_state(self.state.clone());
            if ctx.table_exist(ITEMS)? {
                refuse_calls(ctx.table(ITEMS).await?.logical_plan(), ITEMS)?;
            }
            let categories = Categories::read(&self.state).await?;
            let hash = categories.as_ref().map_or(Ok(0), Categories::fingerprint)?;
            Ok((categories, hash))
        };
        self.memo.get("categories".into(), read).await
    }

    async fn activity(&self) -> Result<Arc<Activity>> {
        let (data, customers, categories) = (self.data().await?, self.customers().await?, self.categories().await?);
        let cell = data.activity(categories.1);
        let read = || Activity::read(&self.state, &data.snapshot, &customers, categories.0.as_ref());
        self.read_once(&cell, "reading activity", read).await
    }

    async fn supervised(&self, model: &str) -> Result<Arc<Versioned<Supervised>>> {
        match self.model(Family::Supervised, Some(model)).await? {
            Fitted::Supervised(m) => Ok(m),
            other => other.wrong("supervised"),
        }
    }

    async fn churn(&self, days: u32) -> Result<Arc<Versioned<Supervised>>> {
        self.supervised(&format!("{AUTO_CHURN}{days}")).await
    }

    async fn frame(&self, model: &Versioned<Supervised>) -> Result<Arc<Frame>> {
        let definition = &model.model.definition;
        if let Definition::Query { .. } = definition {
            return plan_err!(
                "model '{}' is one of rows, not of customers: SELECT * FROM predict_rows('{}', (SELECT ...)) scores the rows of a query",
                model.name,
                model.name
            );
        }
        let day = day_of(self.snapshot().await?.as_of_us);
        let wanted = Wanted { definition, day, step: 1, btyd: model.model.btyd };
        let control = self.control();
        self.memo.get(format!("frame {} {}", model.name, model.version), frames::features(self, wanted, &control)).await
    }

    async fn lifetime(&self, model: Option<&str>) -> Result<Arc<Versioned<Lifetime>>> {
        match self.model(Family::Lifetime, model).await? {
            Fitted::Lifetime(m) => Ok(m),
            other => other.wrong("lifetime"),
        }
    }

    async fn covariates(&self, names: &str, wanted: Option<&[String]>) -> Result<UserCovariates> {
        let customers = self.customers().await?;
        let names = names.split(',').map(str::trim).filter(|n| !n.is_empty());
        let (own, of_users): (Vec<&str>, Vec<&str>) = names.partition(|n| *n == FIRST_ORDER_VALUE);
        let ctx = SessionContext::new_with_state(self.state.clone());
        let read = async {
            if of_users.is_empty() {
                return Ok(vec![]);
            }
            let table = ctx.table(USERS).await?;
            refuse_calls(table.logical_plan(), USERS)?;
            table.select(std::iter::once(&USER_ID).chain(&of_users).map(|n| ident(*n)).collect::<Vec<_>>())?.collect().await
        };
        let batches = read.await.or_else(|e| {
            plan_err!("covariates = '{}': columns of '{USERS}' are needed: {}", of_users.join(", "), e.find_root().strip_backtrace())
        })?;
        UserCovariates::new(&customers, &batches, !own.is_empty(), wanted)
    }

    async fn calendar(&self, names: &str) -> Result<Calendar> {
        let ctx = SessionContext::new_with_state(self.state.clone());
        let read = async {
            let table = ctx.table(CALENDAR).await?;
            refuse_calls(table.logical_plan(), CALENDAR)?;
            let day = cast(ident(DAY), DataType::Date32).alias(DAY);
            let names = names.split(',').map(str::trim).filter(|n| !n.is_empty());
            let columns = std::iter::once(day).chain(names.map(|n| cast(ident(n), DataType::Float64).alias(n)));
            table.select(columns.collect::<Vec<_>>())?.sort(vec![ident(DAY).sort(true, true)])?.collect().await
        };
        let batches = read.await.or_else(|e| {
            plan_err!(
                "calendar = '{names}': a relation '{CALENDAR}' with a column {DAY} and these is needed: {}",
                e.find_root().strip_backtrace()
            )
        })?;
        calendar(&batches)
    }

    async fn margins(&self) -> Result<Arc<Margins>> {
        let read =
            async { margins::read(&self.state, &self.config, self.snapshot().await?.as_ref(), self.customers().await?.as_ref()).await };
        self.memo.get("margins".into(), read).await
    }

    async fn backtest(&self, model: Option<&str>, folds: usize, holdout_days: Option<f64>) -> Result<Vec<Backtested>> {
        let (snapshot, customers, fitted) = (self.snapshot().await?, self.customers().await?, self.lifetime(model).await?);
        let options = self.options_of(&fitted.name, fitted.version)?;
        let context = fitting::context(self, &options).await?;
        let days = holdout_days.or(options.holdout_days()).unwrap_or(HOLDOUT_DAYS);
        let folds = holdouts(&snapshot, days, folds)?;
        blocking(self.control(), move |control| {
            let study = Study { snapshot: &snapshot, customers: &customers, context: &context, control };
            folds.iter().map(|fold| study.test(*fold, &options)).collect::<Result<_, _>>().map_err(fit_error)
        })
        .await
    }

    async fn backtest_supervised(&self, model: &str, folds: usize) -> Result<Vec<Backtested>> {
        let fitted = self.supervised(model).await?;
        let Definition::Window { days, .. } = fitted.model.definition else {
            return plan_err!(
                "backtest(): '{model}' is a model of a query, which has no earlier moments. evaluate('{model}') has its figures"
            );
        };
        let options = self.options_of(&fitted.name, fitted.version)?;
        let now = self.snapshot().await?.as_of_us;
        let mut out = vec![];
        for fold in 0..folds as i64 {
            let past = self.at(now - fold * i64::from(days) * DAY_US)?;
            let definition = fitted.model.definition.clone();
            match supervised::fit_window(&past, definition, vec![options.clone()], &self.control()).await {
                Ok((_, o)) => {
                    let Some(from_us) = o.eval_from_us else { break };
                    let (to_us, users) = (from_us + i64::from(days) * DAY_US, o.metrics.get("holdout_rows").map_or(0, |n| *n as u64));
                    out.push(Backtested { from_us, to_us, users, x: vec![], expected: vec![], actual: vec![], scores: o.metrics });
                }
                // The log begins too late for one more.
                Err(e) if fold > 0 && too_little(&e) => break,
                Err(e) => return Err(e),
            }
        }
        Ok(out)
    }

    async fn backtest_recommender(&self, model: Option<&str>, folds: usize, holdout_days: Option<f64>) -> Result<Vec<Backtested>> {
        let (snapshot, fitted) = (self.snapshot().await?, self.recommender(model).await?);
        let options = self.options_of(&fitted.name, fitted.version)?;
        let days = holdout_days.or(options.holdout_days()).unwrap_or(HOLDOUT_DAYS);
        let tested = evaluation::backtest(self, &options, &holdouts(&snapshot, days, folds)?).await?;
        if tested.is_empty() {
            return Err(fit_error(ModelError::TooLittleData("no hold-out: before the last one there is no event with an item".into())));
        }
        Ok(tested)
    }

    async fn evaluate(&self, model: &str, k: usize) -> Result<Vec<Measured>> {
        let record = model_record(self, model)?;
        let v = active(&record)?;
        if v.family == Family::Segment.name() {
            return plan_err!("model '{model}' is of type {}: it foresees nothing that could be evaluated", v.model_type);
        }
        if v.family != Family::Recommend.name() {
            let own = v.metrics.iter().filter(|(name, _)| !name.starts_with("baseline_"));
            let users = v.metrics.get("holdout_rows").map_or(v.users, |n| *n as u64);
            let baseline = |name: &str| v.metrics.get(&format!("baseline_{name}")).copied();
            let one = |(name, &value): (&String, &f64)| {
                let (metric, baseline) = (name.clone(), baseline(name));
                Measured { metric, value: Some(value), interval: None, baseline, users }
            };
            return Ok(own.map(one).collect());
        }
        let (interactions, fitted) = (self.interactions().await?, self.recommender(Some(model)).await?);
        let options = self.options_of(&fitted.name, fitted.version)?;
        blocking(self.control(), move |control| evaluation::evaluate(&interactions, &options, k, control).map_err(fit_error)).await
    }

    async fn rfm(&self, model: Option<&str>) -> Result<Arc<Versioned<Rfm>>> {
        let Fitted::Segment(m) = self.model(Family::Segment, model).await? else { return plan_err!("not a segmentation model") };
        let Some(relation) = self.config.rfm_rules() else { return Ok(m) };
        let rules = self.rules(relation).await?;
        let model = Rfm::new(m.model.cuts.clone(), rules).map_err(|e| datafusion::common::plan_datafusion_err!("'{relation}': {e}"))?;
        Ok(Arc::new(Versioned { name: m.name.clone(), version: m.version, model }))
    }

    async fn recommender(&self, model: Option<&str>) -> Result<Arc<Versioned<ItemModel>>> {
        match self.model(Family::Recommend, model).await? {
            Fitted::Recommend(m) => Ok(m),
            other => other.wrong("recommend"),
        }
    }

    async fn stale_reason(&self, model: &str, version: u32) -> Result<Option<String>> {
        let record = model_record(self, model)?;
        let of = record.versions.iter().find(|v| v.version == version);
        if of.is_some_and(of_query) {
            return Ok(None);
        }
        // Without events there is nothing to compare with.
        let Ok(snapshot) = self.snapshot().await else { return Ok(Some("the events cannot be read".into())) };
        Ok(of.and_then(|v| stale_reason(v, &snapshot)))
    }
}
