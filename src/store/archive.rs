//! One version of a model in one file: a tar archive of `model.json` and an Arrow file for each of its tables.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::error::StoreError;
use super::models::VersionInfo;
use super::{arrow, files};
use crate::models::Part;

/// The form of the archive this program reads and writes.
const FORM: u64 = 1;

/// What an archive begins with.
const HEAD: &str = "model.json";

#[derive(Serialize, Deserialize)]
struct Head {
    form: u64,
    /// Of the program that wrote it.
    tenure: String,
    name: String,
    version: VersionInfo,
    /// Name and checksum of each table.
    tables: Vec<(String, u64)>,
}

/// Writes a version to a file, which is there whole or not at all; returns its length.
///
/// # Errors
/// The disk.
pub fn export(path: &Path, name: &str, version: &VersionInfo, parts: &[Part]) -> Result<u64, StoreError> {
    let failed = |e: io::Error| StoreError::io("write", path, &e);
    let path = &target(path).map_err(failed)?;
    let failed = |e: io::Error| StoreError::io("write", path, &e);
    let mut tables = vec![];
    for p in parts {
        let bytes = arrow::to_bytes(p).map_err(|e| failed(io::Error::other(e)))?;
        tables.push((p.name.clone(), XxHash3_64::oneshot(&bytes), bytes));
    }
    let head = Head {
        form: FORM,
        tenure: env!("CARGO_PKG_VERSION").into(),
        name: name.into(),
        version: version.clone(),
        tables: tables.iter().map(|(name, sum, _)| (name.clone(), *sum)).collect(),
    };
    let head = files::to_json(&head).map_err(failed)?;
    files::write_atomically(path, |file| {
        let mut archive = tar::Builder::new(file);
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, bytes)
        };
        add(HEAD, head.as_bytes())?;
        tables.iter().try_for_each(|(name, _, bytes)| add(&format!("{name}.arrow"), bytes))?;
        archive.finish()
    })?;
    std::fs::metadata(path).map(|m| m.len()).map_err(failed)
}

fn is_table_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Where a link leads; a file that is none, such as a device, is not written over.
fn target(path: &Path) -> io::Result<PathBuf> {
    let target = match path.symlink_metadata() {
        Ok(m) if m.is_symlink() => path.canonicalize()?,
        _ => path.into(),
    };
    match target.metadata() {
        Ok(m) if !m.is_file() => Err(io::Error::other("it is no file")),
        _ => Ok(target),
    }
}

/// The version that a file holds, and its tables.
///
/// # Errors
/// No such file, one that is no archive of a model, one that is damaged, or of a newer form.
pub fn import(path: &Path) -> Result<(VersionInfo, Vec<Part>), StoreError> {
    let failed = |e: io::Error| StoreError::io("read", path, &e);
    let damaged = |why: String| StoreError::Damaged { path: path.into(), why };
    let foreign = || StoreError::NotAModel { path: path.into() };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut archive = tar::Archive::new(file);
    let mut entries = archive.entries().map_err(failed)?;
    let mut next = |wanted: &str| -> Result<Option<Vec<u8>>, StoreError> {
        let Some(entry) = entries.next() else { return Ok(None) };
        let Ok(mut entry) = entry else { return Ok(None) };
        // No links, no holes: what is read is no longer than the file.
        if entry.path_bytes() != wanted.as_bytes() || entry.header().entry_type() != tar::EntryType::Regular || entry.size() > length {
            return Ok(None);
        }
        let mut bytes = vec![];
        entry.read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    };
    let head = next(HEAD)?.and_then(|b| String::from_utf8(b).ok()).ok_or_else(foreign)?;
    // A later form may have another head: its number is read first.
    let form = files::from_json::<serde_json::Value>(&head).map_err(damaged)?.get("form").and_then(serde_json::Value::as_u64);
    if form.is_some_and(|form| form > FORM) {
        return Err(StoreError::NewerModel { path: path.into(), form: form.unwrap_or_default() });
    }
    let head: Head = files::from_json(&head).map_err(damaged)?;
    let mut parts: Vec<Part> = vec![];
    for (name, sum) in &head.tables {
        // Names become files.
        if !is_table_name(name) || parts.iter().any(|p| p.name == *name) {
            return Err(damaged(format!("'{name}' is no name of a table")));
        }
        let bytes = next(&format!("{name}.arrow"))?.ok_or_else(|| damaged(format!("it ends before its table '{name}'")))?;
        parts.push(arrow::from_bytes(bytes, name, *sum).map_err(damaged)?);
    }
    Ok((head.version, parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Column;

    #[test]
    fn a_file_comes_back_and_a_damaged_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("客户.tar");
        let parts = vec![
            Part::new("a", vec![("x", Column::F64(vec![1.5, -0.0])), ("名", Column::Text(vec!["客".into(), String::new()]))]),
            Part::new("b", vec![("n", Column::U32(vec![]))]),
        ];
        let version: VersionInfo = serde_json::from_value(serde_json::json!({
            "version": 3, "model_type": "gbt", "family": "supervised", "target": "t", "horizon_days": 90.0, "options": {"seed": "42"},
            "created_at_us": 1, "as_of_us": 2, "data_rows": 3, "data_fingerprint": "f", "users": 4, "train_from_us": null,
            "train_to_us": null, "eval_from_us": null, "eval_to_us": null, "metric": "auc", "value": 0.5, "baseline_value": null,
            "seconds": 0.25, "warnings": ["w"], "comment": null, "size_bytes": 9, "metrics": {"auc": 0.5}, "parameters": [["p", 0.1]]
        }))
        .unwrap();
        let put = |bytes: &[u8]| io::Write::write_all(&mut File::create(&path).unwrap(), bytes).unwrap();
        let size = export(&path, "m", &version, &parts).unwrap();
        assert_eq!(import(&path).unwrap(), (version, parts));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, size);
        // What is read is what was written, or an error; some bytes of a header, and those that fill a block, mean nothing.
        let whole = import(&path).unwrap();
        let mut refused = 0;
        for at in (0..bytes.len()).step_by(97) {
            let mut broken = bytes.clone();
            broken[at] ^= 0x55;
            for tried in [&broken, &bytes[..at]] {
                put(tried);
                match import(&path) {
                    Ok(read) => assert_eq!(read, whole, "byte {at}"),
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(refused > bytes.len() / 97, "{refused}");
        for name in ["../a", "a/b", "/a", "", "A.b"] {
            assert!(!is_table_name(name));
        }
        let odd = Part::new("a/b", vec![("n", Column::U32(vec![1]))]);
        export(&path, "m", &whole.0, &[odd]).unwrap();
        assert!(import(&path).unwrap_err().to_string().contains("no name of a table"));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        export(&link, "m", &whole.0, &whole.1).unwrap();
        assert!(link.is_symlink() && import(&path).unwrap() == whole);
        assert!(export(dir.path(), "m", &whole.0, &whole.1).unwrap_err().to_string().contains("no file"));
        assert!(import(dir.path()).is_err() && import(&dir.path().join("no")).unwrap_err().to_string().contains("no"));
        put(b"user,ts\n1,2\n");
        assert!(import(&path).unwrap_err().to_string().contains("no model"), "{}", import(&path).unwrap_err());
    }
}
