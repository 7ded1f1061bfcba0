//! How many processes use a directory.
//!
//! Each user holds the lock of a file of its own, which ends with the process however that ends. A file
//! whose lock is free is left over and is removed by whoever notices.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::blob_files::writable;

/// The mark of one user, gone when dropped.
#[derive(Debug)]
pub(super) struct User {
    path: PathBuf,
    _lock: File,
}

impl User {
    /// Enters the directory.
    pub(super) fn enter(dir: &Path) -> io::Result<Self> {
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!("{PREFIX}{}-{number}", std::process::id()));
            let file = writable().write(true).create(true).truncate(true).open(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_at(&file, &path) => return Ok(Self { path, _lock: file }),
                // Another user took the file for a left-over before it was locked.
                Ok(()) | Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(error) => {
                    let _ = fs::remove_file(&path);
                    return Err(error.into());
                }
            }
        }
    }

    /// Users of the directory, this one included.
    pub(super) fn count(&self) -> io::Result<u64> {
        let mut count = 1u64;
        for entry in fs::read_dir(self.path.parent().unwrap_or(Path::new("")))? {
            let path = entry?.path();
            let is_mark =
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX));
            if is_mark && path != self.path && !remove_if_left_over(&path) {
                count = count.saturating_add(1);
            }
        }
        Ok(count)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // What cannot be removed is found to be left over.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the mark of a user that is gone; says whether it was one.
fn remove_if_left_over(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return true };
    let is_free = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    if is_free {
        let _ = fs::remove_file(path);
    }
    is_free
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
        _ => false,
    }
}

/// Blob ids begin with a letter or digit.
const PREFIX: &str = ".user-";
/// Tells the users of one process apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_counted_while_they_live() {
        let dir = tempfile::tempdir().unwrap();
        let first = User::enter(dir.path()).unwrap();
        assert_eq!(first.count().unwrap(), 1);
        let second = User::enter(dir.path()).unwrap();
        assert_eq!((first.count().unwrap(), second.count().unwrap()), (2, 2));
        drop(second);
        assert_eq!(first.count().unwrap(), 1);
    }

    #[test]
    fn a_mark_that_a_dead_process_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let stale = dir.path().join(format!("{PREFIX}1-0"));
        fs::write(&stale, "").unwrap();
        let user = User::enter(dir.path()).unwrap();
        assert_eq!(user.count().unwrap(), 1);
        assert!(!stale.exists());
    }
}
