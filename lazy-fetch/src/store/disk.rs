//! Chunks on a local disk, for the next process too.
//!
//! ```text
//!  DIR/chunks-v1/<blob id>.data   sparse: each chunk at its own offset in the blob
//!  DIR/chunks-v1/<blob id>.map    which chunks are there: a log of 20-byte records (see `record`)
//! ```
//!
//! The order of writes makes a crash harmless: a chunk's bytes come first, then the record that
//! vouches for them with a CRC-32. Every read checks that CRC, so that whatever happens to either file –
//! truncation, a lost write, a hole, another process at work – leads to a miss. Nothing is synced: after
//! a power failure the CRC tells which chunks made it.
//!
//! The limit is kept by forgetting the least recently used chunk and punching its bytes out of the
//! data file, also while the blob is being read. Where the file system cannot punch holes the whole
//! blob is forgotten instead.
//!
//! Several processes may use one directory. Each keeps to its share of the limit and finds what the others
//! had written when it opened the directory; what one forgets is a miss to the rest.

mod blob_files;
pub(crate) mod ledger;
mod op;
mod record;
mod users;

use std::fmt;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use self::blob_files::{BlobFiles, OpenFiles};
use self::ledger::{Held, Ledger};
#[cfg(feature = "conformance")]
pub use self::op::DiskOp;
use self::op::Ops;
use self::record::Record;
use self::users::User;
use super::{ChunkKey, ChunkStore};
use crate::runtime::blocking;
use crate::sync::{Mutex, lock};
use crate::{BlobId, Error, ErrorKind, Result, Runtime};

/// Limits of a [`DiskStore`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskOptions {
    /// The most bytes that chunks may take on the disk. Processes that use one directory share it evenly; one
    /// that comes is noticed by the others within a hundred chunks.
    pub limit: u64,
}

impl Default for DiskOptions {
    /// 4 GiB, as the reference implementation's cache.
    fn default() -> Self {
        Self { limit: 4 << 30 }
    }
}

impl DiskOptions {
    /// Sets [`limit`](Self::limit).
    #[must_use]
    pub fn with_limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }
}

/// Chunks in a directory.
///
/// A disk that is full, read-only or gone while the store is in use makes [`put`](ChunkStore::put) fail
/// and [`get`](ChunkStore::get) miss; reads of a cache above go on from the origin.
#[derive(Debug, Clone)]
pub struct DiskStore {
    runtime: Arc<dyn Runtime>,
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    limit: u64,
    user: User,
    /// Chunks written since the users were counted.
    written: AtomicU64,
    ledger: Mutex<Ledger>,
    files: OpenFiles,
}

impl DiskStore {
    /// Opens or creates a store in the directory `dir`. Blocks while it reads the maps.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`], naming the directory, if it cannot be made, read or written.
    pub fn open(runtime: Arc<dyn Runtime>, dir: impl AsRef<Path>, options: DiskOptions) -> Result<Self> {
        Self::open_asking(runtime, dir, options, Ops::default())
    }

    /// As [`open`](Self::open); `before` is asked before each change to the directory and may let it fail.
    /// For tests.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    #[cfg(feature = "conformance")]
    pub fn open_with_faults(
        runtime: Arc<dyn Runtime>,
        dir: impl AsRef<Path>,
        options: DiskOptions,
        before: impl Fn(DiskOp) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::open_asking(runtime, dir, options, Ops::asking(before))
    }

