//! Chunks in a directory that outlives the process.
//!
//! A cache goes on without a store that fails, so that a full disk stops nobody; whoever named the
//! directory still wants to know, and is told once. Chunks are kept behind the back of their readers, so one
//! whose bytes proved wrong may be on its way here when it is removed; it is not taken again.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use lazy_fetch::{ChunkKey, ChunkStore, DiskOptions, DiskStore, ErrorKind, TokioRuntime};
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
}

/// A [`DiskStore`] that tells of its first failure on standard error and does not take back what was removed.
#[derive(Debug)]
pub struct ChunkDir {
    store: DiskStore,
    /// What was removed. Held for reading while a chunk is put, so that a removal comes before or after it.
    removed: RwLock<HashSet<ChunkKey>>,
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
        let removed = RwLock::default();
        Ok(Self { store, removed, told: Once::new(), _in_use: None, _temporary: None })
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
        let removed = self.removed.read().await;
        if removed.contains(key) {
            return Ok(());
        }
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
        let mut removed = self.removed.write().await;
        removed.insert(key.clone());
        self.store.remove(key).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use lazy_fetch::BlobId;

    use super::*;

    #[tokio::test]
    async fn what_proved_wrong_is_not_taken_again() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = Arc::new(TokioRuntime::current().unwrap());
        let key = |offset| ChunkKey { blob: BlobId::new("b").unwrap(), offset, len: 3 };
        let chunk = || Bytes::from_static(b"abc");

        let cache = CacheDir::new(directory.path());
        let store = ChunkDir::open(runtime.clone(), &cache).unwrap();
        for offset in [0, 3] {
            store.put(&key(offset), chunk()).await.unwrap();
        }
        store.remove(&key(0)).await;
        store.put(&key(0), chunk()).await.unwrap();
        assert_eq!(store.get(&key(0)).await, None);

        let store = ChunkDir::open(runtime, &cache).unwrap();
        assert_eq!((store.get(&key(0)).await, store.get(&key(3)).await), (None, Some(chunk())));
        store.put(&key(0), chunk()).await.unwrap();
        assert_eq!(store.get(&key(0)).await, Some(chunk()), "another run may try");
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
}
