//! One request to the origin, and its first piece.
//!
//! Where the first piece takes longer than usual, a second request for the same bytes is sent and the faster
//! one is used: see [`hedge`].

use std::ops::Range;
use std::pin::pin;
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{Either, select};

use crate::download::Downloads;
use crate::hedge;
use crate::source::{BlobSource, ByteStream, FetchRequest, Urgency};
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

impl Ask<'_> {
    /// The body of `range`, which is not empty, and its first piece.
    pub(crate) async fn for_range(self, range: &Range<u64>) -> Result<(ByteStream, Bytes)> {
        let runtime = &self.common.runtime;
        let patience = hedge::patience(self.common.hedge_percentile, self.urgency.get(), &self.meter.counts);
        let Some((patience, until)) = patience.and_then(|p| Some((p, runtime.now().checked_add(p)?))) else {
            return self.once(range).await;
        };
        let first = pin!(self.once(range));
        let first = match select(first, runtime.sleep_until(until)).await {
            Either::Left((opened, _)) => return opened,
            Either::Right((_, first)) => first,
        };
        self.meter.hedge(range, patience);
        match select(first, pin!(self.once(range))).await {
            Either::Left((Ok(opened), _)) | Either::Right((Ok(opened), _)) => Ok(opened),
            Either::Left((Err(_), second)) => second.await,
            Either::Right((Err(_), first)) => first.await,
        }
    }

    async fn once(self, range: &Range<u64>) -> Result<(ByteStream, Bytes)> {
        self.meter.counts.requests.add(1);
        let begun = self.common.runtime.now();
        let request = FetchRequest::new(range.clone(), self.deadline).with_urgency(self.urgency.clone());
        let mut stream = self.common.watch(self.deadline, self.source.fetch(request)).await??;
        let piece = self.piece_of(&mut stream, range).await?;
        let took = self.common.runtime.now().saturating_duration_since(begun);
        self.meter.first_byte(range, self.urgency.get(), took);
        Ok((stream, piece))
    }

    /// The next piece of a body of which `range` is still missing.
    pub(crate) async fn piece_of(self, stream: &mut ByteStream, range: &Range<u64>) -> Result<Bytes> {
        let left = range.end.saturating_sub(range.start);
        match self.common.watch(self.deadline, stream.next()).await? {
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
}
