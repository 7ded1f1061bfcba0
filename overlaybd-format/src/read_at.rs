//! Positional reads: what this crate reads *from* (a blob) and what it offers (a device).
//!
//! Because both sides are the same trait, layers nest: a device made of layers can itself be the
//! blob below another reader.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;

use crate::{Error, Result};

/// Immutable bytes of a known size, readable at any position from any number of tasks at once.
///
/// # Contract
///
/// * **Exact or error.** A read fills the whole buffer or fails. There are no short reads and no
///   zero-filling of what could not be read; after an error the buffer's content is unspecified.
/// * **Bounds.** A range that is not wholly inside `0..size()` is [`Error::OutOfBounds`]; an empty
///   range inside `0..=size()` succeeds.
/// * **Immutable.** The same range gives the same bytes for the life of the value.
/// * **Concurrent.** Calls do not wait for one another except for shared resources.
/// * **Cancellation.** A read future may be dropped at any await point. Nothing writes into the
///   buffer afterwards and no other read is disturbed.
///
/// The suite in `conformance` (feature `conformance`) checks this contract.
///
/// # Example
///
/// ```
/// use overlaybd_format::{MemoryBlob, ReadAt};
///
/// # futures::executor::block_on(async {
/// let blob = MemoryBlob::new(b"0123456789".as_slice());
/// let mut buf = [0; 4];
/// blob.read_at(&mut buf, 3).await?;
/// assert_eq!(&buf, b"3456");
/// # Ok::<_, overlaybd_format::Error>(()) }).unwrap();
/// ```
#[async_trait]
pub trait ReadAt: Send + Sync + fmt::Debug {
    /// Size in bytes. Constant for the life of the value.
    fn size(&self) -> u64;

    /// Fills `buf` with the bytes that start at `offset`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if the range ends after [`size`](Self::size); whatever the layers below
    /// report otherwise.
    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()>;

    /// Fills `buf` if that needs no waiting for a network: the bytes are in memory or in a local
    /// file. Neither allocates (once warmed up) nor takes a lock that is held across I/O, so an event
    /// loop or a FUSE thread can serve hits without a task.
    ///
    /// After [`Warm::No`] the content of `buf` is unspecified; call [`read_at`](Self::read_at).
    ///
    /// # Errors
    ///
    /// As [`read_at`](Self::read_at).
    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm>;

    /// Lends the bytes of `range` where they lie in memory, all in one place, so that they can be
    /// checked and decoded without being copied first.
    ///
    /// With [`Warm::Yes`], `view` was called once with exactly these bytes; otherwise it was not called.
    /// Readers fall back to [`try_read_at`](Self::try_read_at), so what has nothing to lend need not
    /// implement this.
    ///
    /// # Errors
    ///
    /// As [`try_read_at`](Self::try_read_at).
    fn try_view(&self, range: Range<u64>, view: &mut dyn FnMut(&[u8])) -> Result<Warm> {
        let _ = (range, view);
        Ok(Warm::No)
    }
}

/// Whether a [`ReadAt::try_read_at`] could answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Warm {
    /// The buffer is filled.
    Yes,
    /// The bytes are not at hand; the buffer's content is unspecified.
    No,
}

/// Checks a read of `len` bytes at `offset` against `size`, both in bytes.
///
/// # Errors
///
/// [`Error::OutOfBounds`] if the range is not wholly inside `0..size`.
pub fn check_bounds(size: u64, offset: u64, len: usize) -> Result<()> {
    let len = len as u64;
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(Error::OutOfBounds { offset, len, size }),
    }
}

#[async_trait]
impl<T: ReadAt + ?Sized> ReadAt for std::sync::Arc<T> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        (**self).read_at(buf, offset).await
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm> {
        (**self).try_read_at(buf, offset)
    }

    fn try_view(&self, range: Range<u64>, view: &mut dyn FnMut(&[u8])) -> Result<Warm> {
        (**self).try_view(range, view)
    }
}
