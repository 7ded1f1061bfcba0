//! A source that fails as told, before it serves as it should.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, future, stream};

use crate::sync::{Mutex, lock};
use crate::{BlobSource, ByteStream, Error, ErrorKind, FetchRequest, Result, Runtime, Urgency};

/// What happens to one fetch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Fault {
    /// The fetch is refused with this error.
    Refuse(Error),
    /// The fetch never answers.
    Hang,
    /// The fetch answers so much later.
    Slow(Duration),
    /// The stream breaks after so many bytes.
    CutAfter(u64),
    /// The stream ends after so many bytes without an error: what a source must not do.
    EndAfter(u64),
    /// Nothing more comes after so many bytes.
    StallAfter(u64),
    /// One bit of the byte at this position of the blob is wrong.
    Flip(u64),
    /// The last piece is longer than it may be: what a source must not do.
    Overrun,
    /// The task that fetches panics: what a source must not do.
    Panic,
}

/// A [`BlobSource`] over another one. The faults hit one fetch each, in order; later fetches are served
/// whole. Bytes come in pieces of a given size, after a given latency.
#[derive(Debug)]
pub struct FaultySource {
    runtime: Arc<dyn Runtime>,
    inner: Arc<dyn BlobSource>,
    faults: Mutex<VecDeque<Fault>>,
    requests: Mutex<Vec<FetchRequest>>,
    latency: Duration,
    piece: usize,
}

impl FaultySource {
    /// A source without faults, without latency, in pieces of 4 KiB.
    pub fn new(runtime: Arc<dyn Runtime>, inner: Arc<dyn BlobSource>) -> Self {
        Self {
            runtime,
            inner,
            faults: Mutex::default(),
            requests: Mutex::default(),
            latency: Duration::ZERO,
            piece: 4096,
        }
    }

    /// Adds faults for the next fetches.
    #[must_use]
    pub fn with_faults(self, faults: impl IntoIterator<Item = Fault>) -> Self {
        lock(&self.faults).extend(faults);
        self
    }

    /// Sets the time before the answer and before each piece.
    #[must_use]
    pub fn with_latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Sets the size of a piece in bytes.
    #[must_use]
    pub fn with_piece(mut self, bytes: usize) -> Self {
        self.piece = bytes.max(1);
        self
    }

    /// Adds a fault for the next fetch that has none.
    pub fn break_next(&self, fault: Fault) {
        lock(&self.faults).push_back(fault);
    }

    /// The ranges asked for so far.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        self.requests().into_iter().map(|request| request.range).collect()
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<FetchRequest> {
        lock(&self.requests).clone()
    }

    async fn pause(runtime: Arc<dyn Runtime>, latency: Duration) {
        if !latency.is_zero() {
            runtime.sleep_until(runtime.now() + latency).await;
        }
    }
}

#[async_trait]
impl BlobSource for FaultySource {
    async fn fetch(&self, request: FetchRequest) -> Result<ByteStream> {
        // As it was when it came: its urgency may rise later.
        let urgency = Urgency::new(request.urgency.get());
        lock(&self.requests).push(request.clone().with_urgency(urgency));
        let fault = lock(&self.faults).pop_front();
        Self::pause(Arc::clone(&self.runtime), self.latency).await;
        match &fault {
            Some(Fault::Refuse(error)) => return Err(error.clone()),
            Some(Fault::Slow(delay)) => Self::pause(Arc::clone(&self.runtime), *delay).await,
            Some(Fault::Hang) => future::pending().await,
            Some(Fault::Panic) => panic!("a fault that was asked for"),
            _ => {}
        }
        let (mut whole, start) = (Vec::new(), request.range.start);
        let mut stream = self.inner.fetch(request).await?;
        while let Some(piece) = stream.next().await {
            whole.extend_from_slice(&piece?);
        }
        if let Some(Fault::Overrun) = fault {
            whole.extend_from_slice(b"more than was asked for");
        }
        if let Some(Fault::Flip(at)) = fault
            && let Some(byte) = at.checked_sub(start).and_then(|at| whole.get_mut(usize::try_from(at).ok()?))
        {
            *byte ^= 1;
        }
        let mut whole = Bytes::from(whole);
        if let Some(Fault::CutAfter(n) | Fault::EndAfter(n) | Fault::StallAfter(n)) = &fault {
            whole.truncate(usize::try_from(*n).unwrap_or(usize::MAX));
        }
        let pieces: Vec<Bytes> = whole.chunks(self.piece).map(|piece| whole.slice_ref(piece)).collect();
        let (runtime, latency) = (Arc::clone(&self.runtime), self.latency);
        let pieces = stream::iter(pieces).then(move |piece| {
            let pause = Self::pause(Arc::clone(&runtime), latency);
            async move {
                pause.await;
                Ok(piece)
            }
        });
        Ok(match fault {
            Some(Fault::CutAfter(_)) => {
                let reset = Error::new(ErrorKind::Connection, "connection reset");
                Box::pin(pieces.chain(stream::once(future::ready(Err(reset)))))
            }
            Some(Fault::StallAfter(_)) => Box::pin(pieces.chain(stream::pending())),
            _ => Box::pin(pieces),
        })
    }
}
