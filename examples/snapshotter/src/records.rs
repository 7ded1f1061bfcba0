//! The records of all snapshots, in memory and on disk.
//!
//! ```text
//! snapshots/7.json   the record: a snapshot exists if and only if this file does
//! snapshots/7/       its files, made before the record and removed after it
//! ```
//!
//! Each change is the writing, renaming or removal of one file, so a crash leaves the state before or
//! after it. What a crash can leave behind is a directory that no record owns, which the next
//! [`Cleanup`](crate::Snapshotter::cleanup) removes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use tempfile::NamedTempFile;

use crate::error::{Doing, Error, Result};
use crate::filter::Filter;
use crate::record::{Kind, Labels, Origin, Record, Usage};

/// The records of a directory.
#[derive(Debug)]
pub(crate) struct Records {
    directory: PathBuf,
    by_name: BTreeMap<String, Record>,
    next_id: u64,
    /// The directory itself, locked for as long as this lives.
    lock: File,
}

/// A snapshot to be made.
#[derive(Debug, Clone)]
pub(crate) struct NewRecord {
    /// The name that containerd gives it.
    pub name: String,
    /// The snapshot below it.
    pub parent: Option<String>,
    /// Whether it can change.
    pub kind: Kind,
    /// Where its files come from.
    pub origin: Origin,
    /// Its labels.
    pub labels: Labels,
}

impl Records {
    /// Reads the records in `directory`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// If it cannot be read, another process has it open, or a record is not what was written.
    pub(crate) fn open(directory: PathBuf) -> Result<Self> {
        let place = directory.display().to_string();
        fs::create_dir_all(&directory).doing(|| format!("creating {place}"))?;
        let lock = File::open(&directory).doing(|| format!("opening {place}"))?;
        // Another snapshotter would not see what is changed here.
        let locked = flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(Into::into);
        locked.doing(|| format!("locking {place}"))?;
        let mut records = Self { directory, by_name: BTreeMap::new(), next_id: 1, lock };
        for entry in fs::read_dir(&records.directory).doing(|| format!("reading {place}"))? {
            let path = entry.doing(|| format!("reading {place}"))?.path();
            // A number whose directory is still there, perhaps mounted, is not used again either.
            let id = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            records.next_id = records.next_id.max(id.map_or(1, |id| id.saturating_add(1)));
            match path.extension() {
                Some(extension) if extension == RECORD => {
                    let record = read(&path)?;
                    records.by_name.insert(record.name.clone(), record);
                }
                // A record whose writing was not finished.
                Some(extension) if extension == UNFINISHED => {
                    fs::remove_file(&path).doing(|| format!("removing {}", path.display()))?;
                }
                _ => {}
            }
        }
        Ok(records)
    }

