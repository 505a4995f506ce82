//! Models and their versions.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::arrow;
use super::error::StoreError;
use super::files::{self, Stamp};
use crate::models::Part;

/// Who made a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    User,
    Auto,
    Import,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Auto => "auto",
            Self::Import => "import",
        })
    }
}

/// How a new version meets a model of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It must not exist.
    Create,
    /// Its versions go; the numbers go on.
    Replace,
    /// Its versions stay.
    Append,
}

/// What is known of a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionInfo {
    pub version: u32,
    pub model_type: String,
    pub family: String,
    pub target: String,
    pub horizon_days: Option<f64>,
    pub options: BTreeMap<String, String>,
    pub created_at_us: i64,
    pub as_of_us: i64,
    pub data_rows: u64,
    pub data_fingerprint: String,
    pub users: u64,
    /// `None` where the rows had no time.
    pub train_from_us: Option<i64>,
    pub train_to_us: Option<i64>,
    pub eval_from_us: Option<i64>,
    pub eval_to_us: Option<i64>,
    pub metric: Option<String>,
    pub value: Option<f64>,
    pub baseline_value: Option<f64>,
    pub seconds: f64,
    pub warnings: Vec<String>,
    pub comment: Option<String>,
    pub size_bytes: u64,
    /// All figures on the hold-out.
    pub metrics: BTreeMap<String, f64>,
    pub parameters: Vec<(String, f64)>,
    #[serde(default)]
    pub trials: Vec<Trial>,
}

/// One model type on one hold-out: a row of `training_log`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    pub model_type: String,
    /// The options that are not the defaults.
    #[serde(default)]
    pub options: Option<String>,
    /// 1 is the latest.
    pub fold: u32,
    pub eval_from_us: i64,
    pub eval_to_us: i64,
    pub users: u64,
    pub metric: String,
    pub value: Option<f64>,
    pub baseline_value: Option<f64>,
    pub rmse: Option<f64>,
    pub bias_pct: Option<f64>,
    pub seconds: f64,
    pub chosen: bool,
    /// Why there is no figure.
    pub problem: Option<String>,
}

/// A model and its versions, ascending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelRecord {
    pub name: String,
    pub origin: Origin,
    pub active: u32,
    /// Versions that were active before, the last one last.
    before: Vec<u32>,
    pub versions: Vec<VersionInfo>,
    /// The largest number given out so far.
    last: u32,
    /// Name and checksum of each version's tables.
    files: BTreeMap<u32, Vec<(String, u64)>>,
}

impl ModelRecord {
    /// The version that functions use.
    pub fn active_version(&self) -> Option<&VersionInfo> {
        self.versions.iter().find(|v| v.version == self.active)
    }

    /// A version by its number.
    ///
    /// # Errors
    /// [`StoreError::NoVersion`], with those there are.
    pub fn version(&self, version: u32) -> Result<&VersionInfo, StoreError> {
        self.versions.iter().find(|v| v.version == version).ok_or_else(|| {
            let versions: Vec<String> = self.versions.iter().map(|v| v.version.to_string()).collect();
            StoreError::NoVersion { name: self.name.clone(), version, versions: versions.join(", ") }
        })
    }

    fn activate(&mut self, version: u32) {
        if version != self.active {
            self.before.push(self.active);
        }
        self.active = version;
        self.before.retain(|v| self.versions.iter().any(|known| known.version == *v));
    }
}

/// Versions an auto model keeps.
const AUTO_VERSIONS: usize = 10;

/// Where versions lie.
pub enum Shelf {
    Memory,
    Directory(PathBuf),
}

#[derive(Default)]
pub struct Models {
    pub records: BTreeMap<String, ModelRecord>,
    seen: HashMap<String, Stamp>,
    memory: HashMap<(String, u32), Arc<Vec<Part>>>,
}

impl Models {
    /// Reads the manifests that have changed; a damaged one is named and left out.
    pub fn read_again(&mut self, dir: &Path, warnings: &mut Vec<String>) -> Result<bool, StoreError> {
        let names = files::list(dir)?;
        let mut changed = false;
        for folder in names.iter().filter(|n| !n.starts_with(files::TEMPORARY)) {
            let path = dir.join(folder).join("manifest.json");
            let now = files::stamp(&path);
            if now == Stamp::default() || self.seen.get(folder) == Some(&now) {
                continue;
            }
            match files::read_json::<ModelRecord>(&path) {
                Ok(mut record) => {
                    // A rename that was cut short: the folder has the new name already.
                    record.name = files::decode(folder).unwrap_or(record.name);
                    self.records.insert(record.name.clone(), record);
                }
                Err(e) => warnings.push(format!("{e}: this model is left out")),
            }
            self.seen.insert(folder.clone(), now);
            changed = true;
        }
        let gone: Vec<String> = self.seen.keys().filter(|k| !dir.join(k).join("manifest.json").exists()).cloned().collect();
        for folder in gone {
            self.seen.remove(&folder);
            self.records.retain(|name, _| files::encode(name).is_ok_and(|e| e != folder));
            changed = true;
        }
        Ok(changed)
    }