    fn open_asking(
        runtime: Arc<dyn Runtime>,
        dir: impl AsRef<Path>,
        options: DiskOptions,
        ops: Ops,
    ) -> Result<Self> {
        let dir = dir.as_ref().join(LAYOUT);
        let named = |e| {
            Error::new(ErrorKind::Storage, format!("opening the cache directory {}", dir.display()))
                .with_source(e)
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(named)?;
        let user = User::enter(&dir).map_err(named)?;
        let blobs = blob_files::list(&dir).map_err(named)?;
        let shared = Shared {
            files: OpenFiles::new(dir.clone(), ops),
            ledger: Mutex::new(Ledger::new(options.limit)),
            limit: options.limit,
            user,
            written: AtomicU64::new(0),
            dir,
        };
        shared.share_limit();
        for blob in blobs {
            shared.load(&blob);
        }
        Ok(Self { runtime, shared: Arc::new(shared) })
    }

    /// Reads every chunk and forgets those that are damaged, so that no reader has to find them. One chunk at
    /// a time, in no hurry; chunks that are put or used meanwhile are none of its business.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] if the runtime shuts down.
    pub async fn scrub(&self) -> Result<Scrubbed> {
        let keys = lock(&self.shared.ledger).all();
        let mut scrubbed = Scrubbed::default();
        for key in keys {
            let shared = Arc::clone(&self.shared);
            let checked = blocking(&*self.runtime, move || {
                let held = lock(&shared.ledger).peek(&key)?;
                Some((u64::from(held.len), shared.read(&key, held).is_some()))
            });
            match checked.await? {
                Some((bytes, true)) => scrubbed.bytes = scrubbed.bytes.saturating_add(bytes),
                Some((_, false)) => scrubbed.damaged = scrubbed.damaged.saturating_add(1),
                None => {}
            }
        }
        Ok(scrubbed)
    }

    /// Bytes that the chunks take on the disk, in whole pages.
    pub fn bytes(&self) -> u64 {
        lock(&self.shared.ledger).bytes()
    }
}

/// What [`DiskStore::scrub`] found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scrubbed {
    /// Bytes of chunks that are as they were put.
    pub bytes: u64,
    /// Chunks that were not, and are forgotten.
    pub damaged: u64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("dir", &self.dir).finish_non_exhaustive()
    }
}

#[async_trait]
impl ChunkStore for DiskStore {
    fn try_get(&self, _key: &ChunkKey) -> Option<Bytes> {
        None
    }

    async fn get(&self, key: &ChunkKey) -> Option<Bytes> {
        // A miss is answered from memory.
        let key = plain(key);
        let held = lock(&self.shared.ledger).touch(&key)?;
        let shared = Arc::clone(&self.shared);
        blocking(&*self.runtime, move || shared.read(&key, held)).await.ok().flatten()
    }

    async fn put(&self, key: &ChunkKey, chunk: Bytes) -> Result<()> {
        key.check_len(&chunk)?;
        let (shared, key) = (Arc::clone(&self.shared), plain(key));
        blocking(&*self.runtime, move || {
            shared.write(&key, &chunk).map_err(|e| {
                Error::new(ErrorKind::Storage, format!("keeping a chunk in {}", shared.dir.display()))
                    .with_source(e)
                    .at(&key.blob, key.range())
            })
        })
        .await?
    }

    async fn remove(&self, key: &ChunkKey) {
        let (shared, key) = (Arc::clone(&self.shared), plain(key));
        // A runtime that shuts down leaves a chunk that its check or the next reader finds out.
        let _ = blocking(&*self.runtime, move || {
            if lock(&shared.ledger).remove(&key.blob, key.offset).is_some() {
                shared.free(&key.blob, key.offset, key.len);
            }
        })
        .await;
    }
}

/// The key that chunks are kept under: those with a verifier are checked when they are taken out again.
fn plain(key: &ChunkKey) -> ChunkKey {
    ChunkKey { blob: key.blob.plain(), ..*key }
}

/// What follows blocks.
impl Shared {
    fn read(&self, key: &ChunkKey, held: Held) -> Option<Bytes> {
        let chunk = self.files.existing(&key.blob).and_then(|files| files.read(key.offset, held.len)).ok();
        let chunk = chunk.filter(|chunk| crc32fast::hash(chunk) == held.crc);
        if chunk.is_none() && lock(&self.ledger).remove(&key.blob, key.offset).is_some() {
            self.free(&key.blob, key.offset, held.len);
        }
        chunk.map(Bytes::from)
    }

