//! What a blob's reads cost.

use std::iter::Sum;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::channel::oneshot;

use crate::histogram::{Histogram, Recorder};
use crate::observer::{Event, Observer};
use crate::sync::{Mutex, lock};
use crate::{BlobId, Error, Priority};

/// Declares the public snapshot and the counters behind it from one list.
macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counts since a blob was opened. Sum them over blobs with [`Iterator::sum`].
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// How long readers waited, those aside whose bytes were in memory.
            pub read_latency: Histogram,
            /// From a request to its first byte.
            pub first_byte_latency: Histogram,
        }

        impl Stats {
            /// Each count with its name, for an exporter.
            pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }
        }

        /// The counters behind [`Stats`].
        #[derive(Debug, Default)]
        pub(crate) struct Counts {
            $(pub(crate) $name: Counter,)+
            pub(crate) read_latency: Recorder,
            pub(crate) first_byte_latency: Recorder,
        }

        impl Counts {
            fn snapshot(&self) -> Stats {
                Stats {
                    $($name: self.$name.get(),)+
                    read_latency: self.read_latency.snapshot(),
                    first_byte_latency: self.first_byte_latency.snapshot(),
                }
            }
        }

        impl Sum for Stats {
            fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
                iter.fold(Self::default(), |a, b| Self {
                    $($name: a.$name.saturating_add(b.$name),)+
                    read_latency: a.read_latency.merged(&b.read_latency),
                    first_byte_latency: a.first_byte_latency.merged(&b.first_byte_latency),
                })
            }
        }
    };
}

counts! {
    /// Bytes that readers asked for.
    bytes_wanted,
    /// Of these, bytes that came from the file of a completed blob.
    bytes_local,
    /// Bytes that arrived from the origin.
    bytes_fetched,
    /// Of these, bytes that lay between wanted chunks and were not kept.
    bytes_in_gaps,
    /// Requests to the origin, tries after a failure included.
    requests,
    /// Of these, tries after a failure.
    retries,
    /// Of these, requests for bytes that another one was already waiting for.
    hedges,
    /// Chunks that a reader found in memory without waiting.
    hits_warm,
    /// Chunks that were wanted, not in memory, and found in a store.
    hits_store,
    /// Chunks that a reader waited for while another's fetch brought them.
    joined,
    /// Calls to a store that failed; the cache went on without it.
    store_failures,
    /// Chunks that did not match their digest.
    mismatches,
}

impl Stats {
    /// Bytes fetched for each byte that readers asked for; 0 while nothing was asked for. Readers that read
    /// the same bytes again bring it down, readahead that nobody follows brings it up.
    pub fn amplification(&self) -> f64 {
        if self.bytes_wanted == 0 { 0.0 } else { self.bytes_fetched as f64 / self.bytes_wanted as f64 }
    }
}

/// Counts for one blob, and tells the observer.
#[derive(Debug)]
pub(crate) struct Meter {
    blob: BlobId,
    pub(crate) counts: Counts,
    observer: Option<Arc<dyn Observer>>,
    /// Who waits for so many fetched bytes.
    waiting: Mutex<Vec<(u64, oneshot::Sender<()>)>>,
}

impl Meter {
    pub(crate) fn new(blob: BlobId, observer: Option<Arc<dyn Observer>>) -> Self {
        Self { blob, counts: Counts::default(), observer, waiting: Mutex::default() }
    }

    pub(crate) fn snapshot(&self) -> Stats {
        self.counts.snapshot()
    }

    pub(crate) fn read(&self, range: Range<u64>, took: Duration, error: Option<&Error>) {
        self.counts.read_latency.add(took);
        self.tell(|| Event::Read { range, took, error });
    }

    pub(crate) fn fetched(&self, bytes: u64) {
        self.counts.bytes_fetched.add(bytes);
        let mut waiting = lock(&self.waiting);
        if !waiting.is_empty() {
            let fetched = self.counts.bytes_fetched.get();
            // Dropping the sender is the message.
            waiting.retain(|(bytes, sender)| *bytes > fetched && !sender.is_canceled());
        }
    }

    /// Completes when `bytes` have been fetched.
    pub(crate) async fn until_fetched(&self, bytes: u64) {
        let receiver = {
            let mut waiting = lock(&self.waiting);
            if self.counts.bytes_fetched.get() >= bytes {
                return;
            }
            let (sender, receiver) = oneshot::channel();
            waiting.push((bytes, sender));
            receiver
        };
        let _ = receiver.await;
    }

    pub(crate) fn first_byte(&self, range: &Range<u64>, priority: Priority, took: Duration) {
        self.counts.first_byte_latency.add(took);
        self.tell(|| Event::FirstByte { range: range.clone(), priority, took });
    }

    pub(crate) fn retry(&self, range: &Range<u64>, error: &Error, wait: Duration) {
        self.counts.retries.add(1);
        self.tell(|| Event::Retry { range: range.clone(), error, wait });
    }

    pub(crate) fn hedge(&self, range: &Range<u64>, after: Duration) {
        self.counts.hedges.add(1);
        self.tell(|| Event::Hedge { range: range.clone(), after });
    }

    pub(crate) fn store_failure(&self, error: &Error) {
        self.counts.store_failures.add(1);
        self.tell(|| Event::StoreFailure { error });
    }

    pub(crate) fn mismatch(&self, range: Range<u64>) {
        self.counts.mismatches.add(1);
        self.tell(|| Event::Mismatch { range });
    }

    fn tell<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        if let Some(observer) = &self.observer {
            observer.observe(&self.blob, &event());
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

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
