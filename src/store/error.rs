//! What can go wrong in a store.

use std::path::{Path, PathBuf};

/// Messages are lower case and say what was given, what is allowed, and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {what} '{}': {error}", path.display())]
    Io { what: &'static str, path: PathBuf, error: String },
    #[error("'{}' is a file: a database is a directory", path.display())]
    NotADirectory { path: PathBuf },
    #[error("'{}' is not a tenure database and not empty (it has '{file}'): name an empty or a new directory", path.display())]
    NotADatabase { path: PathBuf, file: String },
    #[error("database '{}' is of form {form}, which this program is too old for: update tenure", path.display())]
    NewerForm { path: PathBuf, form: u64 },
    #[error("database '{}' is being written by {holder}: try again, or end that process", path.display())]
    Locked { path: PathBuf, holder: String },
    #[error("damaged file '{}': {why}", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("'{}' is no model: IMPORT MODEL reads what EXPORT MODEL name TO 'path' has written", path.display())]
    NotAModel { path: PathBuf },
    #[error("'{}' is of form {form}, which this program is too old for: update tenure", path.display())]
    NewerModel { path: PathBuf, form: u64 },
    #[error("{source}. Other versions: ALTER MODEL {name} SET ACTIVE VERSION n; or REFRESH MODEL {name}")]
    DamagedModel { name: String, source: Box<StoreError> },
    #[error("there is no model '{name}'")]
    NoModel { name: String },
    #[error("model '{name}' has no version {version}; versions: {versions}")]
    NoVersion { name: String, version: u32, versions: String },
    #[error("model '{name}' exists: CREATE OR REPLACE MODEL, REFRESH MODEL {name}, or choose another name")]
    Exists { name: String },
    #[error("version {version} of '{name}' is active: ALTER MODEL {name} SET ACTIVE VERSION n first, or DROP MODEL {name}")]
    Active { name: String, version: u32 },
    #[error("table {name} exists: CREATE OR REPLACE TABLE, or choose another name")]
    RelationExists { name: String },
    #[error("table {name} was replaced or dropped while rows were being inserted: nothing was inserted, try again")]
    Replaced { name: String },
    #[error("model '{name}' has no version that was active before this one")]
    NothingBefore { name: String },
    #[error("'{name}' cannot be a name: 1 to 80 characters")]
    Name { name: String },
}

impl StoreError {
    pub(super) fn io(what: &'static str, path: &Path, e: &std::io::Error) -> Self {
        Self::Io { what, path: path.into(), error: e.to_string() }
    }
}