    fn write(&self, key: &ChunkKey, chunk: &[u8]) -> std::io::Result<()> {
        if self.written.fetch_add(1, Ordering::Relaxed).is_multiple_of(COUNT_USERS_EVERY) {
            self.share_limit();
        }
        let held = Held { len: key.len, crc: crc32fast::hash(chunk) };
        let Some(evicted) = lock(&self.ledger).reserve(&key.blob, key.offset, held) else {
            return Ok(());
        };
        for (blob, offset, held) in evicted {
            self.free(&blob, offset, held.len);
        }
        let record = Record { offset: key.offset, len: held.len, crc: held.crc };
        let written =
            self.files.create(&key.blob).and_then(|files| files.write(key.offset, chunk).map(|()| files));
        let kept = match written {
            Ok(files) => {
                lock(&self.ledger).insert(&key.blob, key.offset, held);
                let kept = self.append(&files, &key.blob, record);
                if kept.is_err() {
                    lock(&self.ledger).remove(&key.blob, key.offset);
                }
                kept
            }
            Err(error) => {
                lock(&self.ledger).release(held);
                Err(error)
            }
        };
        if kept.is_err() {
            // No record vouches for what was written of it.
            self.free(&key.blob, key.offset, key.len);
        }
        kept
    }

    /// Keeps to an even share of the limit. What a directory that cannot be listed holds is not known to
    /// others either.
    fn share_limit(&self) {
        let Ok(users) = self.user.count() else { return };
        let evicted = lock(&self.ledger).set_limit(self.limit.checked_div(users).unwrap_or(self.limit));
        for (blob, offset, held) in evicted {
            self.free(&blob, offset, held.len);
        }
    }

    /// Adds a record to the map, which is written anew once most of it is history.
    fn append(&self, files: &BlobFiles, blob: &BlobId, record: Record) -> std::io::Result<()> {
        let records = files.append(blob, record)?;
        let live = lock(&self.ledger).count(blob);
        if records > live.saturating_mul(2).saturating_add(HISTORY) {
            let live = lock(&self.ledger).records(blob);
            self.files.rewrite_map(blob, &live)?;
        }
        Ok(())
    }

    /// Gives the disk space of a forgotten chunk back and notes that it is gone. Failures are of no
    /// consequence to readers, since the ledger has forgotten the chunk already.
    fn free(&self, blob: &BlobId, offset: u64, len: u32) {
        if lock(&self.ledger).count(blob) == 0 {
            self.files.delete(blob);
            return;
        }
        let Ok(files) = self.files.existing(blob) else { return };
        let freed = files.punch(offset, len).and_then(|()| self.append(&files, blob, Record::gone(offset)));
        if freed.is_err() {
            lock(&self.ledger).remove_blob(blob);
            self.files.delete(blob);
        }
    }

    /// Takes the chunks that the map of `blob` vouches for, and frees what no record covers.
    fn load(&self, blob: &BlobId) {
        let Ok(files) = self.files.existing(blob) else {
            self.files.delete(blob);
            return;
        };
        let records = files.load_map(blob).unwrap_or_default();
        if records.is_empty() {
            self.files.delete(blob);
            return;
        }
        // A failure leaves stray bytes, which the next opening tries to free again.
        let _ = files.punch_all_but(&records);
        for record in records {
            let held = Held { len: record.len, crc: record.crc };
            let evicted = lock(&self.ledger).reserve(blob, record.offset, held);
            match evicted {
                Some(evicted) => {
                    lock(&self.ledger).insert(blob, record.offset, held);
                    for (blob, offset, held) in evicted {
                        self.free(&blob, offset, held.len);
                    }
                }
                None => self.free(blob, record.offset, record.len),
            }
        }
    }
}

/// The layout's version is in its name: another version never reads these files.
const LAYOUT: &str = "chunks-v1";
/// Records of the past that a map may hold beside those of the present: 20 KiB.
const HISTORY: u64 = 1024;
/// Listing the directory costs as much as writing a few chunks.
const COUNT_USERS_EVERY: u64 = 100;
