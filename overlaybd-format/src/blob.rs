//! Blobs that are at hand: bytes in memory and local files.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Error, ReadAt, Result, Warm, read_at::check_bounds};

/// Bytes in memory as a [`ReadAt`].
#[derive(Clone)]
pub struct MemoryBlob(Bytes);

impl MemoryBlob {
    /// Takes the bytes without copying them where `Bytes` can.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
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
        let out_of_bounds = || Error::OutOfBounds { offset, len: buf.len() as u64, size: self.size() };
        let start = usize::try_from(offset).map_err(|_| out_of_bounds())?;
        let source =
            start.checked_add(buf.len()).and_then(|end| self.0.get(start..end)).ok_or_else(out_of_bounds)?;
        buf.copy_from_slice(source);
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
