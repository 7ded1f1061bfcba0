//! On which terms the chunks of a blob are brought, and what the stores know of them.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::future::{Either, select};

use crate::cache::Shared;
use crate::source::{BlobSource, Priority, Urgency};
use crate::stats::Meter;
use crate::store::{ChunkKey, ChunkStore};
use crate::verify::Verifier;
use crate::{Error, ErrorKind, Result};

/// On which terms chunks are brought.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) cache: Arc<Shared>,
    pub(crate) source: Arc<dyn BlobSource>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) verifier: Option<Arc<dyn Verifier>>,
    pub(crate) urgency: Urgency,
    /// Without one, the read timeout counts from the moment the request has its turn.
    pub(crate) deadline: Option<Instant>,
}

impl Terms {
    /// The chunk, if a store has it. The stores above that one have it then, too.
    pub(crate) async fn stored(&self, key: &ChunkKey) -> Option<Bytes> {
        let stores = &self.cache.stores;
        for (level, store) in stores.iter().enumerate() {
            let found = self.unless_stalled(store.get(key)).await.unwrap_or_else(|error| {
                self.meter.store_failure(&error);
                None
            });
            let Some(chunk) = found.filter(|chunk| key.check_len(chunk).is_ok()) else { continue };
            if self.is_right(key, &chunk) {
                self.meter.counts.hits_store.add(1);
                // What is only passing through must not push out what is read.
                let passing = self.urgency.get() == Priority::Background;
                for faster in stores.iter().take(if passing { 0 } else { level }) {
                    self.put(&**faster, key, chunk.clone()).await;
                }
                return Some(chunk);
            }
            let _ = self.unless_stalled(store.remove(key)).await;
        }
        None
    }

    /// Whether a chunk matches its digest, where there is one.
    pub(crate) fn is_right(&self, key: &ChunkKey, chunk: &[u8]) -> bool {
        let is_right = self.verifier.as_ref().is_none_or(|verifier| verifier.matches(key.offset, chunk));
        if !is_right {
            self.meter.mismatch(key.range());
        }
        is_right
    }

    /// Keeps the chunk, as far as the store can.
    pub(crate) async fn put(&self, store: &dyn ChunkStore, key: &ChunkKey, chunk: Bytes) {
        let kept = self.unless_stalled(store.put(key, chunk)).await.and_then(|kept| kept);
        if let Err(error) = kept {
            self.meter.store_failure(&error);
        }
    }

    /// `work` of a store, unless it hangs: a disk that does not answer must not keep readers from the
    /// origin.
    async fn unless_stalled<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let (runtime, patience) = (self.cache.runtime(), self.cache.downloads.stall_timeout);
        let Some(until) = runtime.now().checked_add(patience) else { return Ok(work.await) };
        match select(pin!(work), runtime.sleep_until(until)).await {
            Either::Left((result, _)) => Ok(result),
            Either::Right(_) => Err(Error::new(ErrorKind::Storage, "a store does not answer")),
        }
    }
}
