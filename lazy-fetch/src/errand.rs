//! The task that brings chunks: from a store where one has them, else from the origin.
//!
//! An errand belongs to the runtime, not to the reader that caused it: readers may leave, and what is
//! under way still reaches the cache. Its end is bounded by its deadline.
//!
//! 1. Each chunk is looked up in the stores, fastest first.
//! 2. Those left are grouped into requests, which run at the same time.
//! 3. A chunk whose last byte has arrived is put into the first store and handed to its readers at once,
//!    while the rest of the request is still on its way.
//! 4. When nobody waits any more, the chunks are put into the lower stores. What is held for that is
//!    at most one request.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{Either, join_all, select};
use futures::stream;

use crate::cache::Shared;
use crate::flight::Landing;
use crate::plan;
use crate::source::{BlobSource, Priority};
use crate::stats::Counters;
use crate::store::{ChunkKey, ChunkStore};
use crate::{Error, ErrorKind, Result};

/// Chunks to bring, and on which terms.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) cache: Arc<Shared>,
    pub(crate) source: Arc<dyn BlobSource>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) priority: Priority,
    pub(crate) deadline: Instant,
}

impl Errand {
    /// Brings the chunks of `landings`, which are in ascending order.
    pub(crate) async fn run(self, landings: Vec<Landing>) {
        let looked_up = stream::iter(landings).map(|landing| self.look_up(landing)).buffered(LOOKUPS);
        let missing: Vec<Landing> = looked_up.filter_map(std::future::ready).collect().await;

        let counts =
            plan::group(missing.iter().map(|landing| landing.key.range()), self.cache.max_request_len);
        let mut missing = missing.into_iter();
        let requests: Vec<_> =
            counts.into_iter().map(|count| self.request(missing.by_ref().take(count).collect())).collect();
        join_all(requests).await;
    }

    /// Lands the chunk if a store has it; gives the landing back otherwise.
    async fn look_up(&self, landing: Landing) -> Option<Landing> {
        for (level, store) in self.cache.stores.iter().enumerate() {
            let found = self.unless_stalled(store.get(&landing.key)).await.unwrap_or_else(|error| {
                self.count_failure(Err(error));
                None
            });
            if let Some(chunk) = found.filter(|chunk| landing.key.check_len(chunk).is_ok()) {
                self.counters.hits_store.add(1);
                for faster in self.cache.stores.iter().take(level) {
                    self.put(&**faster, &landing.key, chunk.clone()).await;
                }
                landing.land(Ok(chunk));
                return None;
            }
        }
        Some(landing)
    }

    /// Fetches adjacent chunks with one download.
    async fn request(&self, landings: Vec<Landing>) {
        let (Some(first), Some(last)) = (landings.first(), landings.last()) else { return };
        let (blob, range) = (first.key.blob.clone(), first.key.offset..last.key.range().end);
        let mut download = self.cache.downloads.start(
            &*self.source,
            &self.counters,
            range.clone(),
            self.priority,
            self.deadline,
        );
        let mut assembly = Assembly { landings: landings.into(), partial: Vec::new() };
        let mut arrived = Vec::new();
        let ended = loop {
            let mut piece = match download.next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => {
                    break Error::new(ErrorKind::Connection, "the download ended before its last chunk");
                }
                Err(error) => break error,
            };
            while let Some((landing, chunk)) = assembly.fill(&mut piece) {
                if let Some(fastest) = self.cache.stores.first() {
                    self.put(&**fastest, &landing.key, chunk.clone()).await;
                }
                arrived.push((landing.key.clone(), chunk.clone()));
                landing.land(Ok(chunk));
            }
        };
        // Nothing is left of a download that brought all.
        for landing in assembly.landings {
            landing.land(Err(ended.clone().at(&blob, range.clone())));
        }
        for store in self.cache.stores.iter().skip(1) {
            for (key, chunk) in &arrived {
                self.put(&**store, key, chunk.clone()).await;
            }
        }
    }

    async fn put(&self, store: &dyn ChunkStore, key: &ChunkKey, chunk: Bytes) {
        let result = self.unless_stalled(store.put(key, chunk)).await.and_then(|kept| kept);
        self.count_failure(result);
    }

    fn count_failure(&self, result: Result<()>) {
        if result.is_err() {
            self.counters.store_failures.add(1);
        }
    }

    /// `work` of a store, unless it hangs: a disk that does not answer must not keep readers from the
    /// origin.
    async fn unless_stalled<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let runtime = self.cache.runtime();
        let patience = runtime.now().checked_add(self.cache.downloads.stall_timeout).unwrap_or(self.deadline);
        match select(std::pin::pin!(work), runtime.sleep_until(patience)).await {
            Either::Left((result, _)) => Ok(result),
            Either::Right(_) => Err(Error::new(ErrorKind::Storage, "a store does not answer")),
        }
    }
}

/// Cuts the pieces of a download into chunks, each in a buffer of its own, so that no chunk keeps a
/// larger buffer alive.
struct Assembly {
    landings: VecDeque<Landing>,
    /// The bytes of the first landing that have arrived.
    partial: Vec<u8>,
}

impl Assembly {
    /// Takes bytes off the front of `piece`; gives the next chunk once it is complete.
    fn fill(&mut self, piece: &mut Bytes) -> Option<(Landing, Bytes)> {
        let len = self.landings.front()?.key.len as usize;
        let wanted = len.saturating_sub(self.partial.len());
        self.partial.reserve_exact(wanted);
        self.partial.extend_from_slice(&piece.split_to(wanted.min(piece.len())));
        if self.partial.len() < len {
            return None;
        }
        let chunk = Bytes::from(std::mem::take(&mut self.partial));
        Some((self.landings.pop_front()?, chunk))
    }
}

/// Store look-ups at a time: enough to hide the hand-over to another thread.
const LOOKUPS: usize = 8;