    /// The record of a snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub(crate) fn get(&self, name: &str) -> Result<&Record> {
        self.by_name.get(name).ok_or_else(|| Error::NotFound(name.to_owned()))
    }

    /// Those that a filter lets through; all, if there is no filter.
    pub(crate) fn list(&self, filters: &[Filter]) -> Vec<Record> {
        let passes = |record: &&Record| filters.is_empty() || filters.iter().any(|f| f.passes(record));
        self.by_name.values().filter(passes).cloned().collect()
    }

    /// The snapshots below `record`, the nearest first.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if one is missing.
    pub(crate) fn below(&self, record: &Record) -> Result<Vec<Record>> {
        let mut below = Vec::new();
        let mut parent = record.parent.as_deref();
        while let Some(name) = parent {
            let record = self.get(name)?;
            below.push(record.clone());
            parent = record.parent.as_deref();
        }
        Ok(below)
    }

    /// The committed snapshot of the layers that `target` names on top of `parent`.
    pub(crate) fn unpacked(&self, target: &str, parent: Option<&str>) -> Option<&Record> {
        self.by_name.values().find(|record| {
            record.kind == Kind::Committed
                && record.parent.as_deref() == parent
                && record.labels.get(crate::label::TARGET).is_some_and(|label| label == target)
        })
    }

    /// The lazy snapshots that nothing reads through: on top of which there are only others like them.
    pub(crate) fn idle(&self) -> BTreeSet<u64> {
        let all = self.by_name.values();
        let (lazy, written): (Vec<_>, Vec<_>) = all.partition(|record| record.origin == Origin::Lazy);
        let below_written: BTreeSet<_> = written.iter().filter_map(|record| record.parent.as_ref()).collect();
        lazy.iter().filter(|record| !below_written.contains(&record.name)).map(|record| record.id).collect()
    }

    /// Adds a snapshot, after `fill` has put its files into its new directory.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`]; [`Error::NotFound`] or [`Error::InvalidArgument`] if the parent is missing or
    /// not committed; [`Error::Disk`] if the disk fails.
    pub(crate) fn add(&mut self, new: NewRecord, fill: impl FnOnce(&Path) -> Result<()>) -> Result<Record> {
        if self.by_name.contains_key(&new.name) {
            return Err(Error::AlreadyExists(new.name));
        }
        if let Some(parent) = &new.parent
            && self.get(parent)?.kind != Kind::Committed
        {
            return Err(Error::InvalidArgument(format!("parent {parent} is not committed")));
        }
        let id = self.next_id;
        self.next_id = id.saturating_add(1);
        let place = self.directory.join(id.to_string());
        fs::create_dir(&place).doing(|| format!("creating {}", place.display()))?;
        fill(&place)?;
        let NewRecord { name, parent, kind, origin, labels } = new;
        let now = SystemTime::now();
        let usage = Usage::default();
        let record = Record { id, name, parent, kind, origin, labels, created: now, updated: now, usage };
        self.put(record.clone())?;
        Ok(record)
    }

    /// Makes the active snapshot `key` the committed one `name`. Its labels are replaced.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`]; [`Error::NotFound`] or [`Error::FailedPrecondition`] if there is no such
    /// active snapshot; [`Error::Disk`] if the disk fails.
    pub(crate) fn commit(&mut self, key: &str, name: &str, labels: Labels, usage: Usage) -> Result<()> {
        let active = self.get(key)?.clone();
        if active.kind != Kind::Active {
            return Err(Error::FailedPrecondition { name: key.to_owned(), why: "is not active" });
        }
        if self.by_name.contains_key(name) {
            return Err(Error::AlreadyExists(name.to_owned()));
        }
        let now = SystemTime::now();
        let name = name.to_owned();
        let kind = Kind::Committed;
        self.put(Record { name, kind, labels, created: now, updated: now, usage, ..active })?;
        self.by_name.remove(key);
        Ok(())
    }

    /// Changes the labels of a snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], or [`Error::Disk`] if the disk fails.
    pub(crate) fn relabel(&mut self, name: &str, change: impl FnOnce(&mut Labels)) -> Result<Record> {
        let mut record = self.get(name)?.clone();
        change(&mut record.labels);
        record.updated = SystemTime::now();
        self.put(record.clone())?;
        Ok(record)
    }

    /// Forgets a snapshot, whose directory nobody owns from then on.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::FailedPrecondition`] if another is on top of it; [`Error::Disk`] if the
    /// disk fails.
    pub(crate) fn remove(&mut self, name: &str) -> Result<()> {
        let id = self.get(name)?.id;
        if self.by_name.values().any(|record| record.parent.as_deref() == Some(name)) {
            return Err(Error::FailedPrecondition { name: name.to_owned(), why: "has children" });
        }
        let path = self.file(id);
        fs::remove_file(&path).doing(|| format!("removing {}", path.display()))?;
        self.by_name.remove(name);
        self.sync()
    }

    /// The numbers of directories that no record owns.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub(crate) fn unowned(&self) -> Result<Vec<u64>> {
        let place = || format!("reading {}", self.directory.display());
        let owned: BTreeSet<_> = self.by_name.values().map(|record| record.id).collect();
        let mut unowned = Vec::new();
        for entry in fs::read_dir(&self.directory).doing(place)? {
            let entry = entry.doing(place)?;
            let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
            unowned.extend(id.filter(|id| !owned.contains(id)));
        }
        Ok(unowned)
    }

    /// Writes a record and takes it for true, in this order.
    fn put(&mut self, record: Record) -> Result<()> {
        let path = self.file(record.id);
        let writing = || format!("writing {}", path.display());
        let json = serde_json::to_vec_pretty(&record).map_err(std::io::Error::other).doing(writing)?;
        let suffix = format!(".{UNFINISHED}");
        let mut file =
            tempfile::Builder::new().suffix(&suffix).tempfile_in(&self.directory).doing(writing)?;
        write_through(&mut file, &json).doing(writing)?;
        file.persist(&path).map_err(|e| e.error).doing(writing)?;
        self.by_name.insert(record.name.clone(), record);
        self.sync()
    }

    fn file(&self, id: u64) -> PathBuf {
        self.directory.join(format!("{id}.{RECORD}"))
    }

    /// Makes names that came or went outlast a loss of power.
    fn sync(&self) -> Result<()> {
        self.lock.sync_all().doing(|| format!("syncing {}", self.directory.display()))
    }
}

fn write_through(file: &mut NamedTempFile, bytes: &[u8]) -> std::io::Result<()> {
    file.write_all(bytes)?;
    file.as_file().sync_all()
}

fn read(path: &Path) -> Result<Record> {
    let reading = || format!("reading {}", path.display());
    let bytes = fs::read(path).doing(reading)?;
    serde_json::from_slice(&bytes).map_err(std::io::Error::from).doing(reading)
}

const RECORD: &str = "json";
const UNFINISHED: &str = "new";
