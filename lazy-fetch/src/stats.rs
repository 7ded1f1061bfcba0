//! What a blob's reads cost.

use std::iter::Sum;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since a blob was opened. Sum them over blobs with [`Iterator::sum`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes that readers asked for.
    pub bytes_wanted: u64,
    /// Bytes that arrived from the origin.
    pub bytes_fetched: u64,
    /// Of these, bytes that lay between wanted chunks and were not kept.
    pub bytes_in_gaps: u64,
    /// Requests to the origin, tries after a failure included.
    pub requests: u64,
    /// Of these, tries after a failure.
    pub retries: u64,
    /// Chunks that a reader found in memory without waiting.
    pub hits_warm: u64,
    /// Chunks that were wanted, not in memory, and found in a store.
    pub hits_store: u64,
    /// Chunks that a reader waited for while another's fetch brought them.
    pub joined: u64,
    /// Calls to a store that failed; the cache went on without it.
    pub store_failures: u64,
}

impl Sum for Stats {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), |a, b| Self {
            bytes_wanted: a.bytes_wanted.saturating_add(b.bytes_wanted),
            bytes_fetched: a.bytes_fetched.saturating_add(b.bytes_fetched),
            bytes_in_gaps: a.bytes_in_gaps.saturating_add(b.bytes_in_gaps),
            requests: a.requests.saturating_add(b.requests),
            retries: a.retries.saturating_add(b.retries),
            hits_warm: a.hits_warm.saturating_add(b.hits_warm),
            hits_store: a.hits_store.saturating_add(b.hits_store),
            joined: a.joined.saturating_add(b.joined),
            store_failures: a.store_failures.saturating_add(b.store_failures),
        })
    }
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_wanted: Counter,
    pub(crate) bytes_fetched: Counter,
    pub(crate) bytes_in_gaps: Counter,
    pub(crate) requests: Counter,
    pub(crate) retries: Counter,
    pub(crate) hits_warm: Counter,
    pub(crate) hits_store: Counter,
    pub(crate) joined: Counter,
    pub(crate) store_failures: Counter,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            bytes_wanted: self.bytes_wanted.get(),
            bytes_fetched: self.bytes_fetched.get(),
            bytes_in_gaps: self.bytes_in_gaps.get(),
            requests: self.requests.get(),
            retries: self.retries.get(),
            hits_warm: self.hits_warm.get(),
            hits_store: self.hits_store.get(),
            joined: self.joined.get(),
            store_failures: self.store_failures.get(),
        }
    }
}

/// A count that orders nothing else.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
