//! The store: what a database directory keeps. In memory when there is no directory.
//!
//! ```text
//! DIR/tenure.json                         marks the directory as a database, with the version of its form
//! DIR/catalog.json                        saved relations and settings
//! DIR/lock                                held for the moment of a commit
//! DIR/models/<name>/manifest.json         versions, the active one, origin
//! DIR/models/<name>/v<N>/<part>.arrow     one Arrow file a table of the model
//! DIR/tables/<name>-<n>/                  Parquet files of a table
//! ```
//!
//! Every file is written beside its place, synced, and renamed into it. Readers take no lock: a manifest names only what is
//! there whole. A writer holds the lock while it reads the state anew, changes it and writes it.

mod archive;
mod arrow;
mod catalog;
mod error;
mod files;
mod lock;
mod models;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use archive::{export, import};
use catalog::Catalog;
pub use catalog::{RelationKind, SavedRelation};
pub use error::StoreError;
use lock::Lock;
pub use models::{Existing, ModelRecord, Origin, Trial, VersionInfo};
use models::{Models, Shelf};

/// How long a writer waits for another one.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Readers in other processes may still be reading a table that was replaced this long ago, in seconds.
const KEPT_AFTER_REPLACEMENT: u64 = 600;

/// Seconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// The form of the directory this program reads and writes.
const FORM: u64 = 1;

#[derive(Default)]
struct State {
    catalog: Catalog,
    models: Models,
    warnings: Vec<String>,
    /// How often something another process wrote was found.
    generation: u64,
}

struct Inner {
    dir: Option<PathBuf>,
    state: Mutex<State>,
}

/// A handle on the store; clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

impl Store {
    /// A store that is gone when its last handle is.
    pub fn memory() -> Self {
        Self(Arc::new(Inner { dir: None, state: Mutex::default() }))
    }

