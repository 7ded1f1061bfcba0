//! The seam below a writable layer: one file.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::{Error, Result};

/// A file that a writable layer keeps its bytes in.
///
/// Calls block: a writable layer is local. [`FileStorage`](crate::FileStorage) is a file of the
/// operating system.
///
/// # Contract
///
/// * **Exact or error.** A read fills the buffer, a write stores all bytes, or the call fails. After a
///   write that failed, each sector of its range is as before or as written.
/// * **Order.** Nothing but [`sync`](Self::sync) orders what reaches the medium: after a crash, a
///   sector of 512 bytes holds what it held at the last `sync` or anything written to it since.
/// * **Holes.** A block of [`BLOCK`] bytes, aligned to it, that was never written or was punched is a
///   hole: it reads as zeros and is no data to [`next_data`](Self::next_data). A write that fills a
///   hole reaches the medium with all it has for that block or not at all, as file systems that
///   journal or copy on write see to.
/// * **Concurrent.** Calls may come from several threads. A byte that is read while it is written is
///   the old or the new one.
///
/// Only sparse layers need holes. The suite in `conformance` (feature `conformance`)
/// checks what can be checked without a crash.
pub trait Storage: Send + Sync + fmt::Debug {
    /// What the file is called in errors, such as its path.
    fn name(&self) -> &Arc<str>;

    /// Size in bytes.
    ///
    /// # Errors
    ///
    /// What the medium reports.
    fn size(&self) -> io::Result<u64>;

    /// Cuts the file to `size` bytes or extends it by a hole.
    ///
    /// # Errors
    ///
    /// What the medium reports.
    fn set_size(&self, size: u64) -> io::Result<()>;

    /// Fills `buf` with the bytes that start at `offset`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] if the file ends before; what the medium reports.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Stores `bytes` from `offset` on, extending the file as needed.
    ///
    /// # Errors
    ///
    /// What the medium reports.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Turns whole blocks into a hole without changing the size. `range` is aligned to [`BLOCK`].
    ///
    /// # Errors
    ///
    /// What the medium reports.
    fn punch(&self, range: Range<u64>) -> io::Result<()>;

    /// The first run of data that ends after `from`, cut to start no earlier; `None` if only a hole
    /// follows.
    ///
    /// # Errors
    ///
    /// What the medium reports.
    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>>;

    /// Returns when everything done before is on the medium, the size included.
    ///
    /// # Errors
    ///
    /// What the medium reports. What was not on the medium before may then be lost, whatever a later
    /// `sync` reports.
    fn sync(&self) -> io::Result<()>;
}

/// The calls with this crate's errors, which name the file and the place.
impl dyn Storage {
    pub(crate) fn length(&self) -> Result<u64> {
        self.size().map_err(|e| self.error("measuring", 0, 0, e))
    }

    pub(crate) fn set_length(&self, size: u64) -> Result<()> {
        self.set_size(size).map_err(|e| self.error("resizing to", 0, size, e))
    }

    pub(crate) fn read(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.read_at(buf, offset).map_err(|e| self.error("reading", offset, buf.len() as u64, e))
    }

    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.write_at(bytes, offset).map_err(|e| self.error("writing", offset, bytes.len() as u64, e))
    }

    pub(crate) fn dig(&self, range: Range<u64>) -> Result<()> {
        let len = range.end.saturating_sub(range.start);
        self.punch(range.clone()).map_err(|e| self.error("punching", range.start, len, e))
    }

    pub(crate) fn data_after(&self, from: u64) -> Result<Option<Range<u64>>> {
        self.next_data(from).map_err(|e| self.error("looking for data", from, 0, e))
    }

    pub(crate) fn persist(&self) -> Result<()> {
        self.sync().map_err(|e| self.error("syncing", 0, 0, e))
    }

    fn error(&self, op: &'static str, offset: u64, len: u64, source: io::Error) -> Error {
        Error::Io { op, offset, len, source: Arc::new(source) }.in_blob(self.name())
    }
}

impl<S: Storage + ?Sized> Storage for Arc<S> {
    fn name(&self) -> &Arc<str> {
        (**self).name()
    }

    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        (**self).set_size(size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        (**self).write_at(bytes, offset)
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        (**self).punch(range)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        (**self).next_data(from)
    }

    fn sync(&self) -> io::Result<()> {
        (**self).sync()
    }
}

/// The granularity of holes, in bytes: that of the usual file systems, and what the reference's files
/// have.
pub const BLOCK: u64 = 4096;
