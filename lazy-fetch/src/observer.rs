//! What a cache tells about itself while it works.

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tracing")]
mod tracing;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

#[cfg(feature = "metrics")]
pub use self::metrics::MetricsObserver;
#[cfg(feature = "tracing")]
pub use self::tracing::TracingObserver;
use crate::{BlobId, Error, Priority};

/// Is told what happens to the blobs of a cache, where a count in [`Stats`](crate::Stats) does not say
/// enough.
///
/// # Contract
///
/// Called from reads and fetches, often from several threads at once: it returns at once and does not
/// block. Reads that are served from memory are not told of, so that they cost nothing.
pub trait Observer: Send + Sync + fmt::Debug {
    /// `event` happened to `blob`.
    fn observe(&self, blob: &BlobId, event: &Event<'_>);
}

/// Something that happened to a blob.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A read that was not served from memory at once came to its end.
    Read {
        /// Which bytes.
        range: Range<u64>,
        /// How long the reader waited.
        took: Duration,
        /// Why it failed, if it did.
        error: Option<&'a Error>,
    },
    /// The first byte of a request arrived.
    FirstByte {
        /// Which bytes were asked for.
        range: Range<u64>,
        /// How urgent they are now.
        priority: Priority,
        /// Time since the request was handed to the source.
        took: Duration,
    },
    /// A request failed and is tried again.
    Retry {
        /// Which bytes are missing.
        range: Range<u64>,
        /// Why.
        error: &'a Error,
        /// Time until the next try.
        wait: Duration,
    },
    /// A request takes longer than most, and a second one is sent for the same bytes.
    Hedge {
        /// Which bytes.
        range: Range<u64>,
        /// How long the first one has taken.
        after: Duration,
    },
    /// A store could not do what it was asked; the cache went on without it.
    StoreFailure {
        /// Why.
        error: &'a Error,
    },
    /// Bytes did not match their digest and were thrown away.
    Mismatch {
        /// Which bytes.
        range: Range<u64>,
    },
}
