//! Where blobs come from: exact ranges of one immutable blob at its origin.

mod fallback;
mod file;
mod latency;
mod memory;
#[cfg(feature = "object_store")]
mod object;
mod progress;
mod throttle;
mod urgency;

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;

pub use self::fallback::Fallback;
pub use self::file::FileSource;
pub use self::latency::Latency;
pub use self::memory::MemorySource;
#[cfg(feature = "object_store")]
pub use self::object::ObjectSource;
#[cfg(feature = "object_store")]
pub(crate) use self::object::failure as object_failure;
pub use self::progress::{Progress, Waiting};
pub use self::throttle::Throttle;
pub use self::urgency::{Priority, Urgency};
use crate::{Error, ErrorKind, Result};

/// Pieces of a range, in order.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// One immutable blob at its origin.
///
/// # Contract
///
/// * **Exact or error.** The stream yields the bytes of the range, in order, in pieces of one byte or
///   more, and ends; or it yields a prefix of them and then an error. A stream never ends early without an error
///   and never yields a byte that does not belong at its position.
/// * **Bounds.** A range that ends after the blob is [`ErrorKind::OutOfBounds`] or another permanent error.
///   An empty range inside the blob gives an empty stream.
/// * **One try.** A source does not repeat what failed on the way: the cache resumes from the bytes it holds
///   and keeps the budget of tries. Answering a challenge or following a redirect is part of one try.
/// * **Deadline.** After [`FetchRequest::deadline`] the result is of no use; a source gives up by then.
/// * **Progress.** A fetch from which nothing comes for a while is given up, unless [`FetchRequest::progress`] is
///   told that it waits for its turn or that it skips bytes.
/// * **Concurrent.** Any number of fetches run at once. Dropping the future or the stream ends that fetch
///   and no other.
///
/// The suite in `conformance` (feature `conformance`) checks this contract.
#[async_trait]
pub trait BlobSource: Send + Sync + fmt::Debug {
    /// Starts to fetch one range.
    ///
    /// # Errors
    ///
    /// Whatever the origin reports; [`Error::is_transient`] decides whether the cache tries again.
    async fn fetch(&self, request: FetchRequest) -> Result<ByteStream>;
}

/// One range to fetch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FetchRequest {
    /// Which bytes.
    pub range: Range<u64>,
    /// How urgent it is, now and later.
    pub urgency: Urgency,
    /// When it is too late.
    pub deadline: Instant,
    /// Where a source says that it is not stuck while it gives nothing.
    pub progress: Progress,
}

impl FetchRequest {
    /// An on-demand request.
    pub fn new(range: Range<u64>, deadline: Instant) -> Self {
        let urgency = Urgency::new(Priority::OnDemand);
        Self { range, urgency, deadline, progress: Progress::default() }
    }

    /// Sets the [`urgency`](Self::urgency).
    #[must_use]
    pub fn with_urgency(mut self, urgency: Urgency) -> Self {
        self.urgency = urgency;
        self
    }
}

/// Checks `range` against the `size` of a blob, both in bytes.
///
/// # Errors
///
/// [`ErrorKind::OutOfBounds`] if `range` is not wholly inside `0..size`.
pub fn check_bounds(range: &Range<u64>, size: u64) -> Result<()> {
    if range.start <= range.end && range.end <= size {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::OutOfBounds,
            format!("bytes {}..{} are out of bounds of {size} bytes", range.start, range.end),
        ))
    }
}

/// `pieces`, which end with an error unless they are `len` bytes in all.
#[cfg(feature = "object_store")]
fn exact(pieces: ByteStream, len: u64) -> ByteStream {
    use futures::StreamExt;
    Box::pin(futures::stream::unfold(Some((pieces, len)), async |state| {
        let (mut pieces, left) = state?;
        match pieces.next().await {
            Some(Ok(piece)) if piece.len() as u64 <= left => {
                let left = left.saturating_sub(piece.len() as u64);
                Some((Ok(piece), Some((pieces, left))))
            }
            Some(Ok(_)) => {
                Some((Err(Error::new(ErrorKind::Protocol, "more bytes than were asked for")), None))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None if left > 0 => {
                let why = format!("the body ended with {left} bytes missing");
                Some((Err(Error::new(ErrorKind::Connection, why)), None))
            }
            None => None,
        }
    }))
}
