//! A store as the cache uses it: one that hangs is left alone for a while.
//!
//! A disk or a bucket that does not answer must not keep readers from the origin, not even once for each chunk.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{Either, select};

use crate::store::ChunkStore;
use crate::sync::{Mutex, lock};
use crate::{Error, ErrorKind, Result, Runtime};

/// One of the stores of a cache.
pub(crate) struct Tier {
    pub(crate) store: Arc<dyn ChunkStore>,
    shunned_until: Mutex<Option<Instant>>,
}

impl Tier {
    pub(crate) fn new(store: Arc<dyn ChunkStore>) -> Self {
        Self { store, shunned_until: Mutex::new(None) }
    }

    /// `work` of the store, unless it takes longer than `patience`, or something else did lately. Whoever is in
    /// `haste` gives up sooner, and holds nothing against the store.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`].
    pub(crate) async fn watch<T>(
        &self,
        runtime: &dyn Runtime,
        patience: Duration,
        haste: Option<Duration>,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        let hangs = || Error::new(ErrorKind::Storage, "a store does not answer");
        let now = runtime.now();
        if lock(&self.shunned_until).is_some_and(|until| until > now) {
            return Err(hangs());
        }
        let haste = haste.filter(|haste| *haste < patience);
        let Some(until) = now.checked_add(haste.unwrap_or(patience)) else { return Ok(work.await) };
        match select(pin!(work), runtime.sleep_until(until)).await {
            Either::Left((result, _)) => Ok(result),
            Either::Right(_) => {
                if haste.is_none() {
                    *lock(&self.shunned_until) = runtime.now().checked_add(PAUSE);
                }
                Err(hangs())
            }
        }
    }
}

impl fmt::Debug for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

/// How long a store is left alone that did not answer.
const PAUSE: Duration = Duration::from_secs(30);
