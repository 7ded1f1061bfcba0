//! One request to the origin, and its first piece.
//!
//! Where the first piece takes longer than usual, a second request for the same bytes is sent and the faster
//! one is used: see [`hedge`].

use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{Either, select};

use crate::download::Downloads;
use crate::hedge;
use crate::source::{BlobSource, ByteStream, FetchRequest, Progress, Urgency};
use crate::stats::Meter;
use crate::{Error, ErrorKind, Result};

/// How the requests of one download are made.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) common: &'a Downloads,
    pub(crate) source: &'a dyn BlobSource,
    pub(crate) meter: &'a Meter,
    pub(crate) urgency: &'a Urgency,
    pub(crate) deadline: Instant,
}

/// A body on its way.
pub(crate) struct Answer {
    stream: ByteStream,
    progress: Progress,
}

impl Ask<'_> {
    /// The body of `range`, which is not empty, and its first piece.
    pub(crate) async fn for_range(self, range: &Range<u64>) -> Result<(Answer, Bytes)> {
        let patience = hedge::patience(self.common.hedge_percentile, self.urgency.get(), &self.meter.counts);
        let progress = Progress::default();
        let first = pin!(self.once(range, progress.clone()));
        let Some(patience) = patience else { return first.await };
        // Asking twice shortens no queue.
        let first = match select(first, pin!(progress.stalled(&*self.common.runtime, patience))).await {
            Either::Left((opened, _)) => return opened,
            Either::Right((_, first)) => first,
        };
        self.meter.hedge(range, patience);
        match select(first, pin!(self.once(range, Progress::default()))).await {
            Either::Left((Ok(opened), _)) | Either::Right((Ok(opened), _)) => Ok(opened),
            Either::Left((Err(_), second)) => second.await,
            Either::Right((Err(_), first)) => first.await,
        }
    }

    async fn once(self, range: &Range<u64>, progress: Progress) -> Result<(Answer, Bytes)> {
        self.meter.counts.requests.add(1);
        let begun = self.common.runtime.now();
        let mut request = FetchRequest::new(range.clone(), self.deadline).with_urgency(self.urgency.clone());
        request.progress = progress.clone();
        let stream = self.watch(&progress, self.source.fetch(request)).await??;
        let mut answer = Answer { stream, progress };
        let piece = self.piece_of(&mut answer, range).await?;
        let took = self.common.runtime.now().saturating_duration_since(begun);
        self.meter.first_byte(range, self.urgency.get(), took);
        Ok((answer, piece))
    }

    /// The next piece of a body of which `range` is still missing.
    pub(crate) async fn piece_of(self, answer: &mut Answer, range: &Range<u64>) -> Result<Bytes> {
        let left = range.end.saturating_sub(range.start);
        match self.watch(&answer.progress, answer.stream.next()).await? {
            Some(Ok(piece)) if piece.is_empty() => {
                Err(Error::new(ErrorKind::Protocol, "the source gave an empty piece"))
            }
            Some(Ok(piece)) if piece.len() as u64 > left => {
                let why = format!("the source gave {} bytes where {left} were left", piece.len());
                Err(Error::new(ErrorKind::Protocol, why))
            }
            Some(piece) => piece,
            None => {
                Err(Error::new(ErrorKind::Connection, format!("the body ended with {left} bytes missing")))
            }
        }
    }

    /// `work`, unless it takes longer than the stall timeout without a sign of life, or beyond the deadline.
    async fn watch<T>(self, progress: &Progress, work: impl Future<Output = T>) -> Result<T> {
        let Downloads { runtime, stall_timeout, .. } = self.common;
        let silence = pin!(progress.stalled(&**runtime, *stall_timeout));
        match select(pin!(work), select(silence, runtime.sleep_until(self.deadline))).await {
            Either::Left((result, _)) => Ok(result),
            Either::Right((Either::Left(_), _)) => Err(Error::new(
                ErrorKind::Stalled,
                format!("nothing arrived for {} ms", stall_timeout.as_millis()),
            )),
            Either::Right((Either::Right(_), _)) => Err(Error::new(
                ErrorKind::DeadlineExceeded,
                "the deadline passed while waiting for the origin",
            )),
        }
    }
}
