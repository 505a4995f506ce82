//! Saved relations and settings.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::files::{self, Stamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelationKind {
    /// Rows in Parquet files of the database.
    Table,
    /// The text of a query.
    View,
    /// Files elsewhere.
    External,
    /// A schema of the catalog, which other relations stand in.
    Schema,
}

impl RelationKind {
    /// The word for it in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::View => "view",
            Self::External => "external table",
            Self::Schema => "",
        }
    }
}

/// A relation as it is defined again after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRelation {
    pub name: String,
    pub kind: RelationKind,
    /// The statement that made it; empty for a table.
    pub sql: String,
    /// Where its files are; relative ones are inside the database.
    pub locations: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Catalog {
    pub relations: Vec<SavedRelation>,
    pub settings: BTreeMap<String, String>,
    #[serde(skip)]
    seen: Stamp,
    /// The file could not be read: it is put aside before another takes its place.
    #[serde(skip)]
    damaged: bool,
    /// Directories of tables that have been replaced, and when, in seconds since 1970: readers elsewhere may still need them.
    #[serde(default)]
    pub replaced: Vec<(String, u64)>,
}

impl Catalog {
    /// Forgets relations; returns the directories of those that were tables.
    pub fn remove(&mut self, which: impl Fn(&SavedRelation) -> bool) -> Vec<String> {
        let (gone, kept) = std::mem::take(&mut self.relations).into_iter().partition::<Vec<_>, _>(which);
        self.relations = kept;
        gone.into_iter().filter(|r| r.kind == RelationKind::Table).flat_map(|r| r.locations).collect()
    }

    /// Reads the file if it has changed; a damaged one is named, and what was known stays.
    pub fn read_again(&mut self, path: &Path, warnings: &mut Vec<String>) -> bool {
        let now = files::stamp(path);
        if now == self.seen {
            return false;
        }
        match files::read_json::<Self>(path) {
            Ok(read) => *self = read,
            Err(e) => {
                self.damaged = path.exists();
                warnings.push(format!("{e}: saved relations and settings are not restored"));
            }
        }
        self.seen = now;
        true
    }

    pub fn write(&mut self, path: &Path) -> Result<(), StoreError> {
        if self.damaged {
            let aside = files::unused(path, "damaged");
            std::fs::rename(path, &aside).map_err(|e| StoreError::io("put aside", path, &e))?;
            self.damaged = false;
        }
        files::write_json(path, self)?;
        self.seen = files::stamp(path);
        Ok(())
    }
}
