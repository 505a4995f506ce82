//! Fitting: options checked, a model fitted and scored on its hold-out, a version written to the store.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use datafusion::common::{Result, plan_err};
use datafusion::error::DataFusionError;

use super::engine::Engine;
use super::families::{self, Outcome};
use super::lifetime::Study;
use super::pin::QueryPin;
use super::supervised;
use crate::events::Snapshot;
use crate::features::Context;
use crate::functions::{Pin, Versioned, blocking, fit_error};
use crate::models::lifetime::Lifetime;
use crate::models::recommend::{ItemModel, POPULARITY};
use crate::models::segment::Rfm;
use crate::models::supervised::{Definition, LOGISTIC_REG, Supervised};
use crate::models::{Control, Family, MODEL_TYPES, Make, ModelError, ModelType, Options, Part};
use crate::store::{Existing, Origin, StoreError, Trial, VersionInfo};
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

/// The model type of that name.
pub fn known_type(name: &str) -> Result<&'static ModelType> {
    match ModelType::of(name) {
        Some(t) => Ok(t),
        None => {
            let names: Vec<&str> = MODEL_TYPES.iter().map(|t| t.name).collect();
            let hint = did_you_mean(name, names.iter().copied(), "'", "'");
            plan_err!("unknown model_type '{name}'{hint} Allowed: auto, {}", names.join(", "))
        }
    }
}

/// The types that play for `auto` in a family, with the options given; those that do not take them are left out, unless none does.
pub fn auto_candidates(family: Family, given: &[(String, String)]) -> Result<Vec<Options>> {
    if family == Family::Recommend {
        // Types and their options are chosen; what may be given is what any type takes.
        Options::new(&POPULARITY, given).or_else(|m| plan_err!("model_type = 'auto' chooses the options of the type: {m}"))?;
    }
    let types: Vec<&'static ModelType> = MODEL_TYPES.iter().copied().filter(|t| t.family() == family && t.in_auto).collect();
    let mut fitting: Vec<Options> = types.iter().filter_map(|t| Options::new(t, given).ok()).collect();
    if family == Family::Supervised {
        // A stronger penalty plays as well.
        let stronger: Vec<(String, String)> = given.iter().cloned().chain([("l2_reg".into(), "30".into())]).collect();
        fitting.extend(Options::new(&LOGISTIC_REG, &stronger).ok());
    }
    match (fitting.is_empty(), types.first()) {
        (true, Some(first)) => options(first, given).map(|o| vec![o]),
        _ => Ok(fitting),
    }
}

