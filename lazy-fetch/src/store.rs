//! Where chunks are kept between the origin and the reader.

mod disk;
mod memory;
#[cfg(feature = "object_store")]
mod object;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

#[cfg(feature = "conformance")]
pub use self::disk::DiskOp;
#[cfg(all(test, shuttle))]
pub(crate) use self::disk::ledger as disk_ledger;
pub use self::disk::{DiskOptions, DiskStore, Scrubbed};
pub use self::memory::MemoryStore;
#[cfg(feature = "object_store")]
pub use self::object::ObjectTier;
use crate::{BlobId, Error, ErrorKind, Result};

/// A place for chunks. It may forget any of them at any time.
///
/// # Contract
///
/// * **The bytes or a miss.** A chunk comes back as it was put, or not at all. What cannot be read, does
///   not match its check or was put under another key is a miss: a store never fails a read.
/// * **Best effort.** A [`put`](Self::put) that fails changes nothing that a later `get` would trust.
///   The cache counts the failure and goes on without the store.
/// * **Bounded.** A store with a limit keeps it by forgetting, not by refusing.
/// * **Concurrent.** Calls come from many tasks; each future may be dropped at any await point.
///
/// The suite in `conformance` (feature `conformance`) checks this contract.
#[async_trait]
pub trait ChunkStore: Send + Sync + fmt::Debug {
    /// The chunk, if it is in memory. Neither waits, nor does I/O, nor allocates. Not of another key, also where
    /// the ids of two blobs look the same: what comes from here is not checked by a verifier.
    fn try_get(&self, key: &ChunkKey) -> Option<Bytes>;

    /// The chunk, if the store has it.
    async fn get(&self, key: &ChunkKey) -> Option<Bytes>;

    /// Keeps the chunk, whose length is `key.len`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for another length; [`ErrorKind::Storage`] if it could not be kept.
    async fn put(&self, key: &ChunkKey, chunk: Bytes) -> Result<()>;

    /// Forgets the chunk, because its bytes proved wrong.
    async fn remove(&self, key: &ChunkKey);
}

/// The name of a chunk: a blob and the exact bytes of it.
///
/// Position and length are both in the name, so that caches with different chunk sizes can share a
/// store without taking one another's bytes for theirs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChunkKey {
    /// The blob.
    pub blob: BlobId,
    /// First byte of the chunk.
    pub offset: u64,
    /// Number of bytes.
    pub len: u32,
}

impl ChunkKey {
    /// The bytes of the blob that the chunk holds.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(u64::from(self.len))
    }

    /// Checks that `chunk` has the length of this key.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it has not.
    pub fn check_len(&self, chunk: &[u8]) -> Result<()> {
        if chunk.len() as u64 == u64::from(self.len) {
            return Ok(());
        }
        let why = format!("a chunk of {} bytes where {} belong", chunk.len(), self.len);
        Err(Error::new(ErrorKind::InvalidInput, why).at(&self.blob, self.range()))
    }
}
