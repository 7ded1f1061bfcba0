//! Blobs that are held in pieces, as a peer-to-peer transport holds them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use lazy_fetch::{BlobSource, ByteStream, ErrorKind, FetchRequest};
use overlaybd_format::{ReadAt, Warm};

/// All blobs that peers have, by digest.
#[derive(Debug, Default)]
pub struct Swarm(HashMap<String, Arc<Pieces>>);

impl Swarm {
    /// Adds a blob.
    pub fn add(&mut self, digest: impl Into<String>, pieces: Arc<Pieces>) {
        self.0.insert(digest.into(), pieces);
    }

    /// The blob, if a peer has it.
    pub fn blob(&self, digest: &str) -> Option<Arc<Pieces>> {
        self.0.get(digest).cloned()
    }
}

/// One blob in pieces of [`PIECE`] bytes.
#[derive(Debug)]
pub struct Pieces {
    pieces: Vec<Bytes>,
    size: u64,
    peer_leaves: AtomicBool,
}

impl Pieces {
    /// Cuts `blob` into pieces.
    pub fn new(blob: &[u8]) -> Self {
        let pieces = blob.chunks(PIECE).map(Bytes::copy_from_slice).collect();
        Self { pieces, size: blob.len() as u64, peer_leaves: AtomicBool::new(false) }
    }

    /// Lets the next fetch lose its peer after the first piece.
    pub fn lose_peer(&self) {
        self.peer_leaves.store(true, Ordering::Relaxed);
    }

    /// The parts of the pieces that make up `range`, which is inside the blob.
    fn parts(&self, range: Range<u64>) -> impl Iterator<Item = Bytes> {
        let (start, end) = (range.start as usize, range.end as usize);
        self.pieces.iter().enumerate().filter_map(move |(number, piece)| {
            let at = number * PIECE;
            let from = start.max(at);
            let to = end.min(at + piece.len());
            (from < to).then(|| piece.slice(from - at..to - at))
        })
    }
}

#[async_trait]
impl BlobSource for Pieces {
    async fn fetch(&self, request: FetchRequest) -> lazy_fetch::Result<ByteStream> {
        lazy_fetch::check_bounds(&request.range, self.size)?;
        let mut parts: Vec<_> = self.parts(request.range).map(Ok).collect();
        if self.peer_leaves.swap(false, Ordering::Relaxed) {
            parts.truncate(1);
            parts.push(Err(lazy_fetch::Error::new(ErrorKind::Connection, "the peer has left")));
        }
        Ok(Box::pin(stream::iter(parts)))
    }
}

#[async_trait]
impl ReadAt for Pieces {
    fn size(&self) -> u64 {
        self.size
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> overlaybd_format::Result<()> {
        self.try_read_at(buf, offset).map(|_| ())
    }

    fn try_read_at(&self, mut buf: &mut [u8], offset: u64) -> overlaybd_format::Result<Warm> {
        overlaybd_format::check_bounds(self.size, offset, buf.len())?;
        for part in self.parts(offset..offset + buf.len() as u64) {
            let (filled, rest) = buf.split_at_mut(part.len());
            filled.copy_from_slice(&part);
            buf = rest;
        }
        Ok(Warm::Yes)
    }
}

/// Not a multiple of a chunk, a block or a sector.
const PIECE: usize = 10_007;
