//! The task that brings chunks: from a store where one has them, else from the origin.
//!
//! An errand belongs to the runtime, not to the reader that caused it: readers may leave, and what is
//! under way still reaches the cache. Its end is bounded by its deadline.
//!
//! 1. Each chunk is looked up in the stores, fastest first.
//! 2. Those left are grouped into requests.
//! 3. A request waits for its turn, the most urgent first: the bytes in flight are bounded.
//! 4. A chunk whose last byte has arrived is put into the first store and handed to its readers at once,
//!    while the rest of the request is still on its way.
//! 5. When nobody waits any more, the chunks are put into the lower stores. What is held for that is
//!    at most one request.

use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{Either, join_all, select};
use futures::stream;

use crate::cache::Shared;
use crate::flight::{Flight, Joined, Landing};
use crate::gate::Permit;
use crate::source::{BlobSource, Priority, Urgency};
use crate::stats::Counters;
use crate::store::{ChunkKey, ChunkStore};
use crate::{Error, ErrorKind, Result};

/// Joins chunks one after the other and sends an errand for each run of them that makes a request.
pub(crate) struct Errands {
    terms: Terms,
    landings: Vec<Landing>,
}

/// On which terms chunks are brought.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) cache: Arc<Shared>,
    pub(crate) source: Arc<dyn BlobSource>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) urgency: Urgency,
    /// Without one, the read timeout counts from the moment the request has its turn.
    pub(crate) deadline: Option<Instant>,
}

/// A chunk that is wanted.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// It is in memory.
    Here(Bytes),
    /// It is on its way.
    Coming(Flight),
}

impl Errands {
    pub(crate) fn new(terms: Terms) -> Self {
        Self { terms, landings: Vec::new() }
    }

    /// Sees that the chunk is brought. Keys come in ascending order.
    pub(crate) fn join(&mut self, key: &ChunkKey) -> Wanted {
        let first = self.landings.first().map_or(key.offset, |landing| landing.key.offset);
        if key.range().end.saturating_sub(first) > self.terms.cache.shape.max_len {
            self.send();
        }
        let Terms { cache, counters, urgency, deadline, .. } = &self.terms;
        let is_demand = urgency.get() == Priority::OnDemand;
        if let Some(chunk) = cache.warm(key) {
            counters.hits_warm.add(u64::from(is_demand));
            return Wanted::Here(chunk);
        }
        match cache.flights.join(key, urgency, *deadline, || cache.warm(key)) {
            Joined::Here(chunk) => Wanted::Here(chunk),
            Joined::Under(flight) => {
                counters.joined.add(u64::from(is_demand));
                Wanted::Coming(flight)
            }
            Joined::New(flight, landing) => {
                self.landings.push(landing);
                Wanted::Coming(flight)
            }
        }
    }

    /// Sends for what was joined and nobody brings yet.
    pub(crate) fn send(&mut self) {
        if self.landings.is_empty() {
            return;
        }
        // Each request has an urgency of its own.
        let next = Terms { urgency: Urgency::new(self.terms.urgency.get()), ..self.terms.clone() };
        let errand = Errand { terms: mem::replace(&mut self.terms, next) };
        let landings = mem::take(&mut self.landings);
        self.terms.cache.runtime().spawn(Box::pin(errand.run(landings)));
    }
}

struct Errand {
    terms: Terms,
}

impl Errand {
    /// Brings the chunks of `landings`, which are in ascending order.
    async fn run(self, landings: Vec<Landing>) {
        let looked_up = stream::iter(landings).map(|landing| self.look_up(landing)).buffered(LOOKUPS);
        let missing: Vec<Landing> = looked_up.filter_map(std::future::ready).collect().await;

        let counts = self.terms.cache.shape.group(missing.iter().map(|landing| landing.key.range()));
        let mut missing = missing.into_iter();
        let requests: Vec<_> =
            counts.into_iter().map(|count| self.request(missing.by_ref().take(count).collect())).collect();
        join_all(requests).await;
    }

    /// Lands the chunk if a store has it; gives the landing back otherwise.
    async fn look_up(&self, landing: Landing) -> Option<Landing> {
        let Terms { cache, counters, .. } = &self.terms;
        for (level, store) in cache.stores.iter().enumerate() {
            let found = self.unless_stalled(store.get(&landing.key)).await.unwrap_or_else(|error| {
                self.count_failure(Err(error));
                None
            });
            if let Some(chunk) = found.filter(|chunk| landing.key.check_len(chunk).is_ok()) {
                counters.hits_store.add(1);
                for faster in cache.stores.iter().take(level) {
                    self.put(&**faster, &landing.key, chunk.clone()).await;
                }
                landing.land(Ok(chunk));
                return None;
            }
        }
        Some(landing)
    }

