//! Which version of which model answers: the one that is named, or the auto model that fits the snapshot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::{Result, plan_err};

use super::fitting::{self, Fitted};
use super::model_statements::stored;
use super::pin::QueryPin;
use super::supervised;
use crate::config::Refresh;
use crate::events::{Snapshot, time_text};
use crate::features::DAY_US;
use crate::functions::{Pin, model_record};
use crate::models::recommend::MF_EXPLICIT;
use crate::models::supervised::Definition;
use crate::models::{AUTO_RATINGS, Family, HOLDOUT_DAYS, MODEL_TYPES, Options};
use crate::store::{ModelRecord, Origin, VersionInfo};

/// Rows may grow by this share, and `as_of` move by this share of the hold-out, before an auto model is fitted again.
const ROWS_TOLERANCE: f64 = 0.05;
const TIME_TOLERANCE: f64 = 0.1;

/// The auto models of churn: one a window.
pub const AUTO_CHURN: &str = "auto_churn_";

impl QueryPin {
    pub fn records(&self) -> Arc<Vec<ModelRecord>> {
        let mut held = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(held.get_or_insert_with(|| Arc::new(self.engine.store.models())))
    }

    /// Looks at the models anew: one of this query's has just been made, or its files have gone.
    fn forget_records(&self) {
        *self.records.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The options of a version of a model.
    pub fn options_of(&self, name: &str, version: u32) -> Result<Options> {
        fitting::options_of(model_record(self, name)?.version(version).map_err(stored)?)
    }

    /// What a version of a supervised model predicts.
    pub fn definition(&self, name: &str, version: u32) -> Result<Definition> {
        let record = model_record(self, name)?;
        match self.load(name, record.version(version).map_err(stored)?)? {
            Fitted::Supervised(m) => Ok(m.model.definition.clone()),
            other => other.wrong("supervised"),
        }
    }

    pub async fn model(&self, family: Family, name: Option<&str>) -> Result<Fitted> {
        let key = (family, name.map(str::to_owned));
        let held = |m: &Mutex<HashMap<_, Fitted>>| m.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(f) = held(&self.models) {
            return Ok(f);
        }
        let name = name.filter(|n| *n != "auto");
        let find = async || match name {
            Some(AUTO_RATINGS) => self.auto(AUTO_RATINGS, || Ok(vec![fitting::options(&MF_EXPLICIT, &[])?]), None).await,
            Some(name) if let Some(days) = churn_days(name) => {
                self.auto(name, supervised::churn_candidates, Some(supervised::churn(days))).await
            }
            Some(name) => self.named(family, name).await,
            None => self.auto(family.auto_name(), || fitting::auto_candidates(family, &[]), None).await,
        };
        let fitted = match find().await {
            // Another process may have replaced the version just now.
            Err(e) => {
                let seen = self.engine.store.generation();
                if self.engine.store.refresh().unwrap_or(seen) == seen {
                    return Err(e);
                }
                self.forget_records();
                find().await?
            }
            Ok(found) => found,
        };
        self.models.lock().unwrap_or_else(PoisonError::into_inner).insert(key, fitted.clone());
        Ok(fitted)
    }

    async fn named(&self, family: Family, name: &str) -> Result<Fitted> {
        let records = self.records();
        let record = match records.iter().find(|m| m.name == name) {
            Some(m) => m.clone(),
            None => model_record(self, name)?,
        };
        let v = active(&record)?;
        if v.family != family.name() {
            let fit: Vec<&str> = MODEL_TYPES.iter().filter(|t| t.family() == family).map(|t| t.name).collect();
            return plan_err!("model '{name}' is of type {}: this function needs a model of type {}", v.model_type, fit.join(" or "));
        }
        if of_query(v) {
            return self.load(&record.name, v);
        }
        let snapshot = self.snapshot().await?;
        if v.as_of_us > snapshot.as_of_us {
            let text = |us| time_text(us).unwrap_or_default();
            return plan_err!(
                "model '{name}' (version {}) has seen events up to {}, after as_of {}: its answers would use the future. \
                 REFRESH MODEL {name} AS OF '{}', or leave the model out",
                v.version,
                text(v.as_of_us),
                text(snapshot.as_of_us),
                text(snapshot.as_of_us)
            );
        }
        match (self.config().refresh(), stale_reason(v, &snapshot)) {
            (Refresh::Off, _) | (_, None) => {}
            (Refresh::Strict, Some(reason)) => {
                return plan_err!("model '{name}' is stale: {reason}. REFRESH MODEL {name}, or SET tenure.refresh = 'warn'");
            }
            (Refresh::Auto | Refresh::Warn, Some(reason)) => {
                self.engine.warn(format!("model '{name}' (version {}) is stale: {reason}. REFRESH MODEL {name}", v.version));
            }
        }
        self.load(&record.name, v)
    }

    fn load(&self, name: &str, v: &VersionInfo) -> Result<Fitted> {
        let key = format!("{name} {} {}", v.version, v.created_at_us);
        if let Some(f) = self.engine.loaded(&key) {
            return Ok(f);
        }
        let parts = self.engine.store.load(name, v.version).map_err(stored)?;
        let fitted = Fitted::from_parts(name, v, &parts)?;
        self.engine.keep(key, fitted.clone());
        Ok(fitted)
    }

    /// The auto model of that name, fitted if there is none that serves.
    async fn auto(&self, name: &str, candidates: impl Fn() -> Result<Vec<Options>>, definition: Option<Definition>) -> Result<Fitted> {
        let snapshot = self.snapshot().await?;
        if let Some(v) = self.fresh(name, &snapshot)? {
            return self.load(name, &v);
        }
        let _one_at_a_time = self.engine.fitting.lock().await;
        if let Some(v) = self.fresh(name, &snapshot)? {
            return self.load(name, &v);
        }
        // What another process is writing just now must not keep this query from its answer.
        let unsaved = format!("unsaved {name} {}", snapshot.fingerprint());
        if let Some(fitted) = self.engine.loaded(&unsaved) {
            return Ok(fitted);
        }
        let created = fitting::create(self, &self.engine, name, Origin::Auto, candidates()?, definition, None).await?;
        self.forget_records();
        match created.unsaved {
            None => self.load(name, &created.info),
            Some(parts) => {
                let fitted = Fitted::from_parts(name, &created.info, &parts)?;
                self.engine.keep(unsaved, fitted.clone());
                Ok(fitted)
            }
        }
    }

    /// The version of an auto model that still serves this snapshot.
    fn fresh(&self, name: &str, snapshot: &Snapshot) -> Result<Option<VersionInfo>> {
        let Some(record) = self.engine.store.model(name) else { return Ok(None) };
        let same = |v: &&VersionInfo| v.data_fingerprint == snapshot.fingerprint();
        if let Some(v) = record.active_version().filter(same).or_else(|| record.versions.iter().rfind(same)) {
            return Ok(Some(v.clone()));
        }
        // An as_of that was set is answered exactly; only the end of a growing log may run ahead of its model.
        if snapshot.as_of_is_set {
            return Ok(None);
        }
        let Some(v) = record.active_version() else { return Ok(None) };
        let relation = format!("{:016x}-", snapshot.relation);
        if !v.data_fingerprint.starts_with(&relation) || v.as_of_us > snapshot.as_of_us {
            return Ok(None);
        }
        match self.config().refresh() {
            Refresh::Strict => plan_err!(
                "{name} is stale: {}. SET tenure.refresh = 'auto' to have it fitted again",
                stale_reason(v, snapshot).unwrap_or_default()
            ),
            Refresh::Off => Ok(Some(v.clone())),
            Refresh::Warn => {
                let reason = stale_reason(v, snapshot).unwrap_or_default();
                self.engine.warn(format!(
                    "{name} (version {}) is stale: {reason}. SET tenure.refresh = 'auto' to have it fitted again",
                    v.version
                ));
                Ok(Some(v.clone()))
            }
            Refresh::Auto => {
                let grown = (snapshot.rows as f64 - v.data_rows as f64).abs() / (v.data_rows as f64).max(1.0);
                let moved = (snapshot.as_of_us - v.as_of_us) as f64 / DAY_US as f64;
                let serves = grown <= ROWS_TOLERANCE && moved <= TIME_TOLERANCE * HOLDOUT_DAYS;
                Ok(serves.then(|| v.clone()))
            }
        }
    }
}

/// The version of a model that functions use.
pub fn active(record: &ModelRecord) -> Result<&VersionInfo> {
    let name = &record.name;
    match record.active_version() {
        Some(v) => Ok(v),
        None => plan_err!("model '{name}' has no active version: ALTER MODEL {name} SET ACTIVE VERSION n"),
    }
}

fn churn_days(name: &str) -> Option<u32> {
    name.strip_prefix(AUTO_CHURN)?.parse().ok().filter(|days| (1..=3650).contains(days))
}

/// Whether a version was made from a query, and so does not depend on the events.
pub fn of_query(v: &VersionInfo) -> bool {
    v.data_fingerprint.starts_with(supervised::QUERY)
}

/// What has changed since a version saw the events.
pub fn stale_reason(v: &VersionInfo, snapshot: &Snapshot) -> Option<String> {
    let relation = format!("{:016x}-", snapshot.relation);
    if v.data_fingerprint == snapshot.fingerprint() {
        return None;
    }
    if !v.data_fingerprint.starts_with(&relation) {
        return Some("it was made from another relation".into());
    }
    if v.as_of_us != snapshot.as_of_us {
        let days = (snapshot.as_of_us - v.as_of_us) as f64 / DAY_US as f64;
        return Some(format!("as_of has moved by {days:.1} days"));
    }
    let rows = snapshot.rows as i64 - v.data_rows as i64;
    Some(if rows == 0 { "rows have changed".into() } else { format!("rows have changed by {rows:+}") })
}
