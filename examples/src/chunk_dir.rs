//! Chunks in a directory that outlives the process.
//!
//! A cache goes on without a store that fails, so that a full disk stops nobody; whoever named the
//! directory still wants to know, and is told once. Chunks are kept behind the back of their readers: when the
//! last reader is gone, some may still be on their way here.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use lazy_fetch::{
    BlobId, Cache, ChunkKey, ChunkStore, DiskOptions, DiskStore, ErrorKind, MemorySource, TokioRuntime,
};
use tempfile::TempDir;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

/// A directory for chunks that is there before and after the caches over it.
#[derive(Debug, Clone)]
pub struct CacheDir {
    path: PathBuf,
    /// Each cache over it holds this for reading.
    in_use: Arc<RwLock<()>>,
}

impl CacheDir {
    /// The directory at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), in_use: Arc::default() }
    }

    /// Waits until no blob is open any more that is cached here, and what was fetched of them is written.
    pub async fn settled(&self) {
        let _unused = self.in_use.write().await;
    }

    /// Drops what the directory holds of the blob `id` of `size` bytes, because something in it proved wrong.
    /// It must be [`settled`](Self::settled), or the wrong bytes may arrive afterwards.
    ///
    /// # Errors
    ///
    /// If the directory cannot be written.
    pub async fn forget(&self, id: BlobId, size: u64) -> Result<()> {
        let runtime = Arc::new(TokioRuntime::current()?);
        let cache =
            Cache::builder(runtime.clone()).store(Arc::new(ChunkDir::open(runtime, self)?)).build()?;
        // Nothing is read, so there is nothing to read from.
        cache.open(id, size, Arc::new(MemorySource::new(Bytes::new()))).discard(0..size).await?;
        Ok(())
    }
}

/// A [`DiskStore`] that tells of its first failure on standard error.
#[derive(Debug)]
pub struct ChunkDir {
    store: DiskStore,
    told: Once,
    _in_use: Option<OwnedRwLockReadGuard<()>>,
    /// Removed with the last reader of the cache.
    _temporary: Option<TempDir>,
}

impl ChunkDir {
    /// Keeps chunks in `directory`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// If the directory cannot be made or written.
    pub fn open(runtime: Arc<TokioRuntime>, directory: &CacheDir) -> Result<Self> {
        let in_use = Arc::clone(&directory.in_use).try_read_owned().context("the cache is being closed")?;
        Ok(Self { _in_use: Some(in_use), ..Self::over(runtime, &directory.path)? })
    }

    /// Keeps chunks in a new directory for as long as this value lives.
    ///
    /// # Errors
    ///
    /// If there is no place for temporary files.
    pub fn temporary(runtime: Arc<TokioRuntime>) -> Result<Self> {
        let directory = tempfile::tempdir().context("making a temporary directory for the cache")?;
        let kept = Self::over(runtime, directory.path())?;
        Ok(Self { _temporary: Some(directory), ..kept })
    }

    fn over(runtime: Arc<TokioRuntime>, path: &Path) -> Result<Self> {
        let store = DiskStore::open(runtime, path, DiskOptions::default())?;
        Ok(Self { store, told: Once::new(), _in_use: None, _temporary: None })
    }
}

#[async_trait]
impl ChunkStore for ChunkDir {
    fn try_get(&self, key: &ChunkKey) -> Option<Bytes> {
        self.store.try_get(key)
    }

    async fn get(&self, key: &ChunkKey) -> Option<Bytes> {
        self.store.get(key).await
    }

    async fn put(&self, key: &ChunkKey, chunk: Bytes) -> lazy_fetch::Result<()> {
        let kept = self.store.put(key, chunk).await;
        // At the end of the process the rest is not kept, which is no failure.
        if let Err(error) = &kept
            && error.kind() == ErrorKind::Storage
        {
            self.told.call_once(|| eprintln!("warning: not everything is cached: {error}"));
        }
        kept
    }

    async fn remove(&self, key: &ChunkKey) {
        self.store.remove(key).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use lazy_fetch::conformance::chunk_store;

    use super::*;

    #[tokio::test]
    async fn the_contract_of_stores_is_kept() {
        let runtime = Arc::new(TokioRuntime::current().unwrap());
        chunk_store(Arc::new(ChunkDir::temporary(runtime).unwrap())).await;
    }

    #[tokio::test]
    async fn a_directory_is_settled_when_its_last_cache_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = Arc::new(TokioRuntime::current().unwrap());
        let cache = CacheDir::new(directory.path());
        let stores = [(); 2].map(|()| ChunkDir::open(runtime.clone(), &cache).unwrap());
        for store in stores {
            assert!(cache.settled().now_or_never().is_none());
            drop(store);
        }
        assert!(cache.settled().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_forgotten_blob_is_gone_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = Arc::new(TokioRuntime::current().unwrap());
        let cache = CacheDir::new(directory.path());
        let key = |blob, offset| ChunkKey { blob: BlobId::new(blob).unwrap(), offset, len: 65536 };
        let store = ChunkDir::open(runtime.clone(), &cache).unwrap();
        let keys = [key("bad", 0), key("bad", 65536), key("good", 0)];
        for key in &keys {
            store.put(key, vec![7; 65536].into()).await.unwrap();
        }
        drop(store);
        cache.forget(BlobId::new("bad").unwrap(), 131_072).await.unwrap();
        let store = ChunkDir::open(runtime, &cache).unwrap();
        let held = [store.get(&keys[0]).await, store.get(&keys[1]).await, store.get(&keys[2]).await];
        assert_eq!(held.map(|chunk| chunk.is_some()), [false, false, true]);
    }
}