    fn get(&self, name: &str) -> Result<&ModelRecord, StoreError> {
        self.records.get(name).ok_or_else(|| StoreError::NoModel { name: name.into() })
    }

    /// Puts a record in force: on disk first, then here.
    fn commit(&mut self, shelf: &Shelf, record: ModelRecord) -> Result<(), StoreError> {
        if let Shelf::Directory(dir) = shelf {
            let folder = files::encode(&record.name)?;
            let path = dir.join(&folder).join("manifest.json");
            files::create_dir(&dir.join(&folder))?;
            files::write_json(&path, &record)?;
            self.seen.insert(folder, files::stamp(&path));
        }
        self.records.insert(record.name.clone(), record);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one version is described once, here")]
    pub fn add(
        &mut self,
        shelf: &Shelf,
        name: &str,
        origin: Origin,
        mut info: VersionInfo,
        parts: &[Part],
        activate: bool,
        existing: Existing,
    ) -> Result<VersionInfo, StoreError> {
        let old = self.records.get(name).cloned();
        if existing == Existing::Create && old.is_some() {
            return Err(StoreError::Exists { name: name.into() });
        }
        let mut record = old.clone().unwrap_or_else(|| ModelRecord {
            name: name.into(),
            origin,
            active: 0,
            before: vec![],
            versions: vec![],
            last: numbers_used(shelf, name),
            files: BTreeMap::new(),
        });
        if let (None, Shelf::Directory(dir)) = (&old, shelf) {
            // A manifest that could not be read is put aside, not written over.
            let path = dir.join(files::encode(name)?).join("manifest.json");
            if path.exists() {
                let aside = files::unused(&path, "damaged");
                fs::rename(&path, &aside).map_err(|e| StoreError::io("put aside", &path, &e))?;
            }
        }
        record.last += 1;
        info.version = record.last;
        let written = self.write_parts(shelf, name, info.version, parts)?;
        info.size_bytes = written.iter().map(|(_, len, _)| len).sum();
        let dropped: Vec<u32> = match existing {
            Existing::Replace => record.versions.drain(..).map(|v| v.version).collect(),
            _ if origin == Origin::Auto => {
                let surplus = (record.versions.len() + 1).saturating_sub(AUTO_VERSIONS);
                record.versions.drain(..surplus).map(|v| v.version).collect()
            }
            _ => vec![],
        };
        record.origin = origin;
        record.files.retain(|v, _| !dropped.contains(v));
        record.files.insert(info.version, written.into_iter().map(|(n, _, sum)| (n, sum)).collect());
        record.versions.push(info.clone());
        if activate || record.active == 0 || dropped.contains(&record.active) {
            record.activate(info.version);
        }
        self.commit(shelf, record)?;
        dropped.iter().for_each(|v| self.forget(shelf, name, *v));
        Ok(info)
    }

    /// Writes the tables of a version: name, length and checksum of each.
    fn write_parts(&mut self, shelf: &Shelf, name: &str, version: u32, parts: &[Part]) -> Result<Vec<(String, u64, u64)>, StoreError> {
        let Shelf::Directory(dir) = shelf else {
            self.memory.insert((name.into(), version), Arc::new(parts.to_vec()));
            return Ok(parts.iter().map(|p| (p.name.clone(), size(p), 0)).collect());
        };
        let folder = dir.join(files::encode(name)?);
        files::create_dir(&folder)?;
        let target = folder.join(format!("v{version}"));
        let unfinished = files::temporary(&target);
        let write = || -> Result<Vec<(String, u64, u64)>, StoreError> {
            files::create_dir(&unfinished)?;
            let mut out = vec![];
            for p in parts {
                let (len, sum) = arrow::write(&unfinished.join(format!("{}.arrow", p.name)), p)?;
                out.push((p.name.clone(), len, sum));
            }
            files::sync_dir(&unfinished)?;
            // A version that no manifest names may lie here from a process that was killed.
            let _ = fs::remove_dir_all(&target);
            fs::rename(&unfinished, &target).map_err(|e| StoreError::io("write", &target, &e))?;
            files::sync_dir(&folder)?;
            Ok(out)
        };
        let written = write();
        if written.is_err() {
            let _ = fs::remove_dir_all(&unfinished);
        }
        written
    }

    /// Lets go of the data of a version that no record names any more.
    fn forget(&mut self, shelf: &Shelf, name: &str, version: u32) {
        self.memory.remove(&(name.to_owned(), version));
        if let (Shelf::Directory(dir), Ok(folder)) = (shelf, files::encode(name)) {
            let _ = fs::remove_dir_all(dir.join(folder).join(format!("v{version}")));
        }
    }

    pub fn load(&self, shelf: &Shelf, name: &str, version: u32) -> Result<Vec<Part>, StoreError> {
        let record = self.get(name)?;
        record.version(version)?;
        let Shelf::Directory(dir) = shelf else {
            let parts = self.memory.get(&(name.to_owned(), version));
            return parts.map(|p| p.to_vec()).ok_or_else(|| StoreError::NoModel { name: name.into() });
        };
        let folder = dir.join(files::encode(name)?).join(format!("v{version}"));
        let parts = record.files.get(&version).map(Vec::as_slice).unwrap_or_default();
        let read: Result<Vec<Part>, StoreError> =
            parts.iter().map(|(part, sum)| arrow::read(&folder.join(format!("{part}.arrow")), part, *sum)).collect();
        read.map_err(|e| StoreError::DamagedModel { name: name.into(), source: Box::new(e) })
    }

    pub fn set_active(&mut self, shelf: &Shelf, name: &str, version: u32) -> Result<(), StoreError> {
        let mut record = self.get(name)?.clone();
        record.version(version)?;
        record.activate(version);
        self.commit(shelf, record)
    }

    pub fn rollback(&mut self, shelf: &Shelf, name: &str) -> Result<u32, StoreError> {
        let mut record = self.get(name)?.clone();
        let active = record.active;
        record.active = loop {
            match record.before.pop() {
                Some(v) if v != active => break v,
                Some(_) => {}
                None => return Err(StoreError::NothingBefore { name: name.into() }),
            }
        };
        let version = record.active;
        self.commit(shelf, record)?;
        Ok(version)
    }

    pub fn rename(&mut self, shelf: &Shelf, name: &str, to: &str) -> Result<(), StoreError> {
        let mut record = self.get(name)?.clone();
        if self.records.contains_key(to) {
            return Err(StoreError::Exists { name: to.into() });
        }
        let (from_folder, to_folder) = (files::encode(name)?, files::encode(to)?);
        record.name = to.into();
        if let Shelf::Directory(dir) = shelf {
            // Until the manifest is rewritten in its new place, the model answers to its old name.
            let (from, into) = (dir.join(&from_folder), dir.join(&to_folder));
            fs::rename(&from, &into).map_err(|e| StoreError::io("rename", &from, &e))?;
            files::sync_dir(dir)?;
        }
        let versions: Vec<u32> = record.versions.iter().map(|v| v.version).collect();
        for v in versions {
            if let Some(parts) = self.memory.remove(&(name.to_owned(), v)) {
                self.memory.insert((to.to_owned(), v), parts);
            }
        }
        self.records.remove(name);
        self.seen.remove(&from_folder);
        // The folder's name is the model's: a manifest that still has the old one is put right with its next change.
        if self.commit(shelf, record.clone()).is_err() {
            self.records.insert(record.name.clone(), record);
        }
        Ok(())
    }

    pub fn drop_model(&mut self, shelf: &Shelf, name: &str) -> Result<(), StoreError> {
        self.get(name)?;
        if let Shelf::Directory(dir) = shelf {
            let folder = files::encode(name)?;
            let (path, away) = (dir.join(&folder), files::temporary(&dir.join(&folder)));
            fs::rename(&path, &away).map_err(|e| StoreError::io("remove", &path, &e))?;
            files::sync_dir(dir)?;
            let _ = fs::remove_dir_all(&away);
            self.seen.remove(&folder);
        }
        self.records.remove(name);
        self.memory.retain(|(n, _), _| n != name);
        Ok(())
    }

    pub fn drop_version(&mut self, shelf: &Shelf, name: &str, version: u32) -> Result<(), StoreError> {
        let mut record = self.get(name)?.clone();
        record.version(version)?;
        if record.active == version {
            return Err(StoreError::Active { name: name.into(), version });
        }
        record.versions.retain(|v| v.version != version);
        record.before.retain(|v| *v != version);
        record.files.remove(&version);
        self.commit(shelf, record)?;
        self.forget(shelf, name, version);
        Ok(())
    }
}

/// The largest version number that a folder without a readable manifest has.
fn numbers_used(shelf: &Shelf, name: &str) -> u32 {
    let (Shelf::Directory(dir), Ok(folder)) = (shelf, files::encode(name)) else { return 0 };
    let names = files::list(&dir.join(folder)).unwrap_or_default();
    names.iter().filter_map(|n| n.strip_prefix('v')?.parse().ok()).max().unwrap_or(0)
}

/// Bytes of a part in memory.
fn size(p: &Part) -> u64 {
    use crate::models::Column;
    let one = |c: &Column| match c {
        Column::F64(v) => v.len() * 8,
        Column::F32(v) => v.len() * 4,
        Column::U32(v) => v.len() * 4,
        Column::U64(v) => v.len() * 8,
        Column::Text(v) => v.iter().map(String::len).sum(),
    };
    p.columns.iter().map(|(_, c)| one(c) as u64).sum()
}
