//! What the queries of a context share: the store, what has been read of the events, and the models that are loaded.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, TableReference};
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use futures::FutureExt;
use tokio::sync::OnceCell;

use super::binding::refuse_calls;
use super::fitting::Fitted;
use super::pin::QueryPin;
use crate::config::TenureConfig;
use crate::events::{Contract, Fingerprints, Snapshot};
use crate::features::{Activity, Customers, Interactions, OrderBaskets};
use crate::functions::{Bound, KeyTypes, Pin, PinSource};
use crate::models::OnProgress;
use crate::store::Store;

/// Finds the contract of the events as they are registered now, without reading them.
type FindContract = Box<dyn Fn() -> Option<Contract> + Send + Sync>;

/// What has been read of one snapshot.
pub struct SnapshotData {
    pub snapshot: Arc<Snapshot>,
    pub customers: OnceCell<Arc<Customers>>,
    pub interactions: OnceCell<Arc<Interactions>>,
    pub baskets: OnceCell<Arc<OrderBaskets>>,
    /// By what items are: their categories may change without the events.
    activity: Mutex<(u64, Arc<OnceCell<Arc<Activity>>>)>,
    /// Bound functions by call and model version.
    pub bound: Mutex<HashMap<String, Arc<Bound>>>,
}

/// Snapshots, and loaded models, kept at most.
const MAX_SNAPSHOTS: usize = 4;
const MAX_LOADED: usize = 32;
/// Bound functions kept for one snapshot.
const MAX_BOUND: usize = 64;

/// Shared by all queries of a context, and by its clones.
pub struct Engine {
    pub store: Store,
    pub fingerprints: Fingerprints,
    pub progress: Option<OnProgress>,
    /// One fit at a time: a second query that needs the same model waits for it.
    pub fitting: tokio::sync::Mutex<()>,
    contract: OnceLock<FindContract>,
    snapshots: Mutex<VecDeque<(String, Arc<SnapshotData>)>>,
    loaded: Mutex<VecDeque<(String, Fitted)>>,
    /// What the user has to be told, and what has been told.
    told: Mutex<HashSet<String>>,
    warnings: Mutex<Vec<String>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}

fn locked<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    pub fn new(store: Store, progress: Option<OnProgress>) -> Self {
        Self {
            store,
            fingerprints: Fingerprints::default(),
            progress,
            fitting: tokio::sync::Mutex::default(),
            contract: OnceLock::new(),
            snapshots: Mutex::default(),
            loaded: Mutex::default(),
            told: Mutex::default(),
            warnings: Mutex::default(),
        }
    }

    /// Tells the engine how to find the types of keys in the context it serves.
    pub fn find_contract_by(&self, find: impl Fn() -> Option<Contract> + Send + Sync + 'static) {
        let _ = self.contract.set(Box::new(find));
    }

    pub fn report(&self, stage: &str, fraction: f64) {
        if let Some(progress) = &self.progress {
            progress(stage, fraction);
        }
    }

    /// A word for the user, once in a session.
    pub fn warn(&self, message: String) {
        if locked(&self.told).insert(message.clone()) {
            locked(&self.warnings).push(message);
        }
    }

    /// What [`Engine::warn`] was told since the last call.
    pub fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.warnings))
    }

    /// Takes a snapshot of the events as they are now; what was read of an equal one before is found again.
    pub async fn snapshot(&self, state: &SessionState, config: &TenureConfig) -> Result<Arc<SnapshotData>> {
        let (_, events) = Snapshot::source(state, config.events()).await?;
        refuse_calls(&events, config.events())?;
        let snapshot = Snapshot::take(state, config, &self.fingerprints).await?;
        let key = format!("{} {}", snapshot.fingerprint(), snapshot.as_of_is_set);
        let mut known = locked(&self.snapshots);
        if let Some((_, data)) = known.iter().find(|(k, _)| *k == key) {
            return Ok(Arc::clone(data));
        }
        let data = SnapshotData {
            snapshot: Arc::new(snapshot),
            customers: OnceCell::new(),
            interactions: OnceCell::new(),
            baskets: OnceCell::new(),
            activity: Mutex::default(),
            bound: Mutex::default(),
        };
        let data = Arc::new(data);
        known.push_front((key, Arc::clone(&data)));
        known.truncate(MAX_SNAPSHOTS);
        Ok(data)
    }

    /// Lets go of everything that was read of other snapshots.
    pub fn forget_others(&self, data: &Arc<SnapshotData>) {
        locked(&self.snapshots).retain(|(_, d)| Arc::ptr_eq(d, data));
    }

    /// A model version that is in memory.
    pub fn loaded(&self, key: &str) -> Option<Fitted> {
        locked(&self.loaded).iter().find(|(k, _)| k == key).map(|(_, f)| f.clone())
    }

    pub fn keep(&self, key: String, fitted: Fitted) {
        let mut loaded = locked(&self.loaded);
        loaded.retain(|(k, _)| *k != key);
        loaded.push_front((key, fitted));
        loaded.truncate(MAX_LOADED);
    }

    /// The value of a constant expression.
    pub fn fold(&self, e: Expr) -> Result<Option<ScalarValue>> {
        match ExprSimplifier::new(SimplifyContext::default()).simplify(e)? {
            Expr::Literal(v, _) => Ok(Some(v)),
            _ => Ok(None),
        }
    }

    fn contract(&self) -> Option<Contract> {
        self.contract.get().and_then(|find| find())
    }
}

/// The contract of the events of a state, if their table can be had at once.
pub fn contract_of(state: &SessionState) -> Option<Contract> {
    let config = state.config_options().extensions.get::<TenureConfig>().cloned().unwrap_or_default();
    let reference = TableReference::from(config.events());
    let schema = state.schema_for_ref(reference.clone()).ok()?;
    let table = schema.table(reference.table()).now_or_never()?.ok()??;
    Contract::resolve(config.events(), &table.schema()).ok()
}

impl SnapshotData {
    /// Where activity is kept that was read with these categories.
    pub fn activity(&self, categories: u64) -> Arc<OnceCell<Arc<Activity>>> {
        let mut held = locked(&self.activity);
        if held.0 != categories {
            *held = (categories, Arc::default());
        }
        Arc::clone(&held.1)
    }

    /// The bound function under that key, if it has been bound before.
    pub fn known(&self, key: &str) -> Option<Arc<Bound>> {
        locked(&self.bound).get(key).cloned()
    }

    pub fn remember(&self, key: String, bound: Arc<Bound>) {
        let mut known = locked(&self.bound);
        if known.len() >= MAX_BOUND {
            known.clear();
        }
        known.insert(key, bound);
    }
}

impl KeyTypes for Engine {
    fn user_type(&self) -> DataType {
        self.contract().map_or(DataType::Utf8, |c| c.user_type)
    }

    fn item_type(&self) -> DataType {
        self.contract().and_then(|c| c.item_type).unwrap_or(DataType::Utf8)
    }
}

impl PinSource for Engine {
    fn pin(self: Arc<Self>, state: &SessionState) -> Arc<dyn Pin> {
        Arc::new(QueryPin::new(self, state.clone()))
    }
}
