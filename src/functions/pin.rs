//! What a function is bound to: one snapshot of the events and one version of each model, the same for a whole query.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;

use tokio::sync::OnceCell;

use crate::config::TenureConfig;
use crate::events::Snapshot;
use crate::features::{Activity, Categories, Customers, Frame, Interactions, OrderBaskets, UserCovariates};
use crate::models::Control;
use crate::models::lifetime::{Calendar, Lifetime};
use crate::models::recommend::ItemModel;
use crate::models::segment::Rfm;
use crate::models::supervised::Supervised;
use crate::store::Store;

/// A model as the store knows it.
#[derive(Debug)]
pub struct Versioned<M> {
    pub name: String,
    pub version: u32,
    pub model: M,
}

/// Shares of the amount by customer code, or one for all.
#[derive(Debug, PartialEq)]
pub enum Margins {
    All(f64),
    ByCode(Vec<f64>),
}

impl Margins {
    pub fn of(&self, code: u32) -> f64 {
        match self {
            Self::All(margin) => *margin,
            Self::ByCode(margins) => margins[code as usize],
        }
    }
}

/// One hold-out of a backtest. Arrays have one entry a customer.
#[derive(Debug)]
pub struct Backtested {
    pub from_us: i64,
    pub to_us: i64,
    /// Customers it is judged on.
    pub users: u64,
    /// Repeat purchase days before the hold-out; expected and actual ones in it; empty for a recommender.
    pub x: Vec<u32>,
    pub expected: Vec<f64>,
    pub actual: Vec<f64>,
    /// Figures by name.
    pub scores: BTreeMap<String, f64>,
}

/// A figure of a model on its hold-out.
#[derive(Debug)]
pub struct Measured {
    pub metric: String,
    pub value: Option<f64>,
    /// Where the figure lies with 95 % confidence.
    pub interval: Option<(f64, f64)>,
    pub baseline: Option<f64>,
    /// Customers it is of.
    pub users: u64,
}

/// What one query has worked out already, by key: several of its calls may need it.
#[derive(Default)]
pub struct Memo(Mutex<HashMap<String, Arc<OnceCell<Anything>>>>);

type Anything = Arc<dyn Any + Send + Sync>;

impl Memo {
    /// What `make` gives, which is asked once for a key; a key has one type.
    pub async fn get<T: Send + Sync + 'static>(&self, key: String, make: impl Future<Output = Result<T>> + Send) -> Result<Arc<T>> {
        let cell = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
        let held = cell.get_or_try_init(|| async { Ok::<_, DataFusionError>(Arc::new(make.await?) as Anything) }).await?;
        Arc::clone(held).downcast().or_else(|_| internal_err!("one key for two types"))
    }
}

/// One query's view of the world. Whatever has to be read or fitted for it is, on first use.
#[async_trait]
pub trait Pin: Send + Sync {
    fn config(&self) -> &TenureConfig;
    fn state(&self) -> &SessionState;
    fn store(&self) -> &Store;
    fn memo(&self) -> &Memo;
    /// The rows of a query that stands in a call, run once for a whole query.
    async fn query(&self, sql: &str) -> Result<Arc<RecordBatch>>;
    async fn snapshot(&self) -> Result<Arc<Snapshot>>;
    async fn customers(&self) -> Result<Arc<Customers>>;
    async fn interactions(&self) -> Result<Arc<Interactions>>;
    /// The orders as baskets of items.
    async fn baskets(&self) -> Result<Arc<OrderBaskets>>;
    /// The categories of items, where the relation `items` has them, and a number for what they are.
    async fn categories(&self) -> Result<Arc<(Option<Categories>, u64)>>;
    async fn activity(&self) -> Result<Arc<Activity>>;
    /// The supervised model of that name.
    async fn supervised(&self, model: &str) -> Result<Arc<Versioned<Supervised>>>;
    /// The supervised model that foretells no purchase within so many days: the auto model of that window.
    async fn churn(&self, days: u32) -> Result<Arc<Versioned<Supervised>>>;
    /// The features of a window model, of the customers it speaks of, as of now.
    async fn frame(&self, model: &Versioned<Supervised>) -> Result<Arc<Frame>>;
    /// The model of that name, or the auto model.
    async fn lifetime(&self, model: Option<&str>) -> Result<Arc<Versioned<Lifetime>>>;
    /// Columns of `users` ('column, column') as numbers; `wanted` are the names that a fitted model has.
    async fn covariates(&self, names: &str, wanted: Option<&[String]>) -> Result<UserCovariates>;
    /// Columns of `calendar` ('column, column'), one row a day.
    async fn calendar(&self, names: &str) -> Result<Calendar>;
    /// What share of a customer's amounts is contribution.
    async fn margins(&self) -> Result<Arc<Margins>>;
    /// A lifetime model (or the auto model), fitted anew before each of up to `folds` hold-outs of `holdout_days` (the model's own without), latest first.
    async fn backtest(&self, model: Option<&str>, folds: usize, holdout_days: Option<f64>) -> Result<Vec<Backtested>>;
    /// The same of a supervised model of a window.
    async fn backtest_supervised(&self, model: &str, folds: usize) -> Result<Vec<Backtested>>;
    /// The same of a recommender.
    async fn backtest_recommender(&self, model: Option<&str>, folds: usize, holdout_days: Option<f64>) -> Result<Vec<Backtested>>;
    /// The figures of a model: those of a recommender on lists of `k` for held-out items, now; else those that the active version was stored with.
    async fn evaluate(&self, model: &str, k: usize) -> Result<Vec<Measured>>;
    async fn rfm(&self, model: Option<&str>) -> Result<Arc<Versioned<Rfm>>>;
    async fn recommender(&self, model: Option<&str>) -> Result<Arc<Versioned<ItemModel>>>;
    /// Whether each version of a model still fits the events: `None`, or why it is stale.
    async fn stale_reason(&self, model: &str, version: u32) -> Result<Option<String>>;
}

/// The types of the keys in `events`, as far as they are known when a statement is planned.
pub trait KeyTypes: Send + Sync + fmt::Debug {
    fn user_type(&self) -> DataType;
    fn item_type(&self) -> DataType;
}

/// Runs CPU-bound work away from the threads that serve queries; it is cancelled when whoever waits for it has gone.
pub async fn blocking<T: Send + 'static>(control: Control, work: impl FnOnce(&Control) -> Result<T> + Send + 'static) -> Result<T> {
    struct CancelOnDrop(Control);
    impl Drop for CancelOnDrop {
        fn drop(&mut self) {
            self.0.cancel();
        }
    }
    // One of its own: cancelling this work is not cancelling what comes after it.
    let control = control.child();
    let _guard = CancelOnDrop(control.clone());
    match tokio::task::spawn_blocking(move || work(&control)).await {
        Ok(out) => out,
        Err(e) => Err(datafusion::error::DataFusionError::External(Box::new(e))),
    }
}
