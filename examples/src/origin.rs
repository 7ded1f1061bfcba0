//! The blobs of one repository, read lazily through a cache or as a whole.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use lazy_fetch::{
    BlobId, BlobSource, Cache, CacheOptions, HttpClient, HttpOptions, HttpSource, MemoryStore, TokioRuntime,
};
use referrers::{Digest, Registry, Repository};

use crate::access::Keep;
use crate::chunk_dir::ChunkDir;
use crate::lazy_image::OpenBlob;

/// Where blobs come from, and the cache they go through.
#[derive(Debug)]
pub struct Origin {
    registry: Registry,
    repository: Repository,
    http: HttpClient,
    cache: Cache,
}

impl Origin {
    /// The blobs of `repository`, with connections and a cache of their own. One read may take as long as
    /// `timeout`. To be called from a task of a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the cache's directory cannot be made or written.
    pub fn new(registry: Registry, repository: Repository, keep: &Keep, timeout: Duration) -> Result<Self> {
        let runtime = Arc::new(TokioRuntime::current()?);
        let options =
            CacheOptions::default().with_read_timeout(timeout).with_stall_timeout(timeout / STALLS_IN_A_READ);
        let cache =
            Cache::builder(runtime.clone()).options(options).store(Arc::new(MemoryStore::new(MEMORY)));
        let cache = match keep {
            Keep::Nowhere => cache,
            Keep::Temporary => cache.store(Arc::new(ChunkDir::temporary(runtime)?)),
            Keep::Directory(directory) => cache.store(Arc::new(ChunkDir::open(runtime, directory)?)),
        };
        let http = HttpClient::new(HttpOptions::default())?;
        Ok(Self { registry, repository, http, cache: cache.build()? })
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

    /// The blob, to be read lazily.
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
            target: None,
        })
    }
}

/// Bytes of chunks in memory; the others are on the disk.
const MEMORY: u64 = 64 << 20;

/// So many silences of the origin end a read: the proportion of lazy-fetch's own defaults.
const STALLS_IN_A_READ: u32 = 6;
