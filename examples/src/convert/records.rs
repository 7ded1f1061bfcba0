//! What was converted before, so that it is not converted again: a file for each layer and manifest.
//!
//! A record is kept once what it tells of is where it belongs. Its name is the digest of all that decides the
//! bytes: the content that was converted, the version of this program and its options. So nothing has to be
//! thrown away when one of them changes, and records of one place hold for another. That the blob is still
//! there is asked of the place.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use referrers::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::document;
use crate::whole_file::WholeFile;

/// A directory of records.
#[derive(Debug, Clone)]
pub struct Records {
    directory: PathBuf,
}

/// The name of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Digest);

impl Key {
    /// The key of what `parts` decide. None of them has a line break.
    pub fn new<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut text = format!("{FORMAT}\n{}", env!("CARGO_PKG_VERSION"));
        for part in parts {
            text.push('\n');
            text.push_str(part);
        }
        Self(Digest::sha256_of(text.as_bytes()))
    }

    /// The key of what this one and `parts` decide.
    #[must_use]
    pub fn with<'a>(&'a self, parts: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(std::iter::once(self.0.as_str()).chain(parts))
    }
}

impl Records {
    /// The records in `directory`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn open(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)
            .with_context(|| format!("making the directory {}", directory.display()))?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// The records of the user: in `obd/convert` below `XDG_CACHE_HOME`, or `.cache` in the home directory.
    ///
    /// # Errors
    ///
    /// If there is neither, or the directory cannot be made.
    pub fn of_user() -> Result<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        let cache = cache.context("neither XDG_CACHE_HOME nor HOME is set, so --records has to be given")?;
        Self::open(&cache.join("obd/convert"))
    }

    /// The record under `key`. One that cannot be read is none: the work is done again then.
    pub fn get<T: DeserializeOwned>(&self, key: &Key) -> Option<T> {
        serde_json::from_slice(&document::read(&self.path(key)).ok()?).ok()
    }

    /// Keeps a record.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn keep(&self, key: &Key, record: &impl Serialize) -> Result<()> {
        let file = WholeFile::create(&self.path(key))?;
        let written = file.file().write_all(&serde_json::to_vec(record)?);
        written.with_context(|| format!("writing {}", self.path(key).display()))?;
        file.keep()
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.directory.join(format!("{}.json", key.0.hex()))
    }
}

/// Changes whenever the same input gives other bytes within a version of this program.
const FORMAT: &str = "1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_under_its_key_alone() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::open(&directory.path().join("a/b")).unwrap();
        let key = Key::new(["full", "zstd"]);
        assert_eq!(records.get::<String>(&key), None);
        records.keep(&key, &"layer").unwrap();
        assert_eq!(records.get::<String>(&key).as_deref(), Some("layer"));
        for other in [Key::new(["full"]), Key::new(["zstd", "full"]), Key::new([]), key.with(["more"])] {
            assert_eq!(records.get::<String>(&other), None);
        }
        assert_eq!(Key::new(["full", "zstd"]), key);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::open(directory.path()).unwrap();
        let key = Key::new(["k"]);
        records.keep(&key, &"layer").unwrap();
        fs::write(records.path(&key), "\"lay").unwrap();
        assert_eq!(records.get::<String>(&key), None);
        records.keep(&key, &"layer").unwrap();
        assert_eq!(records.get::<String>(&key).as_deref(), Some("layer"));
    }
}
