//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;
use twox_hash::XxHash3_64;

use super::error::StoreError;

/// What the names of unfinished files begin with, before the process id.
pub const TEMPORARY: &str = ".tmp-";

/// A name beside `path` that nobody else uses.
pub fn temporary(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    path.with_file_name(format!("{TEMPORARY}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// A name beside `path`, with a word before its extension, that no file has.
pub fn unused(path: &Path, word: &str) -> PathBuf {
    let mut aside = path.with_extension(format!("{word}.json"));
    let mut n = 1;
    while aside.exists() {
        n += 1;
        aside = path.with_extension(format!("{word}-{n}.json"));
    }
    aside
}

/// The folder that a file lies in: the current one where the path names none.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a directory that is there after a crash; one that exists is left alone.
pub fn create_dir(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = folder_of(dir);
    create_dir(parent)?;
    match fs::create_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(StoreError::io("create", dir, &e)),
        _ => sync_dir(parent),
    }
}

/// Makes the entries of a directory durable.
pub fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| StoreError::io("sync", dir, &e))
}

/// Writes `path` through a temporary file: written, synced, renamed, the directory synced. On an error nothing is left.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), StoreError> {
    let part = temporary(path);
    let written = File::create(&part)
        .and_then(|mut f| {
            write(&mut f)?;
            f.flush()?;
            f.sync_all()
        })
        .and_then(|()| fs::rename(&part, path));
    if let Err(e) = written {
        let _ = fs::remove_file(&part);
        return Err(StoreError::io("write", path, &e));
    }
    sync_dir(folder_of(path))
}

/// JSON with a checksum line before it.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let text = to_json(value).map_err(|e| StoreError::io("write", path, &e))?;
    write_atomically(path, |f| f.write_all(text.as_bytes()))
}

pub fn to_json(value: &impl Serialize) -> io::Result<String> {
    let body = serde_json::to_string_pretty(value)?;
    Ok(format!("// xxh3 {:016x}\n{body}\n", XxHash3_64::oneshot(body.as_bytes())))
}

pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let text = fs::read_to_string(path).map_err(|e| StoreError::io("read", path, &e))?;
    from_json(&text).map_err(|why| StoreError::Damaged { path: path.into(), why })
}

/// What a text made by [`to_json`] says, or what is wrong with it.
pub fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let (head, body) = text.split_once('\n').ok_or("no checksum")?;
    let sum = head.strip_prefix("// xxh3 ").ok_or("no checksum")?;
    let body = body.trim_end_matches('\n');
    if format!("{:016x}", XxHash3_64::oneshot(body.as_bytes())) != sum {
        return Err("its checksum does not hold".into());
    }
    serde_json::from_str(body).map_err(|e| e.to_string())
}

/// Names in a directory, sorted; none when it is not there.
pub fn list(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(e) => e,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(StoreError::io("read", dir, &e)),
    };
    let mut names: Vec<String> = entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Removes what processes that are gone have left unfinished, here and in the folders below.
pub fn remove_leftovers(dir: &Path) {
    for name in list(dir).unwrap_or_default() {
        let path = dir.join(&name);
        if let Some(rest) = name.strip_prefix(TEMPORARY) {
            let pid = rest.split('-').next().unwrap_or_default();
            if !Path::new("/proc").join(pid).exists() {
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
        } else if path.is_dir() {
            remove_leftovers(&path);
        }
    }
}

/// A name as a file name: letters, digits, `_` and `-` stay, everything else is %XX.
pub fn encode(name: &str) -> Result<String, StoreError> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    let encoded: String = name.bytes().map(|b| if fine(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect();
    if name.is_empty() || name.chars().count() > 80 || encoded.len() > 240 {
        return Err(StoreError::Name { name: name.into() });
    }
    Ok(encoded)
}

/// The name behind a file name made by [`encode`].
pub fn decode(file: &str) -> Option<String> {
    let mut bytes = vec![];
    let mut rest = file.as_bytes();
    while let [b, tail @ ..] = rest {
        rest = tail;
        if *b != b'%' {
            bytes.push(*b);
            continue;
        }
        bytes.push(u8::from_str_radix(std::str::from_utf8(rest.get(..2)?).ok()?, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

/// What a file was when it was last read: length and time of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp(Option<(u64, Option<std::time::SystemTime>)>);

pub fn stamp(path: &Path) -> Stamp {
    Stamp(fs::metadata(path).ok().map(|m| (m.len(), m.modified().ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_json(&path, &1).unwrap();
        let e = write_atomically(&path, |f| {
            f.write_all(b"half")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(e.unwrap_err().to_string().contains("no storage space"));
        assert_eq!((read_json::<i32>(&path).unwrap(), list(dir.path()).unwrap()), (1, vec!["a.json".to_owned()]));
        File::create(&path).unwrap().write_all(b"// xxh3 0000000000000000\n2\n").unwrap();
        assert!(read_json::<i32>(&path).unwrap_err().to_string().contains("checksum does not hold"));
    }

    #[test]
    fn names_of_any_script_are_file_names() {
        assert_eq!(encode("a_1").unwrap(), "a_1");
        assert_eq!(encode("A/é").unwrap(), "%41%2F%C3%A9");
        assert_eq!(decode("A%41%2F%C3%A9").unwrap(), "AA/é");
        assert!(encode("").is_err() && encode(&"客".repeat(81)).is_err());
    }
}
