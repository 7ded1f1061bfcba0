//! Blobs that are at hand: bytes in memory and local files.

mod copy;

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Error, ReadAt, Result, Warm, read_at::check_bounds};

/// Bytes in memory as a [`ReadAt`].
///
/// It also serves a file that is mapped: [`Bytes::from_owner`] takes the owner of a mapping, and a
/// read then costs no system call and no copy of stored bytes. The caller vouches that nobody
/// truncates or changes the file meanwhile; where that cannot be promised, [`FileBlob`] is right.
#[derive(Clone)]
pub struct MemoryBlob(Bytes);

impl MemoryBlob {
    /// Takes the bytes without copying them where `Bytes` can.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }
}

impl MemoryBlob {
    #[inline]
    fn get(&self, offset: u64, len: u64) -> Result<&[u8]> {
        let range = usize::try_from(offset).ok().zip(offset.checked_add(len));
        range
            .and_then(|(start, end)| self.0.get(start..usize::try_from(end).ok()?))
            .ok_or_else(|| Error::OutOfBounds { offset, len, size: self.size() })
    }
}

impl std::fmt::Debug for MemoryBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBlob").field("size", &self.0.len()).finish()
    }
}

#[async_trait]
impl ReadAt for MemoryBlob {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.try_read_at(buf, offset).map(|_| ())
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm> {
        copy::copy(self.get(offset, buf.len() as u64)?, buf);
        Ok(Warm::Yes)
    }

    fn try_view(&self, range: Range<u64>, view: &mut dyn FnMut(&[u8])) -> Result<Warm> {
        view(self.get(range.start, range.end.saturating_sub(range.start))?);
        Ok(Warm::Yes)
    }
}

/// A local file as a [`ReadAt`]; reads are blocking `pread`s, also in the async form, because a
/// local read is shorter than the hand-over to another thread.
///
/// The size is taken when the file is opened. A file that shrinks afterwards gives
/// [`Error::Io`] with `UnexpectedEof`, never zeros.
#[derive(Debug)]
pub struct FileBlob {
    file: File,
    size: u64,
}

impl FileBlob {
    /// Opens the file at `path` for reading.
    ///
    /// # Errors
    ///
    /// As [`File::open`] and [`File::metadata`].
    pub fn open(path: impl AsRef<Path>) -> std::io::Result<Self> {
        Self::new(File::open(path)?)
    }

    /// Takes an open file.
    ///
    /// # Errors
    ///
    /// As [`File::metadata`].
    pub fn new(file: File) -> std::io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

#[async_trait]
impl ReadAt for FileBlob {
    fn size(&self) -> u64 {
        self.size
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.try_read_at(buf, offset).map(|_| ())
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm> {
        check_bounds(self.size, offset, buf.len())?;
        self.file.read_exact_at(buf, offset).map_err(|e| Error::io(offset, buf.len(), e))?;
        Ok(Warm::Yes)
    }
}
