//! The blobs of one repository, read lazily through a cache or as a whole.

use std::sync::Arc;

use anyhow::Result;
use lazy_fetch::{
    BlobId, BlobSource, Cache, DiskOptions, DiskStore, HttpClient, HttpOptions, HttpSource, MemoryStore,
    TokioRuntime,
};
use referrers::{Digest, Registry, Repository};
use tempfile::TempDir;

use crate::lazy_image::OpenBlob;

/// Where blobs come from, and the cache they go through. The cache starts empty and ends with this
/// value.
#[derive(Debug)]
pub struct Origin {
    registry: Registry,
    repository: Repository,
    http: HttpClient,
    cache: Cache,
    _disk: TempDir,
}

impl Origin {
    /// The blobs of `repository`, with connections and a cache of their own. To be called from a task
    /// of a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the cache's temporary directory cannot be made.
    pub fn new(registry: Registry, repository: Repository) -> Result<Self> {
        let disk = tempfile::tempdir()?;
        let runtime = Arc::new(TokioRuntime::current()?);
        let cache = Cache::builder(runtime.clone())
            .store(Arc::new(MemoryStore::new(MEMORY)))
            .store(Arc::new(DiskStore::open(runtime, disk.path(), DiskOptions::default())?))
            .build()?;
        let http = HttpClient::new(HttpOptions::default())?;
        Ok(Self { registry, repository, http, cache, _disk: disk })
    }

    /// The blob, to be read as a whole and past the cache.
    ///
    /// # Errors
    ///
    /// If the repository and the digest give no URL.
    pub fn source(&self, digest: &Digest, size: u64) -> Result<Arc<dyn BlobSource>> {
        let endpoint = Arc::new(self.registry.blob(&self.repository, digest)?);
        Ok(Arc::new(HttpSource::new(self.http.clone(), endpoint, size)))
    }

    /// The blob, to be read lazily. Nothing is fetched yet.
    ///
    /// # Errors
    ///
    /// As [`source`](Self::source).
    pub fn open(&self, digest: &Digest, size: u64) -> Result<OpenBlob> {
        let blob = self.cache.open(BlobId::new(digest.as_str())?, size, self.source(digest, size)?);
        Ok(OpenBlob {
            name: digest.to_string(),
            digest: Some(digest.clone()),
            reader: Arc::new(blob.clone()),
            remote: Some(blob),
        })
    }
}

/// Bytes of chunks in memory; the others are on the disk.
const MEMORY: u64 = 64 << 20;
