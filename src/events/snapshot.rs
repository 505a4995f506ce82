//! One state of `events`: its fingerprint, its `as_of`, and the plan that reads it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, ScalarValue, TableReference, plan_err};
use datafusion::datasource::listing::ListingTable;
use datafusion::execution::SessionState;
use datafusion::functions_aggregate::expr_fn::{count, max, min, sum};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Volatility, col, lit};
use datafusion::object_store::{ObjectMeta, ObjectStoreExt};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use twox_hash::XxHash3_64;

use super::contract::Contract;
use super::kernels::row_hash_of;
use crate::config::TenureConfig;
use crate::models::ModelError;

/// One state of the events, as one query sees it.
#[derive(Debug)]
pub struct Snapshot {
    pub contract: Contract,
    /// Canonical events ([`Contract::canonical`]) up to `as_of`.
    pub plan: LogicalPlan,
    /// The same events with the contract's names, as an analyst writes about them ([`Contract::readable`]).
    pub readable: LogicalPlan,
    /// Which relation it is: its schema, its view's text, its sources.
    pub relation: u64,
    /// What it holds, `as_of` included.
    pub content: u64,
    /// Rows with a user and a time up to `as_of`.
    pub rows: u64,
    pub min_us: i64,
    pub as_of_us: i64,
    /// Whether `as_of` was set, rather than taken from the data.
    pub as_of_is_set: bool,
}

impl Snapshot {
    /// `relation-content`, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        format!("{:016x}-{:016x}", self.relation, self.content)
    }
}

#[derive(Clone, Copy)]
struct Extent {
    rows: u64,
    min_us: i64,
    max_us: i64,
    /// Of the events themselves, where the sources cannot say whether they have changed; else 0.
    checksum: u64,
}

/// What is remembered of the relations seen, so that an unchanged one is not read again.
#[derive(Default)]
pub struct Fingerprints {
    extents: Mutex<HashMap<u64, Extent>>,
    /// In-memory batches by address; holding the batch keeps the address from being used again.
    batches: Mutex<HashMap<usize, (RecordBatch, u64)>>,
}

impl std::fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprints")
    }
}

/// Extents kept before the memory of them is cleared.
const MAX_EXTENTS: usize = 256;

/// The provider of a relation, or an error that says how to make one.
async fn provider(state: &SessionState, name: &str) -> Result<Arc<dyn TableProvider>> {
    let reference = TableReference::from(name);
    let table = match state.schema_for_ref(reference.clone()) {
        Ok(schema) => schema.table(reference.table()).await?,
        Err(_) => None,
    };
    match table {
        Some(t) => Ok(t),
        None => plan_err!(
            "there is no relation '{name}'. Make one from your data: \
             CREATE EXTERNAL TABLE sales STORED AS PARQUET LOCATION 'sales.parquet'; \
             CREATE VIEW {name} AS SELECT customer_id AS user_id, order_date AS ts, 'purchase' AS event_type, \
             product_id AS item_id, amount FROM sales. (SET tenure.events = 'schema.table' points to another relation; \
             SELECT * FROM simulate_shop(users => 1000, days => 365) is a shop to try.)"
        ),
    }
}

impl Snapshot {
    /// The contract of a relation and the plan that reads it whole.
    pub async fn source(state: &SessionState, name: &str) -> Result<(Contract, LogicalPlan)> {
        let provider = provider(state, name).await?;
        let contract = Contract::resolve(name, &provider.schema())?;
        let raw = LogicalPlanBuilder::scan(TableReference::from(name), provider_as_source(provider), None)?.build()?;
        Ok((contract, raw))
    }

