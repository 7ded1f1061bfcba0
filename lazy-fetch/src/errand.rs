//! The task that brings chunks: from a store where one has them, else from the origin.
//!
//! An errand belongs to the runtime, not to the reader that caused it: readers may leave, and what is
//! under way still reaches the cache. Its end is bounded by its deadline.
//!
//! 1. Each chunk is looked up in the stores, fastest first, when it is its turn: a profile of thousands of chunks
//!    does not keep a reader from the disk.
//! 2. Those left are grouped into requests.
//! 3. A request waits for its turn, the most urgent first: the bytes in flight are bounded.
//! 4. A chunk whose last byte has arrived is put into the first store and handed to its readers at once,
//!    while the rest of the request is still on its way.
//! 5. When nobody waits any more, the chunks are put into the lower stores. What is held for that is
//!    at most one request.

use std::mem;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{Either, join_all, select};
use futures::stream;

use crate::assembly::Assembly;
use crate::flight::{Flight, Joined, Landing};
use crate::gate::{Gate, Permit};
use crate::source::{Priority, Urgency};
use crate::store::ChunkKey;
use crate::terms::Terms;
use crate::{Error, ErrorKind, Result};

/// Joins chunks one after the other and sends an errand for each run of them that makes a request.
pub(crate) struct Errands {
    terms: Terms,
    landings: Vec<Landing>,
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
        let Terms { cache, meter, urgency, deadline, .. } = &self.terms;
        let is_demand = urgency.get() == Priority::OnDemand;
        if let Some(chunk) = cache.warm(key) {
            meter.counts.hits_warm.add(u64::from(is_demand));
            return Wanted::Here(chunk);
        }
        match cache.flights.join(key, urgency, *deadline, || cache.warm(key)) {
            Joined::Here(chunk) => Wanted::Here(chunk),
            Joined::Under(flight) => {
                meter.counts.joined.add(u64::from(is_demand));
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
        let at_a_time = landings.len().min(LOOKUPS);
        let turn = match self.turn(&self.terms.cache.lookups, at_a_time as u64).await {
            Ok(turn) => turn,
            Err(error) => return give_up(landings, &error),
        };
        let looked_up = stream::iter(landings).map(|landing| self.look_up(landing)).buffered(LOOKUPS);
        let missing: Vec<Landing> = looked_up.filter_map(std::future::ready).collect().await;
        drop(turn);

        let counts = self.terms.cache.shape.group(missing.iter().map(|landing| landing.key.range()));
        let mut missing = missing.into_iter();
        let requests: Vec<_> =
            counts.into_iter().map(|count| self.request(missing.by_ref().take(count).collect())).collect();
        join_all(requests).await;
    }

    /// Lands the chunk if a store has it; gives the landing back otherwise.
    async fn look_up(&self, landing: Landing) -> Option<Landing> {
        let Some(chunk) = self.terms.stored(&landing.key).await else { return Some(landing) };
        landing.land(Ok(chunk));
        None
    }

    /// Fetches chunks that are close together with one download.
    async fn request(&self, landings: Vec<Landing>) {
        let (Some(first), Some(last)) = (landings.first(), landings.last()) else { return };
        let len = last.key.range().end.saturating_sub(first.key.offset);
        let turn = self.turn(&self.terms.cache.in_flight, len).await;
        let since = self.terms.discards.get();
        let mut arrived = Vec::new();
        match &turn {
            Ok(_) => {
                let wrong = self.download(landings, &mut arrived).await;
                for landing in wrong {
                    self.repair(landing, &mut arrived).await;
                }
            }
            Err(error) => give_up(landings, error),
        }
        for tier in self.terms.cache.tiers.iter().skip(1) {
            for (key, chunk) in &arrived {
                self.terms.put(tier, key, chunk.clone(), since).await;
            }
        }
    }

    /// Fetches a chunk again whose bytes were wrong, a bounded number of times.
    async fn repair(&self, landing: Landing, arrived: &mut Vec<(ChunkKey, Bytes)>) {
        let mut wrong = vec![landing];
        for _ in 0..REPAIRS {
            wrong = self.download(wrong, arrived).await;
            if wrong.is_empty() {
                return;
            }
        }
        give_up(wrong, &Error::new(ErrorKind::Corrupt, "the bytes do not match their digest"));
    }

    /// Waits until `weight` fits the budget.
    async fn turn(&self, budget: &Arc<Gate>, weight: u64) -> Result<Permit> {
        let Terms { cache, urgency, deadline, .. } = &self.terms;
        let entry = budget.enter(weight, urgency);
        let Some(deadline) = deadline else { return entry.await };
        match select(pin!(entry), cache.runtime().sleep_until(*deadline)).await {
            Either::Left((permit, _)) => permit,
            Either::Right(_) => Err(Error::new(
                ErrorKind::DeadlineExceeded,
                "the deadline passed while other requests took up the budget",
            )),
        }
    }

    /// Brings chunks and lands them as they become complete. Gives back those whose bytes were wrong.
    async fn download(&self, landings: Vec<Landing>, arrived: &mut Vec<(ChunkKey, Bytes)>) -> Vec<Landing> {
        let mut wrong = Vec::new();
        let (Some(first), Some(last)) = (landings.first(), landings.last()) else { return wrong };
        let range = first.key.offset..last.key.range().end;
        let Terms { cache, source, meter, urgency, deadline, discards, .. } = &self.terms;
        let since = discards.get();
        let deadline = deadline.unwrap_or_else(|| cache.default_deadline());
        let mut download = cache.downloads.start(&**source, meter, range.clone(), urgency, deadline);
        let mut assembly = Assembly::new(landings);
        let ended = loop {
            let mut piece = match download.next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => {
                    break Error::new(ErrorKind::Connection, "the download ended before its last chunk");
                }
                Err(error) => break error,
            };
            while let Some((landing, chunk)) = assembly.fill(&mut piece, meter) {
                if !self.terms.is_right(&landing.key, &chunk) {
                    wrong.push(landing);
                    continue;
                }
                if let Some(fastest) = cache.tiers.first() {
                    self.terms.put(fastest, &landing.key, chunk.clone(), since).await;
                }
                arrived.push((landing.key.clone(), chunk.clone()));
                landing.land(Ok(chunk));
            }
        };
        // Nothing is left of a download that brought all.
        give_up(assembly.into_rest(), &ended);
        wrong
    }
}

/// Tells the readers of chunks that will not come.
fn give_up(landings: impl IntoIterator<Item = Landing>, error: &Error) {
    for landing in landings {
        let error = error.clone().at(&landing.key.blob, landing.key.range());
        landing.land(Err(error));
    }
}

/// Store look-ups of an errand at a time: enough to hide the hand-over to another thread.
const LOOKUPS: usize = 8;
/// How often a chunk is fetched again whose bytes were wrong: a bit that flipped on the way does so once.
const REPAIRS: usize = 2;
