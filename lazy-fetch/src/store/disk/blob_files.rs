//! The two files of a blob.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use lru::LruCache;

use super::op::{DiskOp, Ops};
use super::record::Record;
use crate::BlobId;
use crate::sync::{Mutex, lock};

/// The files of the blobs used last.
pub(super) struct OpenFiles {
    dir: PathBuf,
    ops: Ops,
    open: Mutex<LruCache<BlobId, Arc<BlobFiles>>>,
}

/// The open files of one blob.
pub(super) struct BlobFiles {
    data: File,
    /// Opened for appending: each record goes to the end in one write, whoever else writes.
    map: File,
    ops: Ops,
}

impl OpenFiles {
    pub(super) fn new(dir: PathBuf, ops: Ops) -> Self {
        Self { dir, ops, open: Mutex::new(LruCache::new(MAX_OPEN)) }
    }

    /// The files of `blob`, which must exist.
    pub(super) fn existing(&self, blob: &BlobId) -> io::Result<Arc<BlobFiles>> {
        self.open(blob, false)
    }

    /// The files of `blob`, made if necessary.
    pub(super) fn create(&self, blob: &BlobId) -> io::Result<Arc<BlobFiles>> {
        self.open(blob, true)
    }

    /// Unlinks the files of `blob`; who has them open keeps reading what they held.
    pub(super) fn delete(&self, blob: &BlobId) {
        lock(&self.open).pop(blob);
        // What cannot be unlinked is found, and tried again, when the directory is opened next.
        for suffix in [DATA, MAP] {
            let _ = self.ops.before(DiskOp::Remove).and_then(|()| fs::remove_file(self.path(blob, suffix)));
        }
    }

    /// Replaces the map of `blob` by one of just `records`. A record that another thread or process adds
    /// meanwhile is lost with the old map, and its chunk with it; two replacements at a time mix whole
    /// records.
    pub(super) fn rewrite_map(&self, blob: &BlobId, records: &[Record]) -> io::Result<()> {
        let map: Vec<u8> = records.iter().flat_map(|record| record.encode(blob)).collect();
        let fresh = self.path(blob, FRESH_MAP);
        self.ops.before(DiskOp::WriteMap)?;
        writable().write(true).create(true).truncate(true).open(&fresh)?.write_all(&map)?;
        self.ops.before(DiskOp::ReplaceMap)?;
        fs::rename(&fresh, self.path(blob, MAP))?;
        // The open file is the old map: the next use opens the new one.
        lock(&self.open).pop(blob);
        Ok(())
    }

    fn open(&self, blob: &BlobId, create: bool) -> io::Result<Arc<BlobFiles>> {
        if let Some(files) = lock(&self.open).get(blob) {
            return Ok(Arc::clone(files));
        }
        if create {
            self.ops.before(DiskOp::Create)?;
        }
        let files = Arc::new(BlobFiles {
            ops: self.ops.clone(),
            data: writable().read(true).write(true).create(create).open(self.path(blob, DATA))?,
            map: writable().read(true).append(true).create(create).open(self.path(blob, MAP))?,
        });
        lock(&self.open).put(blob.clone(), Arc::clone(&files));
        Ok(files)
    }

    /// A blob id is checked to be a file name.
    fn path(&self, blob: &BlobId, suffix: &str) -> PathBuf {
        self.dir.join(format!("{blob}{suffix}"))
    }
}

impl BlobFiles {
    pub(super) fn read(&self, offset: u64, len: u32) -> io::Result<Vec<u8>> {
        let mut chunk = vec![0; len as usize];
        self.data.read_exact_at(&mut chunk, offset)?;
        Ok(chunk)
    }

    pub(super) fn write(&self, offset: u64, chunk: &[u8]) -> io::Result<()> {
        self.ops.before(DiskOp::WriteData)?;
        self.data.write_all_at(chunk, offset)
    }

    /// Adds a record; gives the number of records in the map then.
    pub(super) fn append(&self, blob: &BlobId, record: Record) -> io::Result<u64> {
        self.ops.before(DiskOp::AppendRecord)?;
        (&self.map).write_all(&record.encode(blob))?;
        Ok(self.map.metadata()?.len() / Record::LEN as u64)
    }

    /// The chunks that the map vouches for. A torn record at its end is cut off, so that the next one
    /// begins where a record begins.
    pub(super) fn load_map(&self, blob: &BlobId) -> io::Result<Vec<Record>> {
        let len = self.map.metadata()?.len();
        if len > MAX_MAP {
            return Ok(Vec::new());
        }
        let torn = len % Record::LEN as u64;
        if torn > 0 {
            self.ops.before(DiskOp::CutMap)?;
            self.map.set_len(len.saturating_sub(torn))?;
        }
        let mut log = Vec::new();
        (&self.map).take(MAX_MAP).read_to_end(&mut log)?;
        Ok(Record::replay(blob, &log, self.data.metadata()?.len()))
    }

    /// Frees the bytes of a chunk.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn punch(&self, offset: u64, len: u32) -> io::Result<()> {
        self.punch_range(offset, u64::from(len))
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn punch_range(&self, offset: u64, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        if len == 0 {
            return Ok(());
        }
        self.ops.before(DiskOp::Punch)?;
        Ok(fallocate(&self.data, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len)?)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(super) fn punch(&self, _offset: u64, _len: u32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn punch_range(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Frees what a crash left outside of `records`, which are in ascending order.
    pub(super) fn punch_all_but(&self, records: &[Record]) -> io::Result<()> {
        let data = self.data.metadata()?;
        let covered: u64 = records.iter().map(|record| u64::from(record.len)).sum();
        // `blocks` counts 512-byte units. A few blocks more are the file system's own.
        if data.blocks().saturating_mul(512) <= covered.saturating_add(SLACK) {
            return Ok(());
        }
        let mut end = 0;
        for record in records {
            self.punch_range(end, record.offset.saturating_sub(end))?;
            end = end.max(record.offset.saturating_add(u64::from(record.len)));
        }
        self.punch_range(end, data.len().saturating_sub(end))
    }
}

/// The blobs in `dir`, the longest unchanged first. Files of other names are left alone.
pub(super) fn list(dir: &Path) -> io::Result<Vec<BlobId>> {
    let mut blobs = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(MAP).or_else(|| name.strip_suffix(DATA)));
        if let Some(blob) = id.and_then(|id| BlobId::new(id).ok()) {
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            blobs.push((changed.unwrap_or(SystemTime::UNIX_EPOCH), blob));
        }
    }
    blobs.sort();
    // A blob has two files; the later of them counts.
    let mut seen = std::collections::HashSet::new();
    let mut latest_first: Vec<_> =
        blobs.into_iter().rev().map(|(_, blob)| blob).filter(|blob| seen.insert(blob.clone())).collect();
    latest_first.reverse();
    Ok(latest_first)
}

/// Chunks are for the user that fetched them.
pub(super) fn writable() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

const DATA: &str = ".data";
const MAP: &str = ".map";
const FRESH_MAP: &str = ".fresh";
/// Two descriptors each: a quarter of the usual limit of 1,024.
const MAX_OPEN: NonZeroUsize = NonZeroUsize::new(128).unwrap();
/// 3.3 million chunks; a longer map is not ours.
const MAX_MAP: u64 = 64 << 20;
/// Indirect blocks and extent trees of a large sparse file.
const SLACK: u64 = 256 << 10;