    /// Looks at the relation `tenure.events` as it is now.
    ///
    /// # Errors
    /// No such relation, a needed column missing, or no row with a user and a time up to `as_of`.
    pub async fn take(state: &SessionState, config: &TenureConfig, memory: &Fingerprints) -> Result<Self> {
        let name = config.events();
        let (contract, raw) = Self::source(state, name).await?;
        let mut identity = Identity::default();
        // Without the fields' metadata, whose order is not fixed.
        for f in raw.schema().fields() {
            identity.add(format!("{} {} {}", f.name(), f.data_type(), f.is_nullable()).as_bytes());
        }
        identity.add(format!("{name} {:?}", config.event_map()).as_bytes());
        identity.plan(&raw, state, memory).await?;
        memory.forget_others(&identity.seen_batches);
        let canonical = contract.canonical(raw.clone(), &config.event_map())?;
        let extent = memory.extent(&identity, canonical.clone(), state, config.as_of_us()).await?;
        if extent.rows == 0 {
            let why = empty(name, config, state, &raw).await?;
            return Err(DataFusionError::External(Box::new(ModelError::TooLittleData(why))));
        }
        let as_of_us = config.as_of_us().unwrap_or(extent.max_us);
        let readable =
            LogicalPlanBuilder::from(contract.readable(raw, &config.event_map())?).filter(col("ts").lt_eq(time(as_of_us)))?.build()?;
        let plan = LogicalPlanBuilder::from(canonical).filter(col("ts_us").lt_eq(lit(as_of_us)))?.build()?;
        Ok(Self {
            contract,
            plan,
            readable,
            relation: identity.relation,
            content: mix(mix(mix(identity.content, extent.checksum), extent.rows), as_of_us as u64),
            rows: extent.rows,
            min_us: extent.min_us,
            as_of_us,
            as_of_is_set: config.as_of_us().is_some(),
        })
    }
}

/// Why there is no event to use.
async fn empty(name: &str, config: &TenureConfig, state: &SessionState, raw: &LogicalPlan) -> Result<String> {
    let total = LogicalPlanBuilder::from(raw.clone()).aggregate(Vec::<Expr>::new(), vec![count(lit(1))])?.build()?;
    let batches = run(state, total).await?;
    let total = batches.first().map_or(0, |b| b.column(0).as_primitive::<Int64Type>().value(0));
    let as_of = config.as_of_us().and_then(time_text).map(|t| format!(" up to tenure.as_of = {t}")).unwrap_or_default();
    Ok(if total == 0 {
        format!("'{name}' is empty: no event to learn from")
    } else {
        format!("'{name}' has {total} rows, but none with a user_id and a ts{as_of}. SELECT * FROM data_quality() shows why")
    })
}

fn time(us: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(us), None))
}

/// A timestamp as text.
pub fn time_text(us: i64) -> Option<String> {
    let a = datafusion::arrow::array::TimestampMicrosecondArray::from(vec![us]);
    datafusion::arrow::util::display::array_value_to_string(&a, 0).ok()
}

/// Runs a plan in the session of `state`.
pub async fn run(state: &SessionState, plan: LogicalPlan) -> Result<Vec<RecordBatch>> {
    SessionContext::new_with_state(state.clone()).execute_logical_plan(plan).await?.collect().await
}

fn mix(a: u64, b: u64) -> u64 {
    XxHash3_64::oneshot_with_seed(a, &b.to_le_bytes())
}

impl Fingerprints {
    async fn extent(&self, id: &Identity, canonical: LogicalPlan, state: &SessionState, as_of: Option<i64>) -> Result<Extent> {
        let key = mix(mix(id.relation, id.content), as_of.unwrap_or(i64::MAX) as u64);
        if !id.uncertain
            && let Some(e) = self.extents.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
        {
            return Ok(*e);
        }
        let columns = canonical.schema().columns().into_iter().map(Expr::Column).collect();
        let mut b = LogicalPlanBuilder::from(canonical);
        if let Some(as_of) = as_of {
            b = b.filter(col("ts_us").lt_eq(lit(as_of)))?;
        }
        let mut figures = vec![count(lit(1)), min(col("ts_us")), max(col("ts_us"))];
        if id.uncertain {
            figures.push(sum(row_hash_of(columns)));
        }
        let batches = run(state, b.aggregate(Vec::<Expr>::new(), figures)?.build()?).await?;
        let at =
            |i: usize| batches.first().map(|b| b.column(i).as_primitive::<Int64Type>()).filter(|a| a.is_valid(0)).map_or(0, |a| a.value(0));
        let checksum = if id.uncertain { at(3) as u64 } else { 0 };
        let extent = Extent { rows: at(0) as u64, min_us: at(1), max_us: at(2), checksum };
        let mut extents = self.extents.lock().unwrap_or_else(PoisonError::into_inner);
        if extents.len() >= MAX_EXTENTS {
            extents.clear();
        }
        extents.insert(key, extent);
        Ok(extent)
    }

