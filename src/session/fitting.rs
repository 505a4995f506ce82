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
use crate::store::{Existing, Origin, StoreError, VersionInfo};
use crate::text::did_you_mean;

/// Checks what was given WITH (...).
pub fn options(kind: &'static ModelType, given: &[(String, String)]) -> Result<Options> {
    Options::new(kind, given).or_else(|m| plan_err!("{m}"))
}

/// The options of a stored version.
pub fn options_of(v: &VersionInfo) -> Result<Options> {
    let comment = v.comment.iter().map(|c| ("comment".to_owned(), c.clone()));
    let given: Vec<(String, String)> = v.options.iter().map(|(k, o)| (k.clone(), o.clone())).chain(comment).collect();
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
    /// The tables of an auto model that could not be kept, because another process was writing.
    pub unsaved: Option<Vec<Part>>,
}

/// Fits a model on the pinned snapshot and writes a version of it. Of several `candidates` of one family the one that scores best on
/// the hold-out is taken, the first of equals.
///
/// `existing` is how a user's statement meets a model of that name; without it the version is appended and made active.
pub async fn create(
    pin: &dyn Pin,
    engine: &Engine,
    name: &str,
    origin: Origin,
    candidates: Vec<Options>,
    existing: Option<Existing>,
) -> Result<Created> {
    let started = Instant::now();
    let control = engine.progress.clone().map(Control::reporting).unwrap_or_default();
    let snapshot = pin.snapshot().await?;
    let customers = pin.customers().await?;
    engine.report(&format!("fitting {name}"), 0.0);
    let mut fitted = vec![];
    for options in candidates {
        let own = match options.holdout_days() {
            // Another hold-out than the one every snapshot is read with needs another reading.
            Some(d) if (d - HOLDOUT_DAYS).abs() > 1e-9 && options.kind.family() == Family::Lifetime => {
                Arc::new(Customers::read(pin.state(), &snapshot, d).await?)
            }
            _ => Arc::clone(&customers),
        };
        let interactions = if options.kind.family() == Family::Recommend { Some(pin.interactions().await?) } else { None };
        let (o, s) = (options.clone(), Arc::clone(&snapshot));
        let fit = move |c: &Control| families::fit(&s, &own, interactions.as_deref(), &o, c).map_err(fit_error);
        let outcome = blocking(control.clone(), fit).await?;
        fitted.push((options, outcome));
    }
    let (options, outcome) = best(fitted)?;
    let append = existing.is_none_or(|e| e == Existing::Append);
    let (info, parts) = version_info(&snapshot, &options, outcome, started);
    // A look at the past does not change what an auto model is today.
    let past = origin == Origin::Auto && snapshot.as_of_is_set;
    let activate = !append || (better(engine, name, &info, origin) && !past);
    let saved = engine.store.add_version(name, origin, info.clone(), &parts, activate, existing.unwrap_or(Existing::Append));
    engine.report(&format!("fitting {name}"), 1.0);
    match saved {
        Ok(info) => Ok(Created { info, activated: activate, unsaved: None }),
        // Nobody asked for it to be kept: the answer does not depend on a disk that is full, read-only or in use.
        Err(e @ (StoreError::Locked { .. } | StoreError::Io { .. })) if origin == Origin::Auto => {
            engine.warn(format!("{name} is not kept: {e}"));
            Ok(Created { info, activated: false, unsaved: Some(parts) })
        }
        Err(e) => Err(DataFusionError::External(Box::new(e))),
    }
}

/// The one that scores best, with a word on the others.
fn best(mut fitted: Vec<(Options, Outcome)>) -> Result<(Options, Outcome)> {
    let mut at = 0;
    for i in 1..fitted.len() {
        if let (Some(metric), Some(a), Some(b)) = (fitted[i].1.metric, fitted[i].1.value(), fitted[at].1.value())
            && beats(metric, a, b)
        {
            at = i;
        }
    }
    if fitted.is_empty() {
        return plan_err!("there is no model type for this");
    }
    let (options, mut outcome) = fitted.remove(at);
    if let (Some(metric), Some(value)) = (outcome.metric, outcome.value()) {
        let figure = |(o, other): &(Options, Outcome)| Some(format!("{} {:.4}", o.kind.name, other.value()?));
        let others: Vec<String> = fitted.iter().filter_map(figure).collect();
        if at > 0 {
            outcome.warnings.push(format!("{} was chosen by its {metric} of {value:.4}; others: {}", options.kind.name, others.join(", ")));
        }
    }
    Ok((options, outcome))
}

/// Whether the figure `a` of a metric is better than `b`.
fn beats(metric: &str, a: f64, b: f64) -> bool {
    if lower_is_better(metric) { a < b } else { a > b }
}

/// A refreshed model is used only if its hold-out metric is not worse than the active version's; auto models always are. Hold-outs of
/// other times are easier or harder, so each metric is taken relative to its own baseline.
fn better(engine: &Engine, name: &str, new: &VersionInfo, origin: Origin) -> bool {
    let Some(record) = engine.store.model(name) else { return true };
    let Some(old) = record.active_version() else { return true };
    let relative = |v: &VersionInfo| Some(v.value? / v.baseline_value.filter(|b| *b > 0.0)?);
    match (origin, &new.metric, &old.metric, relative(new), relative(old)) {
        (Origin::User, Some(a), Some(b), Some(new), Some(old)) if a == b => !beats(a, old, new),
        (Origin::User, None, Some(_), ..) => false,
        _ => true,
    }
}

fn lower_is_better(metric: &str) -> bool {
    matches!(metric, "rmse" | "mae" | "log_loss")
}

fn version_info(snapshot: &Snapshot, options: &Options, mut o: Outcome, started: Instant) -> (VersionInfo, Vec<Part>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64);
    let (value, baseline_value) = (o.value(), o.baseline());
    if let (Some(metric), Some(v), Some(b)) = (o.metric, value, baseline_value)
        && beats(metric, b, v)
    {
        o.warnings.push(format!("scores worse than its baseline: {metric} {v:.4} against {b:.4}"));
    }
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
        value,
        baseline_value,
        seconds: started.elapsed().as_secs_f64(),
        warnings: o.warnings,
        comment: Some(options.get("comment").to_owned()).filter(|c| !c.is_empty()),
        size_bytes: 0,
        metrics: o.metrics,
        parameters: o.parameters,
    };
    (info, o.parts)
}
