//! Chunks in a directory, which says so once if it cannot keep them.
//!
//! A cache goes on without a store that fails, so that a full disk stops nobody. Whoever named the
//! directory still wants to know.

use std::path::Path;
use std::sync::{Arc, Once};

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use lazy_fetch::{ChunkKey, ChunkStore, DiskOptions, DiskStore, TokioRuntime};
use tempfile::TempDir;

/// A [`DiskStore`] that tells of its first failure on standard error.
#[derive(Debug)]
pub struct ChunkDir {
    store: DiskStore,
    told: Once,
    /// Removed with the last reader of the cache.
    _temporary: Option<TempDir>,
}

impl ChunkDir {
    /// Keeps chunks in `directory`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// If the directory cannot be made or written.
    pub fn open(runtime: Arc<TokioRuntime>, directory: &Path) -> Result<Self> {
        let store = DiskStore::open(runtime, directory, DiskOptions::default())?;
        Ok(Self { store, told: Once::new(), _temporary: None })
    }

    /// Keeps chunks in a new directory for as long as this value lives.
    ///
    /// # Errors
    ///
    /// If there is no place for temporary files.
    pub fn temporary(runtime: Arc<TokioRuntime>) -> Result<Self> {
        let directory = tempfile::tempdir().context("making a temporary directory for the cache")?;
        let kept = Self::open(runtime, directory.path())?;
        Ok(Self { _temporary: Some(directory), ..kept })
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
        if let Err(error) = &kept {
            self.told.call_once(|| eprintln!("warning: not everything is cached: {error}"));
        }
        kept
    }

    async fn remove(&self, key: &ChunkKey) {
        self.store.remove(key).await;
    }
}
