//! On which terms the chunks of a blob are brought, and what the stores know of them.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::Result;
use crate::cache::Shared;
use crate::discards::DiscardCount;
use crate::source::{BlobSource, Priority, Urgency};
use crate::stats::Meter;
use crate::store::ChunkKey;
use crate::tier::Tier;
use crate::verify::Verifier;

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
    pub(crate) discards: DiscardCount,
}

impl Terms {
    /// The chunk, if a store has it. The stores above that one have it then, too.
    pub(crate) async fn stored(&self, key: &ChunkKey) -> Option<Bytes> {
        let (tiers, since) = (&self.cache.tiers, self.discards.get());
        for (level, tier) in tiers.iter().enumerate() {
            let found = self.watch(tier, self.haste(), tier.store.get(key)).await.unwrap_or_else(|error| {
                self.meter.store_failure(&error);
                None
            });
            let Some(chunk) = found.filter(|chunk| key.check_len(chunk).is_ok()) else { continue };
            if self.is_right(key, &chunk) {
                self.meter.counts.hits_store.add(1);
                // What is only passing through must not push out what is read.
                let passing = self.urgency.get() == Priority::Background;
                for faster in tiers.iter().take(if passing { 0 } else { level }) {
                    self.put(faster, key, chunk.clone(), since).await;
                }
                return Some(chunk);
            }
            let _ = self.remove(tier, key).await;
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

    /// Keeps the chunk, as far as the store can, unless something of the blob was discarded after there were
    /// `since` discards, when the chunk was got.
    pub(crate) async fn put(&self, tier: &Tier, key: &ChunkKey, chunk: Bytes, since: u64) {
        if self.discards.get() != since {
            return;
        }
        let kept = self.watch(tier, None, tier.store.put(key, chunk)).await.and_then(|kept| kept);
        if let Err(error) = kept {
            self.meter.store_failure(&error);
        }
        if self.discards.get() != since {
            let _ = self.remove(tier, key).await;
        }
    }

    /// # Errors
    ///
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the store does not answer.
    pub(crate) async fn remove(&self, tier: &Tier, key: &ChunkKey) -> Result<()> {
        let removed = self.watch(tier, None, tier.store.remove(key)).await;
        if let Err(error) = &removed {
            self.meter.store_failure(error);
        }
        removed
    }

    /// How long to look for a chunk in a store, so that there is time left for the origin.
    fn haste(&self) -> Option<Duration> {
        let left = self.deadline?.saturating_duration_since(self.cache.runtime().now());
        left.checked_div(STORE_SHARE)
    }

    async fn watch<T>(
        &self,
        tier: &Tier,
        haste: Option<Duration>,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        tier.watch(self.cache.runtime(), self.cache.downloads.stall_timeout, haste, work).await
    }
}

/// One part in so many of the time that is left may be spent on one store.
const STORE_SHARE: u32 = 4;
