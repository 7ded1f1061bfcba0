//! The sink of a blob that is being written: in order, and back to the front where that is possible.

use std::io::{self, Seek, SeekFrom, Write};

use crate::{Error, Result};

/// Counts what is written, and keeps the way back that the sink offered when it was taken.
pub(crate) struct Sink<W> {
    inner: W,
    /// Where the blob starts in `inner`, in bytes.
    start: u64,
    /// Bytes of the blob written so far.
    position: u64,
    seek: Option<fn(&mut W, SeekFrom) -> io::Result<u64>>,
}

impl<W: Write> Sink<W> {
    /// A blob from the current position of `inner` on, whose front can be completed at the end.
    pub(crate) fn seekable(mut inner: W) -> Result<Self>
    where
        W: Seek,
    {
        let start = inner.stream_position().map_err(|e| Error::write_io(0, 0, e))?;
        Ok(Self { inner, start, position: 0, seek: Some(W::seek) })
    }

    /// A blob that is written once, from front to back.
    pub(crate) fn streaming(inner: W) -> Self {
        Self { inner, start: 0, position: 0, seek: None }
    }

    /// Whether [`overwrite`](Self::overwrite) can be called.
    pub(crate) fn can_seek(&self) -> bool {
        self.seek.is_some()
    }

    /// Bytes of the blob written so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.inner.write_all(bytes).map_err(|e| Error::write_io(self.position, bytes.len(), e))?;
        self.position = self.position.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Replaces bytes at `at` of the blob that were written before.
    pub(crate) fn overwrite(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        let failed = |e| Error::write_io(at, bytes.len(), e);
        let seek = self.seek.ok_or_else(|| failed(io::ErrorKind::NotSeekable.into()))?;
        seek(&mut self.inner, SeekFrom::Start(self.start.saturating_add(at))).map_err(failed)?;
        self.inner.write_all(bytes).map_err(failed)?;
        let end = self.start.saturating_add(self.position);
        seek(&mut self.inner, SeekFrom::Start(end)).map(|_| ()).map_err(failed)
    }

    /// Flushes the sink and gives it back, positioned behind the blob.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.inner.flush().map_err(|e| Error::write_io(self.position, 0, e))?;
        Ok(self.inner)
    }
}
