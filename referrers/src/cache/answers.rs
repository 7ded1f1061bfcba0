//! Answers: what a source said, and for how long it is believed.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use lru::LruCache;

use crate::registry::random_part;
use crate::{Clock, Freshness, Listing, Manifest, Reference, Result};

use super::flights::Flights;

/// Who asked, and what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) identity: Arc<str>,
    pub(crate) reference: Reference,
}

/// How long answers are believed.
#[derive(Debug, Clone)]
pub(crate) struct Lives {
    /// One with something in it; also the longest for an empty one.
    pub(crate) life: Duration,
    /// The first empty one. It doubles from one empty answer to the next.
    pub(crate) empty: Duration,
    /// Beyond either, if the source fails.
    pub(crate) stale: Duration,
}

/// What can be remembered.
pub(crate) trait Answer: Clone + Send + Sync + 'static {
    fn is_empty(&self) -> bool;
}

impl Answer for Manifest {
    fn is_empty(&self) -> bool {
        false
    }
}

impl Answer for Listing {
    fn is_empty(&self) -> bool {
        self.referrers.is_empty()
    }
}

/// The answers given last.
pub(crate) struct Answers<V: Clone>(Arc<Inner<V>>);

struct Inner<V: Clone> {
    lives: Lives,
    clock: Arc<dyn Clock>,
    entries: Mutex<LruCache<Key, Entry<V>>>,
    flights: Flights<Key, V>,
}

#[derive(Clone)]
struct Entry<V> {
    /// An error is that there is no such thing.
    answer: Result<V>,
    since: Instant,
    life: Duration,
    /// How many empty answers there were in a row.
    empties: u32,
}

impl<V: Answer> Answers<V> {
    pub(crate) fn new(lives: Lives, clock: Arc<dyn Clock>) -> Self {
        let entries = Mutex::new(LruCache::new(MAX_ENTRIES));
        Self(Arc::new(Inner { lives, clock, entries, flights: Flights::default() }))
    }

    /// The answer for `key`: the remembered one for as long as it lives, else the one that `fetch` gets, which
    /// is told the one before; and if that fails for now, the remembered one after all, for a while.
    pub(crate) async fn get<F, R>(&self, key: Key, fetch: R) -> Result<(V, Freshness)>
    where
        R: FnOnce(Option<V>) -> F,
        F: Future<Output = Result<V>> + Send + 'static,
    {
        let now = self.0.clock.now();
        let entry = self.0.entries().get(&key).cloned();
        let age = |entry: &Entry<V>| now.saturating_duration_since(entry.since);
        let known = entry.as_ref().and_then(|entry| entry.answer.clone().ok());
        let start = || {
            let (inner, key, fetched) = (Arc::clone(&self.0), key.clone(), fetch(known));
            async move { inner.settle(key, fetched.await) }.boxed()
        };
        let Some(entry) = entry else {
            return Ok((self.0.flights.join(key.clone(), start).await?, Freshness::Fresh));
        };
        if age(&entry) < entry.life {
            if age(&entry) > entry.life.mul_f64(REFRESH_AT) && entry.answer.is_ok() {
                self.refresh(self.0.flights.join(key.clone(), start));
            }
            return Ok((entry.answer?, Freshness::Fresh));
        }
        let flight = self.0.flights.join(key.clone(), start);
        let stale = match entry.answer {
            Ok(answer) if age(&entry) < entry.life.saturating_add(self.0.lives.stale) => {
                let freshness = Freshness::Stale(now.saturating_duration_since(entry.since));
                Some((answer, freshness))
            }
            _ => None,
        };
        let Some(stale) = stale else { return Ok((flight.await?, Freshness::Fresh)) };
        // Whoever can do with an old answer need not wait until the last try has failed.
        match tokio::time::timeout(PATIENCE, flight).await {
            Ok(Ok(answer)) => Ok((answer, Freshness::Fresh)),
            Ok(Err(error)) if !error.is_transient() => Err(error),
            Ok(Err(_)) | Err(_) => Ok(stale),
        }
    }

    /// Lets the runtime finish the request. Without one it is made when the answer's life is over.
    fn refresh(&self, flight: impl Future<Output = Result<V>> + Send + 'static) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(flight.map(drop)));
        }
    }
}

impl<V: Answer> Inner<V> {
    /// Remembers what was fetched. A failure that passes says nothing and leaves the answer before.
    fn settle(&self, key: Key, fetched: Result<V>) -> Result<V> {
        let mut entries = self.entries();
        let empties = match &fetched {
            Ok(answer) if answer.is_empty() => {
                entries.peek(&key).map_or(0, |entry| entry.empties).saturating_add(1)
            }
            Ok(_) => 0,
            Err(error) if error.is_not_found() => 0,
            Err(_) => return fetched,
        };
        let life = match (&fetched, empties) {
            (Err(_), _) => ABSENT_LIFE,
            (Ok(_), 0) => self.lives.life,
            (Ok(_), empties) => {
                let doubled = self.lives.empty.saturating_mul(2u32.saturating_pow(empties.saturating_sub(1)));
                // Those who found nothing together do not all return together.
                let life = doubled.min(self.lives.life);
                life.mul_f64(0.8).saturating_add(random_part(life.mul_f64(0.4)))
            }
        };
        entries.put(key, Entry { answer: fetched.clone(), since: self.clock.now(), life, empties });
        fetched
    }
}

impl<V: Clone> Inner<V> {
    fn entries(&self) -> MutexGuard<'_, LruCache<Key, Entry<V>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Clone> fmt::Debug for Answers<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("lives", &self.0.lives).finish_non_exhaustive()
    }
}

/// More tags and subjects than a host asks for.
const MAX_ENTRIES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(16_383);
/// An image may be pushed the moment after it was missed.
const ABSENT_LIFE: Duration = Duration::from_secs(5);
/// The part of its life after which an answer that is still wanted is fetched anew.
const REFRESH_AT: f64 = 0.8;
/// How long a source may take where an old answer would do.
const PATIENCE: Duration = Duration::from_secs(1);
