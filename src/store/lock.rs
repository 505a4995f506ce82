//! The lock that one writer holds for the moment of a commit.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::StoreError;

/// Held while it lives.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits up to `timeout` for another writer; then says who it is.
    pub fn take(dir: &Path, timeout: Duration) -> Result<Self, StoreError> {
        let path = dir.join("lock");
        let io = |e: std::io::Error| StoreError::io("lock", &path, &e);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if started.elapsed() < timeout => std::thread::sleep(Duration::from_millis(10)),
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    let _ = file.read_to_string(&mut holder);
                    let holder = if holder.trim().is_empty() { "another process".to_owned() } else { format!("process {}", holder.trim()) };
                    return Err(StoreError::Locked { path: dir.into(), holder });
                }
                Err(TryLockError::Error(e)) => return Err(io(e)),
            }
        }
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id())).map_err(io)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::take(dir.path(), Duration::ZERO).unwrap();
        let e = Lock::take(dir.path(), Duration::from_millis(20)).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(e.contains(&format!("being written by process {}", std::process::id())), "{e}");
        drop(held);
        assert!(Lock::take(dir.path(), Duration::ZERO).is_ok());
    }
}