    /// Fetches chunks that are close together with one download.
    async fn request(&self, landings: Vec<Landing>) {
        let (Some(first), Some(last)) = (landings.first(), landings.last()) else { return };
        let (blob, range) = (first.key.blob.clone(), first.key.offset..last.key.range().end);
        let mut assembly = Assembly { at: range.start, landings: landings.into(), partial: Vec::new() };
        let mut arrived = Vec::new();
        let turn = self.turn(range.end.saturating_sub(range.start)).await;
        let ended = match &turn {
            Ok(_) => self.download(range.clone(), &mut assembly, &mut arrived).await,
            Err(error) => error.clone(),
        };
        // Nothing is left of a download that brought all.
        for landing in assembly.landings {
            landing.land(Err(ended.clone().at(&blob, range.clone())));
        }
        for store in self.terms.cache.stores.iter().skip(1) {
            for (key, chunk) in &arrived {
                self.put(&**store, key, chunk.clone()).await;
            }
        }
    }

    /// Waits until the bytes fit what may be in flight.
    async fn turn(&self, bytes: u64) -> Result<Permit> {
        let Terms { cache, urgency, deadline, .. } = &self.terms;
        let entry = cache.in_flight.enter(bytes, urgency);
        let Some(deadline) = deadline else { return entry.await };
        match select(std::pin::pin!(entry), cache.runtime().sleep_until(*deadline)).await {
            Either::Left((permit, _)) => permit,
            Either::Right(_) => Err(Error::new(
                ErrorKind::DeadlineExceeded,
                "the deadline passed while other requests took up what may be in flight",
            )),
        }
    }

    /// Downloads `range` and lands its chunks as they become complete; gives the reason of its end.
    async fn download(
        &self,
        range: std::ops::Range<u64>,
        assembly: &mut Assembly,
        arrived: &mut Vec<(ChunkKey, Bytes)>,
    ) -> Error {
        let Terms { cache, source, counters, urgency, deadline } = &self.terms;
        let deadline = deadline.unwrap_or_else(|| cache.default_deadline());
        let mut download = cache.downloads.start(&**source, counters, range, urgency, deadline);
        loop {
            let mut piece = match download.next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => {
                    return Error::new(ErrorKind::Connection, "the download ended before its last chunk");
                }
                Err(error) => return error,
            };
            while let Some((landing, chunk)) = assembly.fill(&mut piece, counters) {
                if let Some(fastest) = cache.stores.first() {
                    self.put(&**fastest, &landing.key, chunk.clone()).await;
                }
                arrived.push((landing.key.clone(), chunk.clone()));
                landing.land(Ok(chunk));
            }
        }
    }

    async fn put(&self, store: &dyn ChunkStore, key: &ChunkKey, chunk: Bytes) {
        let result = self.unless_stalled(store.put(key, chunk)).await.and_then(|kept| kept);
        self.count_failure(result);
    }

    fn count_failure(&self, result: Result<()>) {
        if result.is_err() {
            self.terms.counters.store_failures.add(1);
        }
    }

    /// `work` of a store, unless it hangs: a disk that does not answer must not keep readers from the
    /// origin.
    async fn unless_stalled<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let (runtime, patience) = (self.terms.cache.runtime(), self.terms.cache.downloads.stall_timeout);
        let Some(until) = runtime.now().checked_add(patience) else { return Ok(work.await) };
        match select(std::pin::pin!(work), runtime.sleep_until(until)).await {
            Either::Left((result, _)) => Ok(result),
            Either::Right(_) => Err(Error::new(ErrorKind::Storage, "a store does not answer")),
        }
    }
}

/// Cuts the pieces of a download into chunks, each in a buffer of its own, so that no chunk keeps a
/// larger buffer alive.
struct Assembly {
    /// Where the next piece belongs.
    at: u64,
    landings: VecDeque<Landing>,
    /// The bytes of the first landing that have arrived.
    partial: Vec<u8>,
}

impl Assembly {
    /// Takes bytes off the front of `piece`; gives the next chunk once it is complete. Bytes between two
    /// chunks are counted and let go: somebody else brings them, or they are here.
    fn fill(&mut self, piece: &mut Bytes, counters: &Counters) -> Option<(Landing, Bytes)> {
        let key = &self.landings.front()?.key;
        let len = key.len as usize;
        let gap = self.take(piece, key.offset.saturating_sub(self.at));
        counters.bytes_in_gaps.add(gap.len() as u64);
        let wanted = len.saturating_sub(self.partial.len());
        self.partial.reserve_exact(wanted);
        let part = self.take(piece, wanted as u64);
        self.partial.extend_from_slice(&part);
        if self.partial.len() < len {
            return None;
        }
        let chunk = Bytes::from(mem::take(&mut self.partial));
        Some((self.landings.pop_front()?, chunk))
    }

    fn take(&mut self, piece: &mut Bytes, most: u64) -> Bytes {
        let part = piece.split_to(usize::try_from(most).unwrap_or(usize::MAX).min(piece.len()));
        self.at = self.at.saturating_add(part.len() as u64);
        part
    }
}

/// Store look-ups at a time: enough to hide the hand-over to another thread.
const LOOKUPS: usize = 8;
