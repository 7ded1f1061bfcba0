//! What a request carries: bytes at hand, or a part of a file that is read while it is sent.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// A request's content, which can be sent more than once.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    Bytes(Bytes),
    File {
        path: Arc<Path>,
        /// The part of it, in bytes.
        range: Range<u64>,
    },
}

impl Payload {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { range, .. } => range.end.saturating_sub(range.start),
        }
    }

    /// A part of it.
    pub(crate) fn slice(&self, part: Range<u64>) -> Self {
        match self {
            Self::Bytes(bytes) => {
                let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Self::Bytes(bytes.slice(at(part.start)..at(part.end).max(at(part.start))))
            }
            Self::File { path, range } => {
                let at = |offset: u64| range.start.saturating_add(offset).min(range.end);
                Self::File { path: Arc::clone(path), range: at(part.start)..at(part.end) }
            }
        }
    }

    pub(crate) fn body(&self) -> reqwest::Body {
        match self {
            Self::Bytes(bytes) => bytes.clone().into(),
            Self::File { path, range } => reqwest::Body::wrap(FileBody::new(Arc::clone(path), range.clone())),
        }
    }
}

/// A part of a file, at most a few pieces ahead of the connection.
struct FileBody {
    pieces: mpsc::Receiver<std::io::Result<Bytes>>,
    left: u64,
}

impl FileBody {
    fn new(path: Arc<Path>, range: Range<u64>) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        let left = range.end.saturating_sub(range.start);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = read_pieces(&path, range, &sender) {
                // Without a receiver nobody wants to know.
                let _ = sender.blocking_send(Err(error));
            }
        });
        Self { pieces, left }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        self.pieces.poll_recv(context).map(|piece| match piece {
            Some(Ok(piece)) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(error)) => Some(Err(error)),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Sends the range in pieces until it is over or nobody listens.
fn read_pieces(
    path: &Path,
    range: Range<u64>,
    sender: &mpsc::Sender<std::io::Result<Bytes>>,
) -> std::io::Result<()> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(range.start))?;
    let mut left = range.end.saturating_sub(range.start);
    while left > 0 {
        let len = left.min(PIECE);
        let mut piece = BytesMut::zeroed(usize::try_from(len).unwrap_or_default());
        file.read_exact(&mut piece)?;
        left = left.saturating_sub(len);
        if sender.blocking_send(Ok(piece.freeze())).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Large enough that threads change rarely, small enough to be nothing.
const PIECE: u64 = 256 << 10;
const PIECES_AHEAD: usize = 2;
