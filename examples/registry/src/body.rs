//! The body of an answer: stored content, sent piece by piece, counted, and spoiled on demand.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Frame, SizeHint};

use crate::link::Scissors;
use crate::log::Entry;
use crate::store::Content;

/// A range of some content on its way to a client.
#[derive(Debug)]
pub(crate) struct Body {
    content: Content,
    range: Range<u64>,
    sent: u64,
    entry: Option<Arc<Entry>>,
    flip: Option<u64>,
    stop: Option<(u64, Stop)>,
}

/// How an answer ends before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The connection is closed.
    Cut(Scissors),
    /// Nothing more arrives; the connection stays open.
    Stall,
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::from(Bytes::new())
    }

    /// The bytes `range` of `content`, which must be inside it.
    pub(crate) fn part(content: Content, range: Range<u64>) -> Self {
        Self { content, range, sent: 0, entry: None, flip: None, stop: None }
    }

    /// Number of bytes that are promised.
    pub(crate) fn len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    /// Counts what is sent in `entry`.
    pub(crate) fn count_in(&mut self, entry: Arc<Entry>) {
        self.entry = Some(entry);
    }

    /// Inverts the lowest bit of the byte at `flip`, and ends the body after as many bytes as `stop` says.
    pub(crate) fn spoil(&mut self, flip: Option<u64>, stop: Option<(u64, Stop)>) {
        (self.flip, self.stop) = (flip, stop);
    }

    /// The next piece, which ends where the body is to stop.
    fn piece(&mut self) -> io::Result<Bytes> {
        let end = self.stop.as_ref().map_or(self.len(), |(at, _)| self.len().min(*at));
        let max = usize::try_from(end.saturating_sub(self.sent)).unwrap_or(PIECE).min(PIECE);
        let piece = self.content.piece(self.range.start.saturating_add(self.sent), max)?;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let place = self.flip.and_then(|at| usize::try_from(at.checked_sub(self.sent)?).ok());
        self.sent = self.sent.saturating_add(piece.len() as u64);
        if let Some(entry) = &self.entry {
            entry.sent(piece.len());
        }
        Ok(match place.filter(|place| *place < piece.len()) {
            Some(place) => with_flipped_bit(&piece, place),
            None => piece,
        })
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        let len = bytes.len() as u64;
        Self::part(Content::from(bytes), 0..len)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::from(Bytes::from(text))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &self.stop {
            // The server flushes after a body that is not ready, which is when the connection is cut.
            Some((at, Stop::Cut(scissors))) if *at <= self.sent => {
                scissors.cut();
                Poll::Pending
            }
            Some((at, Stop::Stall)) if *at <= self.sent => Poll::Pending,
            _ if self.sent == self.len() => Poll::Ready(None),
            _ => Poll::Ready(Some(self.piece().map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stop.is_none() && self.sent == self.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len().saturating_sub(self.sent))
    }
}

fn with_flipped_bit(piece: &[u8], place: usize) -> Bytes {
    let mut piece = BytesMut::from(piece);
    if let Some(byte) = piece.get_mut(place) {
        *byte ^= 1;
    }
    piece.freeze()
}

/// Bytes handed to the connection at a time.
const PIECE: usize = 128 * 1024;
