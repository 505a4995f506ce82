//! Fitting: options checked, a model fitted and scored on its hold-out, a version written to the store.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use datafusion::common::{Result, plan_err};
use datafusion::error::DataFusionError;

use super::engine::Engine;
use super::families::{self, Outcome};
use crate::events::Snapshot;
use crate::features::Customers;
use crate::functions::{Pin, Versioned, blocking, fit_error};
use crate::models::lifetime::Lifetime;
use crate::models::recommend::ItemModel;
use crate::models::segment::Rfm;
use crate::models::{Control, Family, HOLDOUT_DAYS, MODEL_TYPES, Make, ModelType, Options, Part};
use crate::store::{Existing, Origin, VersionInfo};
use crate::text::did_you_mean;

/// Checks what was given WITH (...).
pub fn options(kind: &'static ModelType, given: &[(String, String)]) -> Result<Options> {
    Options::new(kind, given).or_else(|m| plan_err!("{m}"))
}

/// The options of a stored version.
pub fn options_of(v: &VersionInfo) -> Result<Options> {
    let given: Vec<(String, String)> = v.options.iter().map(|(k, o)| (k.clone(), o.clone())).collect();
    options(known_type(&v.model_type)?, &given)
}

/// The model type of that name; `auto` is the first.
pub fn known_type(name: &str) -> Result<&'static ModelType> {
    if name.eq_ignore_ascii_case("auto") {
        return Ok(MODEL_TYPES[0]);
    }
    match ModelType::of(name) {
        Some(t) => Ok(t),
        None => {
            let names: Vec<&str> = MODEL_TYPES.iter().map(|t| t.name).collect();
            let hint = did_you_mean(name, names.iter().copied(), "'", "'");
            plan_err!("unknown model_type '{name}'{hint} Allowed: auto, {}", names.join(", "))
        }
    }
}

/// A fitted model in memory.
#[derive(Debug, Clone)]
pub enum Fitted {
    Lifetime(Arc<Versioned<Lifetime>>),
    Segment(Arc<Versioned<Rfm>>),
    Recommend(Arc<Versioned<ItemModel>>),
}

impl Fitted {
    pub fn from_parts(name: &str, v: &VersionInfo, parts: &[Part]) -> Result<Self> {
        let (name, version) = (name.to_owned(), v.version);
        let fitted = match known_type(&v.model_type)?.make {
            Make::Purchases { read, .. } => {
                Lifetime::from_parts(parts, read).map(|model| Self::Lifetime(Arc::new(Versioned { name, version, model })))
            }
            Make::Rfm => Rfm::from_parts(parts).map(|model| Self::Segment(Arc::new(Versioned { name, version, model }))),
            Make::Recommender { read, .. } => {
                ItemModel::from_parts(parts, read).map(|model| Self::Recommend(Arc::new(Versioned { name, version, model })))
            }
        };
        fitted.map_err(fit_error)
    }

    /// The error of a model that stands where another family is needed.
    pub fn wrong<T>(&self, wanted: &str) -> Result<T> {
        let name = match self {
            Self::Lifetime(m) => &m.name,
            Self::Segment(m) => &m.name,
            Self::Recommend(m) => &m.name,
        };
        plan_err!("model '{name}' is not a {wanted} model")
    }
}

/// How a new version meets an existing model: `None` makes or appends an auto model.
pub struct Created {
    pub info: VersionInfo,
    /// Whether functions now use the new version.
    pub activated: bool,
}

/// Cancels the fit when the query that asked for it is dropped.
struct CancelOnDrop(Control);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Fits a model on the pinned snapshot and writes a version of it.
///
/// `existing` is how a user's statement meets a model of that name; without it the version is appended and made active.
pub async fn create(
    pin: &dyn Pin,
    engine: &Engine,
    name: &str,
    origin: Origin,
    options: &Options,
    existing: Option<Existing>,
) -> Result<Created> {
    let started = Instant::now();
    let control = engine.progress.clone().map(Control::reporting).unwrap_or_default();
    let guard = CancelOnDrop(control.clone());
    let snapshot = pin.snapshot().await?;
    let customers = pin.customers().await?;
    engine.report(&format!("fitting {name}"), 0.0);
    let own = match options.holdout_days() {
        // Another hold-out than the one every snapshot is read with needs another reading.
        Some(d) if (d - HOLDOUT_DAYS).abs() > 1e-9 && options.kind.family() == Family::Lifetime => {
            Some(Arc::new(Customers::read(pin.state(), &snapshot, d).await?))
        }
        _ => None,
    };
    let customers = own.unwrap_or(customers);
    let interactions = if options.kind.family() == Family::Recommend { Some(pin.interactions().await?) } else { None };
    let (o, s, c) = (options.clone(), Arc::clone(&snapshot), control.clone());
    let outcome = blocking(move || families::fit(&s, &customers, interactions.as_deref(), &o, &c).map_err(fit_error)).await?;
    drop(guard);
    let append = existing.is_none_or(|e| e == Existing::Append);
    let (info, parts) = version_info(&snapshot, options, outcome, started);
    let activate = !append || better(engine, name, &info, origin);
    let info = engine
        .store
        .add_version(name, origin, info, &parts, activate, existing.unwrap_or(Existing::Append))
        .map_err(|e| DataFusionError::External(Box::new(e)))?;
    engine.report(&format!("fitting {name}"), 1.0);
    Ok(Created { info, activated: activate })
}

/// A refreshed model is used only if its hold-out metric is not worse than the active version's; auto models always are.
fn better(engine: &Engine, name: &str, new: &VersionInfo, origin: Origin) -> bool {
    let Some(record) = engine.store.model(name) else { return true };
    let Some(old) = record.versions.iter().find(|v| v.version == record.active) else { return true };
    match (origin, &new.metric, &old.metric, new.value, old.value) {
        (Origin::Auto, ..) => true,
        (_, Some(a), Some(b), Some(new), Some(old)) if a == b => {
            if lower_is_better(a) {
                new <= old
            } else {
                new >= old
            }
        }
        _ => true,
    }
}

fn lower_is_better(metric: &str) -> bool {
    matches!(metric, "rmse" | "mae" | "log_loss")
}

fn version_info(snapshot: &Snapshot, options: &Options, o: Outcome, started: Instant) -> (VersionInfo, Vec<Part>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64);
    let figure = |prefix: &str| o.metric.and_then(|m| o.metrics.get(&format!("{prefix}{m}")).copied());
    let info = VersionInfo {
        version: 0,
        model_type: options.kind.name.to_owned(),
        family: options.kind.family().name().to_owned(),
        target: options.kind.family().target().to_owned(),
        horizon_days: o.horizon_days,
        options: options.all().filter(|(k, _)| *k != "comment").map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        created_at_us: now,
        as_of_us: snapshot.as_of_us,
        data_rows: snapshot.rows,
        data_fingerprint: snapshot.fingerprint(),
        users: o.users,
        train_from_us: snapshot.min_us,
        train_to_us: snapshot.as_of_us,
        eval_from_us: o.eval_from_us,
        eval_to_us: o.eval_from_us.map(|_| snapshot.as_of_us),
        metric: o.metric.map(str::to_owned).filter(|m| o.metrics.contains_key(m)),
        value: figure(""),
        baseline_value: figure("baseline_"),
        seconds: started.elapsed().as_secs_f64(),
        warnings: o.warnings,
        comment: Some(options.get("comment").to_owned()).filter(|c| !c.is_empty()),
        size_bytes: 0,
        metrics: o.metrics,
        parameters: o.parameters,
    };
    (info, o.parts)
}
