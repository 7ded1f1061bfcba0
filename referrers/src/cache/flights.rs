//! Flights: one run of a request for all who want its outcome.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

use crate::Result;

/// Requests under way, by what they ask.
///
/// Whoever waits drives the request, so one that goes away harms no other; when the last has gone, it ends.
pub(crate) struct Flights<K, V: Clone>(Mutex<HashMap<K, WeakFlight<V>>>);

type Flight<V> = Shared<BoxFuture<'static, Result<V>>>;
type WeakFlight<V> = WeakShared<BoxFuture<'static, Result<V>>>;

impl<K: Eq + Hash, V: Clone> Flights<K, V> {
    /// The request for `key` that is under way, else the one that `start` gives.
    pub(crate) fn join(&self, key: K, start: impl FnOnce() -> BoxFuture<'static, Result<V>>) -> Flight<V> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = flights.get(&key).and_then(WeakShared::upgrade);
        // One that has landed was asked before whoever asks now.
        if let Some(flight) = under_way.filter(|flight| flight.peek().is_none()) {
            return flight;
        }
        flights.retain(|_, flight| flight.upgrade().is_some_and(|flight| flight.peek().is_none()));
        let flight = start().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(key, weak);
        }
        flight
    }
}

impl<K, V: Clone> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K, V: Clone> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}
