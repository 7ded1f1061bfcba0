//! Devices that change.

use std::fmt;

use async_trait::async_trait;

use crate::{Error, ReadAt, Result, Warm};

/// A block device that can be read and written, by any number of tasks at once.
///
/// It is a trait beside [`ReadAt`] and not one above it, because what `ReadAt` promises is that bytes
/// never change, and caches and layers on top build on that. A device that changes promises less:
///
/// # Contract
///
/// * **Exact or error.** A read fills the whole buffer or fails, a write stores all bytes or fails.
///   After a failed write each sector of its range reads as before or as written.
/// * **Bounds.** A range that is not wholly inside `0..size()` is [`Error::OutOfBounds`]. Reads may start and
///   end at any byte, writes and discards at sectors of 512 bytes.
/// * **Order.** A read that begins after a write or discard has returned sees it. A read beside one
///   sees each byte as before or as written.
/// * **Durability.** What was written is durable when a [`flush`](Self::flush) that began afterwards has
///   returned.
/// * **Cancellation.** A future may be dropped at any await point. A write that is dropped has happened
///   or not.
///
/// The suite in `conformance` (feature `conformance`) checks this contract.
#[async_trait]
pub trait ReadWriteAt: Send + Sync + fmt::Debug {
    /// Size in bytes. It changes only when the device is resized.
    fn size(&self) -> u64;

    /// Fills `buf` with the bytes that start at `offset`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`]; whatever the layers below report otherwise.
    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()>;

    /// Fills `buf` if that needs no waiting for a network, as [`ReadAt::try_read_at`].
    ///
    /// # Errors
    ///
    /// As [`read_at`](Self::read_at).
    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm>;

    /// Stores `bytes` from `offset` on.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`], [`Error::InvalidWrite`] if an end is not on a sector, [`Error::ReadOnly`],
    /// [`Error::Io`].
    async fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()>;

    /// Makes `len` bytes from `offset` on read as zeros, and frees their space where it can.
    ///
    /// # Errors
    ///
    /// As [`write_at`](Self::write_at).
    async fn discard(&self, offset: u64, len: u64) -> Result<()>;

    /// Makes durable all writes and discards that returned before this was called. This blocks the
    /// thread while the medium writes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; what was written since the last flush may be lost then, and no further writes
    /// are taken.
    fn flush(&self) -> Result<()>;
}

/// A device that cannot be written, for a front end that serves either kind.
///
/// ```
/// use overlaybd_format::{Error, MemoryBlob, ReadOnly, ReadWriteAt};
///
/// # futures::executor::block_on(async {
/// let device = ReadOnly(MemoryBlob::new(vec![7; 1024]));
/// assert_eq!(device.size(), 1024);
/// assert!(matches!(device.write_at(&[8; 512], 0).await, Err(Error::ReadOnly { .. })));
/// # });
/// ```
#[derive(Debug)]
pub struct ReadOnly<T>(pub T);

#[async_trait]
impl<T: ReadAt> ReadWriteAt for ReadOnly<T> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.0.read_at(buf, offset).await
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm> {
        self.0.try_read_at(buf, offset)
    }

    async fn write_at(&self, _bytes: &[u8], _offset: u64) -> Result<()> {
        Err(READ_ONLY)
    }

    async fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        Err(READ_ONLY)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

const READ_ONLY: Error = Error::ReadOnly { what: "a device without a writable layer" };
