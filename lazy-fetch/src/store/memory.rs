//! Chunks in memory.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use async_trait::async_trait;
use bytes::Bytes;
use lru::LruCache;

use super::{ChunkKey, ChunkStore};
use crate::Result;
use crate::sync::{Mutex, lock};

/// Chunks in memory, the least recently used ones forgotten first.
///
/// The limit is in bytes, a fixed cost per chunk included. It is split evenly over shards with a lock
/// each, so that warm readers on several threads seldom meet.
pub struct MemoryStore {
    shards: Vec<Mutex<Shard>>,
    shard_limit: u64,
    hasher: RandomState,
}

struct Shard {
    chunks: LruCache<ChunkKey, Bytes>,
    bytes: u64,
}

impl MemoryStore {
    /// A store of at most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        let shards = (limit / MIN_SHARD).clamp(1, MAX_SHARDS);
        let shard = || Mutex::new(Shard { chunks: LruCache::unbounded(), bytes: 0 });
        Self {
            shard_limit: limit / shards,
            shards: (0..shards).map(|_| shard()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).bytes).sum()
    }

    fn shard(&self, key: &ChunkKey) -> Option<&Mutex<Shard>> {
        // The position alone spreads the chunks of one blob; the blob's name need not be hashed twice.
        let hash = self.hasher.hash_one(key.offset);
        self.shards.get(usize::try_from(hash % self.shards.len() as u64).unwrap_or(0))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

#[async_trait]
impl ChunkStore for MemoryStore {
    fn try_get(&self, key: &ChunkKey) -> Option<Bytes> {
        lock(self.shard(key)?).chunks.get(key).cloned()
    }

    async fn get(&self, key: &ChunkKey) -> Option<Bytes> {
        self.try_get(key)
    }

    async fn put(&self, key: &ChunkKey, chunk: Bytes) -> Result<()> {
        key.check_len(&chunk)?;
        let Some(shard) = self.shard(key) else { return Ok(()) };
        let mut shard = lock(shard);
        if weight(key) > self.shard_limit {
            return Ok(());
        }
        if shard.chunks.put(key.clone(), chunk).is_none() {
            shard.bytes = shard.bytes.saturating_add(weight(key));
        }
        while shard.bytes > self.shard_limit
            && let Some((old, _)) = shard.chunks.pop_lru()
        {
            shard.bytes = shard.bytes.saturating_sub(weight(&old));
        }
        Ok(())
    }

    async fn remove(&self, key: &ChunkKey) {
        let Some(shard) = self.shard(key) else { return };
        let mut shard = lock(shard);
        if shard.chunks.pop(key).is_some() {
            shard.bytes = shard.bytes.saturating_sub(weight(key));
        }
    }
}

/// What a chunk counts for: its bytes and the entry that holds them.
fn weight(key: &ChunkKey) -> u64 {
    u64::from(key.len).saturating_add(OVERHEAD)
}

/// Entry, key, list links and allocation headers, rounded up.
const OVERHEAD: u64 = 160;
/// More shards than threads that read at once bring nothing.
const MAX_SHARDS: u64 = 16;
/// Below this a shard holds too few chunks for its order of use to mean anything.
const MIN_SHARD: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::BlobId;

    fn key(offset: u64, len: u32) -> ChunkKey {
        ChunkKey { blob: BlobId::new("b").unwrap(), offset, len }
    }

    fn put(store: &MemoryStore, offset: u64, len: u32) {
        block_on(store.put(&key(offset, len), Bytes::from(vec![1; len as usize]))).unwrap();
    }

    #[test]
    fn the_limit_is_kept_and_the_least_recently_used_go_first() {
        let store = MemoryStore::new(3 * 1160);
        for offset in 0..3 {
            put(&store, offset, 1000);
        }
        assert!(store.try_get(&key(0, 1000)).is_some());
        put(&store, 3, 1000);
        let held: Vec<_> = (0..4).map(|offset| store.try_get(&key(offset, 1000)).is_some()).collect();
        assert_eq!(held, [true, false, true, true]);
        assert!(store.bytes() <= 3 * 1160);
    }

    #[test]
    fn what_is_larger_than_the_store_is_not_kept() {
        let store = MemoryStore::new(1000);
        put(&store, 0, 2000);
        assert_eq!((store.bytes(), store.try_get(&key(0, 2000))), (0, None));
    }

    #[test]
    fn putting_again_counts_once_and_removing_gives_back() {
        let store = MemoryStore::new(1 << 20);
        put(&store, 0, 1000);
        put(&store, 0, 1000);
        assert_eq!(store.bytes(), 1160);
        block_on(store.remove(&key(0, 1000)));
        assert_eq!(store.bytes(), 0);
    }
}