    fn batch_hash(&self, batch: &RecordBatch) -> (usize, u64) {
        let address = batch.columns().first().map_or(0, |c| Arc::as_ptr(c).cast::<()>() as usize);
        let mut known = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((b, h)) = known.get(&address)
            && b.num_rows() == batch.num_rows()
            && b.num_columns() == batch.num_columns()
            && b.columns().iter().zip(batch.columns()).all(|(x, y)| Arc::ptr_eq(x, y))
        {
            return (address, *h);
        }
        let hash = batch.columns().iter().fold(batch.num_rows() as u64, |h, c| array_hash(&c.to_data(), h));
        known.insert(address, (batch.clone(), hash));
        (address, hash)
    }

    /// Lets go of batches that the relation no longer holds.
    fn forget_others(&self, seen: &[usize]) {
        let keep: std::collections::HashSet<usize> = seen.iter().copied().collect();
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).retain(|k, _| keep.contains(k));
    }
}

fn array_hash(data: &datafusion::arrow::array::ArrayData, seed: u64) -> u64 {
    let mut h = mix(mix(seed, data.len() as u64), data.offset() as u64);
    for b in data.buffers() {
        h = XxHash3_64::oneshot_with_seed(h, b.as_slice());
    }
    if let Some(n) = data.nulls() {
        h = XxHash3_64::oneshot_with_seed(h, n.validity());
    }
    data.child_data().iter().fold(h, |h, c| array_hash(c, h))
}

/// Hashes of which relation it is and of what it holds.
#[derive(Default)]
struct Identity {
    relation: u64,
    content: u64,
    /// Some source cannot say whether it has changed: its rows are looked at every time.
    uncertain: bool,
    seen_batches: Vec<usize>,
}

impl Identity {
    fn add(&mut self, bytes: &[u8]) {
        self.relation = XxHash3_64::oneshot_with_seed(self.relation, bytes);
    }

    fn add_content(&mut self, bytes: &[u8]) {
        self.content = XxHash3_64::oneshot_with_seed(self.content, bytes);
    }

    async fn plan(&mut self, plan: &LogicalPlan, state: &SessionState, memory: &Fingerprints) -> Result<()> {
        // A view stands in the plan with its own nodes.
        let mut scans = vec![];
        plan.apply_with_subqueries(|p| {
            self.add(p.display().to_string().as_bytes());
            match p {
                LogicalPlan::TableScan(t) => scans.push((t.table_name.clone(), Arc::clone(&t.source))),
                // Shown in part only.
                LogicalPlan::Values(v) => v.values.iter().flatten().for_each(|e| self.add(e.to_string().as_bytes())),
                _ => {}
            }
            p.apply_expressions(|e| {
                self.uncertain |= e.exists(|e| Ok(changes_by_itself(e)))?;
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        for (name, source) in scans {
            let provider = source_as_provider(&source)?;
            if let Some(files) = provider.downcast_ref::<ListingTable>() {
                // The relation is what it is called; the folder its files are in may be moved.
                self.add(format!("{name} {:?}", files.options().format).as_bytes());
                for path in files.table_paths() {
                    for file in list(state, path).await? {
                        let file_name = file.location.filename().unwrap_or_default();
                        let text = format!("{file_name} {} {:?} {:?}", file.size, file.last_modified, file.e_tag);
                        self.add_content(text.as_bytes());
                    }
                }
            } else if let Some(table) = provider.downcast_ref::<MemTable>() {
                self.add(name.to_string().as_bytes());
                for partition in &table.batches {
                    for batch in partition.read().await.iter() {
                        let (address, hash) = memory.batch_hash(batch);
                        self.seen_batches.push(address);
                        self.add_content(&hash.to_le_bytes());
                    }
                }
            } else if let Some(definition) = provider.get_table_definition() {
                self.add(definition.as_bytes());
            } else {
                self.add(name.to_string().as_bytes());
                self.uncertain = true;
            }
        }
        Ok(())
    }
}

/// A function such as now() or random(), whose answer changes while its arguments do not.
fn changes_by_itself(e: &Expr) -> bool {
    matches!(e, Expr::ScalarFunction(f) if f.func.signature().volatility != Volatility::Immutable)
}

/// The files behind a table path, by name.
async fn list(state: &SessionState, path: &datafusion::datasource::listing::ListingTableUrl) -> Result<Vec<ObjectMeta>> {
    let store = state.runtime_env().object_store(path)?;
    if !path.is_collection()
        && let Ok(meta) = store.head(path.prefix()).await
    {
        return Ok(vec![meta]);
    }
    let mut files: Vec<ObjectMeta> = store.list(Some(path.prefix())).try_collect().await?;
    files.retain(|f| path.contains(&f.location, false));
    files.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(files)
}
