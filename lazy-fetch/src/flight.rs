//! One fetch per chunk, however many readers.
//!
//! ```text
//!                    ┌──────────── Flights ─────────────┐
//!  reader ── join ──►│ key → Flight (a shared result)   │
//!                    └──────▲───────────────────────────┘
//!                           │ land: off the map, then wake
//!  fetch task ── Landing ───┘
//! ```
//!
//! The task that fetches holds a [`Landing`] for each chunk, the readers hold [`Flight`]s. Readers may
//! leave at any time: the task does not know them. A task that dies drops its landings, which wakes
//! the readers with an error and makes room for another try.
//!
//! No second fetch starts between the end of a flight and the next look into the store: a chunk is
//! put into the first store *before* its flight leaves the map, and [`Flights::join`] looks into that
//! store while it holds the map.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;

use crate::source::{Priority, Urgency};
use crate::store::ChunkKey;
use crate::sync::{Mutex, lock};
use crate::{Error, ErrorKind, Result};

/// The chunks that are being fetched.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    map: Mutex<HashMap<ChunkKey, Flight>>,
}

/// A chunk on its way, as a reader sees it.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    result: Shared<oneshot::Receiver<Result<Bytes>>>,
    /// What it was started for; its urgency may have risen since.
    priority: Priority,
    urgency: Urgency,
    deadline: Option<Instant>,
}

/// The duty to bring one chunk.
#[derive(Debug)]
pub(crate) struct Landing {
    pub(crate) key: ChunkKey,
    sender: Option<oneshot::Sender<Result<Bytes>>>,
    flights: Arc<Flights>,
}

/// What [`Flights::join`] found.
#[derive(Debug)]
pub(crate) enum Joined {
    /// The chunk has arrived meanwhile.
    Here(Bytes),
    /// Somebody else brings it.
    Under(Flight),
    /// The caller has to see that it is brought.
    New(Flight, Landing),
}

impl Flights {
    /// Joins the flight of `key`, which becomes at least as urgent, or starts one. `look` looks into the
    /// first store.
    pub(crate) fn join(
        self: &Arc<Self>,
        key: &ChunkKey,
        urgency: &Urgency,
        deadline: Option<Instant>,
        look: impl FnOnce() -> Option<Bytes>,
    ) -> Joined {
        let priority = urgency.get();
        match lock(&self.map).entry(key.clone()) {
            Entry::Occupied(flight) => {
                flight.get().urgency.raise(priority);
                Joined::Under(flight.get().clone())
            }
            Entry::Vacant(vacant) => {
                if let Some(chunk) = look() {
                    return Joined::Here(chunk);
                }
                let (sender, receiver) = oneshot::channel();
                let (result, urgency) = (receiver.shared(), urgency.clone());
                let flight = vacant.insert(Flight { result, priority, urgency, deadline }).clone();
                let flights = Arc::clone(self);
                Joined::New(flight, Landing { key: key.clone(), sender: Some(sender), flights })
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.map).len()
    }
}

impl Flight {
    /// Waits for the chunk.
    pub(crate) async fn chunk(self) -> Result<Bytes> {
        self.result
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, "the runtime dropped the fetch")))
    }

    /// Whether, after this flight failed with `error`, one of one's own on these terms could succeed.
    pub(crate) fn is_outdone_by(&self, error: &Error, priority: Priority, deadline: Instant) -> bool {
        let had_less_time = error.kind() == ErrorKind::DeadlineExceeded
            && self.deadline.is_some_and(|mine| deadline.saturating_duration_since(mine) >= WORTH_A_TRY);
        self.priority < priority || had_less_time
    }
}

impl Landing {
    /// Ends the flight. A chunk must have been put into the first store before.
    pub(crate) fn land(mut self, result: Result<Bytes>) {
        let sender = self.sender.take();
        drop(self);
        if let Some(sender) = sender {
            // All readers may have left.
            let _ = sender.send(result);
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        lock(&self.flights.map).remove(&self.key);
    }
}

/// Readers that came within this time of each other share the fate of one flight; a reader with more
/// time left than that tries once more.
const WORTH_A_TRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::BlobId;

    fn join(flights: &Arc<Flights>, stored: Option<&'static [u8]>) -> Joined {
        let key = ChunkKey { blob: BlobId::new("b").unwrap(), offset: 0, len: 3 };
        let urgency = Urgency::new(Priority::OnDemand);
        flights.join(&key, &urgency, Some(Instant::now()), || stored.map(Bytes::from_static))
    }

    fn new(flights: &Arc<Flights>) -> (Flight, Landing) {
        match join(flights, None) {
            Joined::New(flight, landing) => (flight, landing),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_second_reader_joins_and_both_get_the_chunk() {
        let flights = Arc::new(Flights::default());
        let (first, landing) = new(&flights);
        let Joined::Under(second) = join(&flights, None) else { panic!("a second flight") };
        landing.land(Ok(Bytes::from_static(b"abc")));
        assert_eq!(block_on(first.chunk()).unwrap(), "abc");
        assert_eq!(block_on(second.chunk()).unwrap(), "abc");
        assert_eq!(flights.len(), 0);
    }

    #[test]
    fn a_reader_makes_the_flight_it_joins_urgent() {
        let flights = Arc::new(Flights::default());
        let key = ChunkKey { blob: BlobId::new("b").unwrap(), offset: 0, len: 3 };
        let prefetch = Urgency::new(Priority::Prefetch);
        let Joined::New(flight, _landing) = flights.join(&key, &prefetch, None, || None) else {
            panic!("no new flight")
        };
        join(&flights, None);
        assert_eq!(prefetch.get(), Priority::OnDemand);
        // It failed on the terms of a prefetch, though.
        let error = Error::new(ErrorKind::NotFound, "x");
        assert!(flight.is_outdone_by(&error, Priority::OnDemand, Instant::now()));
    }

    #[test]
    fn a_dead_task_wakes_its_readers_and_makes_room() {
        let flights = Arc::new(Flights::default());
        let (flight, landing) = new(&flights);
        drop(landing);
        assert_eq!(block_on(flight.chunk()).unwrap_err().kind(), ErrorKind::Closed);
        new(&flights);
    }

    #[test]
    fn a_chunk_that_landed_meanwhile_is_not_fetched_again() {
        let flights = Arc::new(Flights::default());
        assert!(matches!(join(&flights, Some(b"abc")), Joined::Here(_)));
        assert_eq!(flights.len(), 0);
    }
}
