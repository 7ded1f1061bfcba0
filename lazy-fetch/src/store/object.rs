//! Chunks in an object store, for a whole fleet.
//!
//! ```text
//!  PREFIX/chunks-v1/<blob id>/<offset>-<length>      SHA-256 (32 bytes) | the chunk
//! ```
//!
//! The digest is of the chunk's name and its bytes, so that an object that was damaged, cut or put in the place of
//! another one is a miss. It finds accidents; against whoever can write to the bucket a
//! [`Verifier`](crate::Verifier) helps.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use super::{ChunkKey, ChunkStore};
use crate::digest::Hasher;
use crate::source::object_failure;
use crate::{Digest, ErrorKind, Result};

/// A [`ChunkStore`] in S3, GCS, Azure or any other [`ObjectStore`], below the stores of each node.
///
/// It keeps no limit: give the bucket a rule that deletes objects which are old.
#[derive(Debug, Clone)]
pub struct ObjectTier {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl ObjectTier {
    /// Keeps chunks under `prefix` of `store`.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { store, prefix }
    }

    fn path(&self, key: &ChunkKey) -> Path {
        let name = format!("{}-{}", key.offset, key.len);
        [LAYOUT, key.blob.as_str(), &name].into_iter().fold(self.prefix.clone(), |path, part| path.join(part))
    }

    async fn read(&self, key: &ChunkKey) -> object_store::Result<Option<Bytes>> {
        let found = self.store.get(&self.path(key)).await?;
        if found.meta.size != u64::from(key.len).saturating_add(DIGEST) {
            return Ok(None);
        }
        let object = found.bytes().await?;
        let Some((digest, _)) = object.split_first_chunk::<32>() else { return Ok(None) };
        let chunk = object.slice(digest.len()..);
        Ok((Digest::new(*digest) == digest_of(key, &chunk)).then_some(chunk))
    }
}

#[async_trait]
impl ChunkStore for ObjectTier {
    fn try_get(&self, _key: &ChunkKey) -> Option<Bytes> {
        None
    }

    async fn get(&self, key: &ChunkKey) -> Option<Bytes> {
        self.read(key).await.ok().flatten()
    }

    async fn put(&self, key: &ChunkKey, chunk: Bytes) -> Result<()> {
        key.check_len(&chunk)?;
        let digest = Bytes::copy_from_slice(digest_of(key, &chunk).as_bytes());
        let payload = PutPayload::from_iter([digest, chunk]);
        match self.store.put(&self.path(key), payload).await {
            Ok(_) => Ok(()),
            Err(e) => Err(crate::Error::new(ErrorKind::Storage, "keeping a chunk in an object store")
                .with_source(object_failure(&e))
                .at(&key.blob, key.range())),
        }
    }

    async fn remove(&self, key: &ChunkKey) {
        // What stays is found out by whoever reads it next, as it was now.
        let _ = self.store.delete(&self.path(key)).await;
    }
}

fn digest_of(key: &ChunkKey, chunk: &[u8]) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(format!("{} {} {}\n", key.blob, key.offset, key.len).as_bytes());
    hasher.update(chunk);
    hasher.finish()
}

/// The layout's version is in its name: another version never reads these objects.
const LAYOUT: &str = "chunks-v1";
/// Bytes before the chunk.
const DIGEST: u64 = 32;
