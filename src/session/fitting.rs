//! Fitting: options checked, a model fitted and scored on its hold-out, a version written to the store.

use std::collections::BTreeMap;
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
use crate::models::{Allowed, Control, Family, ModelType, OptionSpec, Part, SHARED_OPTIONS};
use crate::store::{Existing, Origin, VersionInfo};
use crate::text::did_you_mean;

/// Length of the part of the log that models are scored on, unless `holdout` says otherwise.
pub const HOLDOUT_DAYS: f64 = 90.0;

/// The checked options of a model.
#[derive(Debug, Clone)]
pub struct ModelOptions {
    pub kind: &'static ModelType,
    values: BTreeMap<&'static str, String>,
}

/// Days of `'90 days'`, `'90'` or `'12 weeks'`.
pub fn days(text: &str) -> Option<f64> {
    let text = text.trim().to_lowercase();
    let (number, unit) = match text.split_once(char::is_whitespace) {
        Some((n, u)) => (n, u.trim()),
        None => (text.as_str(), "days"),
    };
    let each = match unit {
        "day" | "days" => 1.0,
        "week" | "weeks" => 7.0,
        _ => return None,
    };
    number.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| n * each)
}

fn allowed(spec: &OptionSpec) -> String {
    match spec.allowed {
        Allowed::OneOf(values) => crate::text::quoted(values.iter().copied()),
        Allowed::Whole { least, most } if most == u64::MAX => format!("a whole number from {least}"),
        Allowed::Whole { least, most } => format!("a whole number from {least} to {most}"),
        Allowed::Days { least, most } => format!("{least} to {most} days, such as '90 days'"),
        Allowed::Text => "text".into(),
    }
}

fn accepts(spec: &OptionSpec, value: &str) -> bool {
    match spec.allowed {
        Allowed::OneOf(values) => values.contains(&value.to_lowercase().as_str()),
        Allowed::Whole { least, most } => value.parse::<u64>().is_ok_and(|n| (least..=most).contains(&n)),
        Allowed::Days { least, most } => days(value).is_some_and(|d| (least..=most).contains(&d)),
        Allowed::Text => true,
    }
}

impl ModelOptions {
    /// Checks what was given; an unknown option or a value out of range is named, with what is allowed.
    pub fn new(kind: &'static ModelType, given: &[(String, String)]) -> Result<Self> {
        let all: Vec<&'static OptionSpec> = kind.options.iter().chain(SHARED_OPTIONS).collect();
        let mut values = BTreeMap::new();
        for (name, value) in given {
            let Some(spec) = all.iter().find(|s| s.name.eq_ignore_ascii_case(name)) else {
                let names: Vec<&str> = std::iter::once("model_type").chain(all.iter().map(|s| s.name)).collect();
                let hint = did_you_mean(name, names.iter().copied(), "", "");
                return plan_err!("model_type '{}' has no option {name}{hint} Options: {}", kind.name, names.join(", "));
            };
            if !accepts(spec, value) {
                return plan_err!("option {} = '{value}': allowed is {}", spec.name, allowed(spec));
            }
            if values.insert(spec.name, value.clone()).is_some() {
                return plan_err!("option {} is given twice", spec.name);
            }
        }
        for spec in all {
            values.entry(spec.name).or_insert_with(|| spec.default.to_owned());
        }
        Ok(Self { kind, values })
    }

    /// The options of a stored version.
    pub fn of(v: &VersionInfo) -> Result<Self> {
        let kind = super::pin::known_type(&v.model_type)?;
        let given: Vec<(String, String)> = v.options.iter().map(|(k, o)| (k.clone(), o.clone())).collect();
        Self::new(kind, &given)
    }

    pub fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    pub fn holdout_days(&self) -> Option<f64> {
        if self.get("split").eq_ignore_ascii_case("none") { None } else { Some(days(self.get("holdout")).unwrap_or(HOLDOUT_DAYS)) }
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
        let kind = super::pin::known_type(&v.model_type)?;
        let (name, version) = (name.to_owned(), v.version);
        Ok(match kind.family {
            Family::Lifetime => {
                Self::Lifetime(Arc::new(Versioned { name, version, model: Lifetime::from_parts(parts).map_err(fit_error)? }))
            }
            Family::Segment => Self::Segment(Arc::new(Versioned { name, version, model: Rfm::from_parts(parts).map_err(fit_error)? })),
            Family::Recommend => {
                Self::Recommend(Arc::new(Versioned { name, version, model: ItemModel::from_parts(parts).map_err(fit_error)? }))
            }
        })
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
    options: &ModelOptions,
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
        Some(d) if (d - HOLDOUT_DAYS).abs() > 1e-9 && options.kind.family == Family::Lifetime => {
            Some(Arc::new(Customers::read(pin.state(), &snapshot, d).await?))
        }
        _ => None,
    };
    let customers = own.unwrap_or(customers);
    let interactions = if options.kind.family == Family::Recommend { Some(pin.interactions().await?) } else { None };
    let (o, s, c) = (options.clone(), Arc::clone(&snapshot), control.clone());
    let outcome = blocking(move || {
        let fitted = match (o.kind.family, interactions) {
            (Family::Recommend, Some(i)) => families::recommend(&i, &o, &c),
            (Family::Segment, _) => families::segment(&customers),
            _ => families::lifetime(&s, &customers, &o, &c),
        };
        fitted.map_err(fit_error)
    })
    .await?;
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

fn version_info(snapshot: &Snapshot, options: &ModelOptions, o: Outcome, started: Instant) -> (VersionInfo, Vec<Part>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64);
    let figure = |prefix: &str| o.metric.and_then(|m| o.metrics.get(&format!("{prefix}{m}")).copied());
    let info = VersionInfo {
        version: 0,
        model_type: options.kind.name.to_owned(),
        family: options.kind.family.name().to_owned(),
        target: options.kind.family.target().to_owned(),
        horizon_days: o.horizon_days,
        options: options.values.iter().filter(|(k, _)| **k != "comment").map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
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