    /// Opens a directory as a database, making it when it is not there.
    ///
    /// # Errors
    /// Not a directory, no permission, somebody else's files, or a form newer than this program.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        if dir.exists() && !dir.is_dir() {
            return Err(StoreError::NotADirectory { path: dir.into() });
        }
        files::create_dir(dir)?;
        let dir = std::path::absolute(dir).map_err(|e| StoreError::io("find", dir, &e))?;
        let marker = dir.join("tenure.json");
        let mut warnings = vec![];
        // Looked at before the marker is: another process that makes the database writes the marker first.
        let foreign = files::list(&dir)?.into_iter().find(|n| n != "lock" && !n.starts_with(files::TEMPORARY));
        if marker.exists() {
            match files::read_json::<serde_json::Value>(&marker) {
                Ok(text) => {
                    let form = text.get("form").and_then(serde_json::Value::as_u64).unwrap_or(0);
                    if form > FORM {
                        return Err(StoreError::NewerForm { path: dir, form });
                    }
                }
                Err(e) => warnings.push(format!("{e}: taken for a database of form {FORM}")),
            }
        } else if let Some(file) = foreign {
            return Err(StoreError::NotADatabase { path: dir, file });
        } else {
            files::write_json(&marker, &serde_json::json!({ "form": FORM, "about": "a tenure database: do not edit by hand" }))?;
        }
        files::remove_leftovers(&dir);
        let state = State { warnings, ..State::default() };
        let store = Self(Arc::new(Inner { dir: Some(dir), state: Mutex::new(state) }));
        store.refresh()?;
        Ok(store)
    }

    pub fn directory(&self) -> Option<&Path> {
        self.0.dir.as_deref()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what another process has written since. Returns how often anything has been found so far.
    pub fn refresh(&self) -> Result<u64, StoreError> {
        let Some(dir) = self.directory() else { return Ok(0) };
        let mut state = self.state();
        let State { catalog, models, warnings, .. } = &mut *state;
        let a = catalog.read_again(&dir.join("catalog.json"), warnings);
        let b = models.read_again(&dir.join("models"), warnings)?;
        state.generation += u64::from(a | b);
        Ok(state.generation)
    }

    pub fn generation(&self) -> u64 {
        self.state().generation
    }

    /// What was found damaged and left out; each is told once.
    pub fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.state().warnings)
    }

    /// Changes the state: under the lock, on what is on disk now.
    fn change<T>(&self, change: impl FnOnce(&mut State, Option<&Path>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let Some(dir) = self.directory() else { return change(&mut self.state(), None) };
        let _lock = Lock::take(dir, LOCK_TIMEOUT)?;
        self.refresh()?;
        change(&mut self.state(), Some(dir))
    }

    fn change_catalog<T>(&self, change: impl FnOnce(&mut Catalog) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.change(|state, dir| {
            let mut next = state.catalog.clone();
            let out = change(&mut next)?;
            if let Some(dir) = dir {
                next.write(&dir.join("catalog.json"))?;
            }
            state.catalog = next;
            Ok(out)
        })
    }

    /// Relations in the order of their creation.
    pub fn saved(&self) -> Vec<SavedRelation> {
        self.state().catalog.relations.clone()
    }

    /// Keeps a relation; one of the same name is replaced and counts as created now, unless this one `must_be_new`.
    pub fn save_relation(&self, relation: SavedRelation, must_be_new: bool) -> Result<(), StoreError> {
        self.change_catalog(|c| {
            if must_be_new && c.relations.iter().any(|r| r.name == relation.name) {
                return Err(StoreError::RelationExists { name: relation.name });
            }
            let replaced = c.remove(|r| r.name == relation.name);
            c.replaced.extend(replaced.into_iter().map(|table| (table, now())));
            c.relations.push(relation);
            Ok(())
        })?;
        self.sweep();
        Ok(())
    }

    /// Forgets relations, and removes the files of those that were tables.
    pub fn remove_relations(&self, which: impl Fn(&SavedRelation) -> bool) -> Result<(), StoreError> {
        let tables = self.change_catalog(|c| Ok(c.remove(which)))?;
        self.remove_tables(tables);
        Ok(())
    }

    fn remove_tables(&self, tables: Vec<String>) {
        let Some(dir) = self.directory() else { return };
        tables.iter().for_each(|table| drop(std::fs::remove_dir_all(dir.join(table))));
    }

    /// Removes the files of tables that were replaced or dropped, once nobody can be reading them any more.
    fn sweep(&self) {
        let is_old = |(_, at): &(String, u64)| now().saturating_sub(*at) > KEPT_AFTER_REPLACEMENT;
        if !self.state().catalog.replaced.iter().any(is_old) {
            return;
        }
        let old = self.change_catalog(|c| {
            let (old, rest) = std::mem::take(&mut c.replaced).into_iter().partition::<Vec<_>, _>(is_old);
            c.replaced = rest;
            Ok(old)
        });
        self.remove_tables(old.unwrap_or_default().into_iter().map(|(table, _)| table).collect());
    }

    /// Puts a finished file into the directory of a table, unless the table has been replaced or dropped meanwhile.
    pub fn add_part(&self, name: &str, location: &str, finished: &Path, part: &Path) -> Result<(), StoreError> {
        self.change(|state, _| {
            if !state.catalog.relations.iter().any(|r| r.name == name && r.locations.iter().any(|l| l == location)) {
                return Err(StoreError::Replaced { name: name.into() });
            }
            std::fs::rename(finished, part).map_err(|e| StoreError::io("write", part, &e))?;
            files::sync_dir(files::folder_of(part))
        })
    }

    /// Settings without their prefix.
    pub fn settings(&self) -> std::collections::BTreeMap<String, String> {
        self.state().catalog.settings.clone()
    }

    pub fn save_setting(&self, key: &str, value: &str) -> Result<(), StoreError> {
        self.change_catalog(|c| Ok(c.settings.insert(key.into(), value.into()))).map(|_| ())
    }

    pub fn remove_setting(&self, key: &str) -> Result<(), StoreError> {
        self.change_catalog(|c| Ok(c.settings.remove(key))).map(|_| ())
    }

    /// A new directory for the files of a table, with a name that no table has had.
    pub fn table_dir(&self, name: &str) -> Result<PathBuf, StoreError> {
        let base = self.directory().unwrap_or(Path::new("")).join("tables");
        files::create_dir(&base)?;
        let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let dir = base.join(format!("{}-{stamp:x}-{}", files::encode(name)?, std::process::id()));
        std::fs::create_dir(&dir).map_err(|e| StoreError::io("create", &dir, &e))?;
        files::sync_dir(&base)?;
        Ok(dir)
    }

    /// Every model, by name.
    pub fn models(&self) -> Vec<ModelRecord> {
        self.state().models.records.values().cloned().collect()
    }

    pub fn model(&self, name: &str) -> Option<ModelRecord> {
        self.state().models.records.get(name).cloned()
    }

    /// The tables of a version, checked against their checksums.
    pub fn load(&self, name: &str, version: u32) -> Result<Vec<crate::models::Part>, StoreError> {
        let shelf = self.shelf();
        let state = self.state();
        state.models.load(&shelf, name, version)
    }

    fn shelf(&self) -> Shelf {
        self.directory().map_or(Shelf::Memory, |d| Shelf::Directory(d.join("models")))
    }

    /// Writes a version: its number is one more than the largest there has been.
    ///
    /// # Errors
    /// [`Existing::Create`] and there is such a model; the disk.
    pub fn add_version(
        &self,
        name: &str,
        origin: Origin,
        info: VersionInfo,
        parts: &[crate::models::Part],
        activate: bool,
        existing: Existing,
    ) -> Result<VersionInfo, StoreError> {
        let shelf = self.shelf();
        self.change(|state, _| state.models.add(&shelf, name, origin, info, parts, activate, existing))
    }

    pub fn set_active(&self, name: &str, version: u32) -> Result<(), StoreError> {
        let shelf = self.shelf();
        self.change(|state, _| state.models.set_active(&shelf, name, version))
    }

    /// Makes the version that was active before active again, and returns its number.
    pub fn rollback(&self, name: &str) -> Result<u32, StoreError> {
        let shelf = self.shelf();
        self.change(|state, _| state.models.rollback(&shelf, name))
    }

    pub fn rename(&self, name: &str, to: &str) -> Result<(), StoreError> {
        let shelf = self.shelf();
        self.change(|state, _| state.models.rename(&shelf, name, to))
    }

    pub fn drop_model(&self, name: &str) -> Result<(), StoreError> {
        let shelf = self.shelf();
        self.change(|state, _| state.models.drop_model(&shelf, name))
    }

    /// Drops one version, not the active one.
    pub fn drop_version(&self, name: &str, version: u32) -> Result<(), StoreError> {
        let shelf = self.shelf();
        self.change(|state, _| state.models.drop_version(&shelf, name, version))
    }
}