/// A fitted model in memory.
#[derive(Debug, Clone)]
pub enum Fitted {
    Lifetime(Arc<Versioned<Lifetime>>),
    Segment(Arc<Versioned<Rfm>>),
    Recommend(Arc<Versioned<ItemModel>>),
    Supervised(Arc<Versioned<Supervised>>),
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
            Make::Supervised { read, .. } => {
                Supervised::from_parts(parts, read).map(|model| Self::Supervised(Arc::new(Versioned { name, version, model })))
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
            Self::Supervised(m) => &m.name,
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
/// hold-outs is taken, the first of equals.
///
/// `existing` is how a user's statement meets a model of that name; without it the version is appended and made active. `definition` is what a supervised model
/// predicts.
pub async fn create(
    pin: &QueryPin,
    engine: &Engine,
    name: &str,
    origin: Origin,
    candidates: Vec<Options>,
    definition: Option<Definition>,
    existing: Option<Existing>,
) -> Result<Created> {
    let started = Instant::now();
    let control = engine.progress.clone().map(Control::reporting).unwrap_or_default();
    engine.report(&format!("fitting {name}"), 0.0);
    let (source, target, (options, outcome)) = match definition {
        Some(definition) => {
            let target = definition.target();
            let (source, fitted) = match definition {
                Definition::Window { .. } => {
                    (Source::of(pin.snapshot().await?.as_ref()), supervised::fit_window(pin, definition, candidates, &control).await?)
                }
                Definition::Query { .. } => supervised::fit_query(pin, definition, candidates, &control).await?,
            };
            (source, target, fitted)
        }
        None => {
            let fitted = from_events(pin, engine, name, candidates, existing, &control).await?;
            (Source::of(pin.snapshot().await?.as_ref()), fitted.0.kind.family().target().to_owned(), fitted)
        }
    };
    let append = existing.is_none_or(|e| e == Existing::Append);
    let (info, parts) = version_info(&source, target, &options, outcome, started);
    // A look at the past does not change what an auto model is today.
    let past = origin == Origin::Auto && source.as_of_is_set;
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

/// What a version was made from.
pub struct Source {
    pub rows: u64,
    pub fingerprint: String,
    pub as_of_us: i64,
    pub as_of_is_set: bool,
    /// Of the rows it learned from; `None` where they have no time.
    pub span_us: Option<(i64, i64)>,
}

impl Source {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            rows: snapshot.rows,
            fingerprint: snapshot.fingerprint(),
            as_of_us: snapshot.as_of_us,
            as_of_is_set: snapshot.as_of_is_set,
            span_us: Some((snapshot.min_us, snapshot.as_of_us)),
        }
    }
}

/// A model of what the events hold.
async fn from_events(
    pin: &QueryPin,
    engine: &Engine,
    name: &str,
    candidates: Vec<Options>,
    existing: Option<Existing>,
    control: &Control,
) -> Result<(Options, Outcome)> {
    let snapshot = pin.snapshot().await?;
    let customers = pin.customers().await?;
    let Some(first) = candidates.first() else { return plan_err!("there is no model type for this") };
    let family = first.kind.family();
    let interactions = if family == Family::Recommend { Some(pin.interactions().await?) } else { None };
    let context = context(pin, first).await?;
    // A version of the same type is a good place to start from.
    let last = engine.store.model(name).and_then(|m| m.active_version().cloned());
    let start = move |options: &Options| {
        let last = last.as_ref().filter(|v| v.model_type == options.kind.name && existing != Some(Existing::Replace))?;
        Some(last.parameters.iter().map(|(_, v)| *v).collect::<Vec<f64>>())
    };
    let shared = Arc::clone(&snapshot);
    let fit = move |control: &Control| {
        let study = Study { snapshot: &shared, customers: &customers, context: &context, control };
        if let (Some(interactions), true) = (interactions.as_deref(), candidates.len() > 1) {
            return families::auto_recommend(interactions, &candidates[0], shared.as_of_us, control).map_err(fit_error);
        }
        let one = |options: &Options| families::fit(&study, interactions.as_deref(), options, start(options).as_deref());
        if family == Family::Lifetime && candidates.len() > 1 {
            let (order, mut trials) = study.tournament(&candidates).map_err(fit_error)?;
            let mut failed = None;
            for options in order.into_iter().map(|at| candidates[at].clone()) {
                let mut outcome = match one(&options) {
                    // What won on a part of the customers may not fit all of them.
                    Err(e @ (ModelError::NotConverged { .. } | ModelError::TooLittleData(_))) => {
                        failed = failed.or(Some(e));
                        continue;
                    }
                    fitted => fitted.map_err(fit_error)?,
                };
                trials.iter_mut().for_each(|t| t.chosen = t.model_type == options.kind.name);
                outcome.warnings.extend(chosen(&options, &trials));
                outcome.trials = trials;
                return Ok((options, outcome));
            }
            return Err(fit_error(failed.unwrap_or_else(|| ModelError::TooLittleData("no type plays for this model".into()))));
        }
        Ok((candidates[0].clone(), one(&candidates[0]).map_err(fit_error)?))
    };
    blocking(control.clone(), fit).await
}

/// What a model with these options is fitted to besides the purchases.
pub async fn context(pin: &dyn Pin, options: &Options) -> Result<Context> {
    let mut out = Context::default();
    if !options.get("covariates").is_empty() {
        out.users = Some(pin.covariates(options.get("covariates"), None).await?);
    }
    if !options.get("calendar").is_empty() {
        out.calendar = Some(pin.calendar(options.get("calendar")).await?);
    }
    Ok(out)
}

/// What the tournament says of its choice, where it is not the first type or there is nothing to say.
fn chosen(options: &Options, trials: &[Trial]) -> Option<String> {
    let mean = |kind: &str| {
        let values: Option<Vec<f64>> = trials.iter().filter(|t| t.model_type == kind).map(|t| t.value).collect();
        values.filter(|v| !v.is_empty()).map(|v| v.iter().sum::<f64>() / v.len() as f64)
    };
    let mut kinds: Vec<&str> = trials.iter().map(|t| t.model_type.as_str()).collect();
    kinds.dedup();
    let winner = mean(options.kind.name)?;
    let others: Vec<String> =
        kinds.iter().filter(|k| **k != options.kind.name).filter_map(|k| Some(format!("{k} {:.4}", mean(k)?))).collect();
    Some(format!(
        "{} was chosen by its mean log-loss of {winner:.4} on rolling hold-outs; others: {}",
        options.kind.name,
        others.join(", ")
    ))
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

/// Now, µs since 1970.
pub fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64)
}

fn version_info(source: &Source, target: String, options: &Options, mut o: Outcome, started: Instant) -> (VersionInfo, Vec<Part>) {
    let (value, baseline_value) = (o.value(), o.baseline());
    if let (Some(metric), Some(v), Some(b)) = (o.metric, value, baseline_value)
        && beats(metric, b, v)
        && (v - b).abs() > 1e-4 * b.abs()
    {
        o.warnings.push(format!("scores worse than its baseline: {metric} {v:.4} against {b:.4}"));
    }
    let info = VersionInfo {
        version: 0,
        model_type: options.kind.name.to_owned(),
        family: options.kind.family().name().to_owned(),
        target,
        horizon_days: o.horizon_days,
        options: options.all().filter(|(k, _)| *k != "comment").map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        created_at_us: now_us(),
        as_of_us: source.as_of_us,
        data_rows: source.rows,
        data_fingerprint: source.fingerprint.clone(),
        users: o.users,
        train_from_us: source.span_us.map(|s| s.0),
        train_to_us: source.span_us.map(|s| s.1),
        eval_from_us: o.eval_from_us,
        eval_to_us: o.eval_from_us.map(|_| source.as_of_us),
        metric: o.metric.map(str::to_owned).filter(|m| o.metrics.contains_key(m)),
        value,
        baseline_value,
        seconds: started.elapsed().as_secs_f64(),
        warnings: o.warnings,
        comment: Some(options.get("comment").to_owned()).filter(|c| !c.is_empty()),
        size_bytes: 0,
        metrics: o.metrics,
        parameters: o.parameters,
        trials: o.trials,
    };
    (info, o.parts)
}
