//! A stack of layers with a writable one on top, as one block device.

mod exchange;
mod publish_error;
mod stack;

use std::ops::Range;
use std::sync::{Arc, Mutex, RwLock};

use async_trait::async_trait;

use crate::read_at::check_bounds;
use crate::upper::{exclusive, sectors_of, shared};
use crate::{Error, Image, ReadWriteAt, Result, Upper, Warm};

pub use publish_error::PublishError;
use stack::{Stack, bytes_of};

/// A device that can be read and written: what the upper layer has not got comes from the image
/// below.
///
/// # Locking
///
/// Any number of threads and tasks may use the device at once.
///
/// * Reads take no lock across I/O. They see the stack as it was when they began.
/// * Writes, discards and flushes go on beside reads, and beside one another as far as the upper
///   layer lets them.
/// * [`snapshot`](Self::snapshot), [`restack`](Self::restack), [`resize`](Self::resize) and
///   [`compact`](Self::compact) exclude one another. While one of them exchanges a part of the stack,
///   writes, discards and flushes wait – reads do not –, and those that returned before are in
///   what is exchanged. Of a compaction this is the last part, which copies only what was written
///   since it began.
/// * All of them block the thread for their I/O.
///
/// ```
/// use overlaybd_format::{AppendOnly, FileStorage, ReadWriteAt, UpperOptions, WritableImage};
///
/// # futures::executor::block_on(async {
/// # let directory = tempfile::tempdir()?;
/// # let file = |name| FileStorage::create(directory.path().join(name));
/// let upper = AppendOnly::create(file("data")?, file("index")?, &UpperOptions::new(1 << 30))?;
/// let device = WritableImage::new(None, upper)?;
/// device.write_at(&[7; 512], 4096).await?;
/// device.discard(8192, 1 << 20).await?;
/// device.flush()?;
///
/// let mut buf = [9; 4];
/// device.read_at(&mut buf, 4606).await?;
/// assert_eq!(buf, [7, 7, 0, 0]);
/// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct WritableImage {
    /// Held for no longer than it takes to copy or set the pointer.
    stack: RwLock<Arc<Stack>>,
    /// Shared by what writes to the upper layer, exclusive to what exchanges it.
    gate: RwLock<()>,
    /// One exchange at a time.
    exchange: Mutex<()>,
}

impl WritableImage {
    /// Puts `upper` on `lowers`. An upper layer without a size takes that of the lowers, and keeps it.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if nothing says how large the device is, [`Error::Io`].
    pub fn new(lowers: impl Into<Option<Image>>, upper: impl Into<Upper>) -> Result<Self> {
        let stack = Stack::new(lowers.into().map(Arc::new), upper.into());
        stack.adopt()?;
        Ok(Self { stack: RwLock::new(Arc::new(stack)), gate: RwLock::default(), exchange: Mutex::default() })
    }

    /// Bytes of the upper layer's file that nothing reads any more; [`compact`](Self::compact) frees
    /// them.
    #[must_use]
    pub fn garbage(&self) -> u64 {
        match self.stack().upper() {
            Upper::AppendOnly(layer) => layer.garbage(),
            Upper::Sparse(_) => 0,
        }
    }

    async fn discard_sectors(&self, sectors: Range<u64>) -> Result<()> {
        let (offset, len) = (bytes_of(sectors.start), bytes_of(sectors.end.saturating_sub(sectors.start)));
        loop {
            let stack = self.stack();
            let below = stack.below(sectors.clone()).await?;
            // A snapshot in between would have put the upper layer below.
            if let Some(done) = self.change(&stack, |upper| upper.discard_over(offset, len, &below)) {
                return done;
            }
        }
    }

    fn stack(&self) -> Arc<Stack> {
        Arc::clone(&shared(&self.stack))
    }

    /// Runs `change` unless the stack is no longer `stack`.
    fn change<T>(&self, stack: &Arc<Stack>, change: impl FnOnce(&Upper) -> Result<T>) -> Option<Result<T>> {
        let _gate = shared(&self.gate);
        Arc::ptr_eq(stack, &self.stack()).then(|| change(stack.upper()))
    }

    fn replace(&self, stack: Stack) {
        *exclusive(&self.stack) = Arc::new(stack);
    }
}

#[async_trait]
impl ReadWriteAt for WritableImage {
    fn size(&self) -> u64 {
        self.stack().size()
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let stack = self.stack();
        check_bounds(stack.size(), offset, buf.len())?;
        stack.whole().read(buf, offset).await
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm> {
        let stack = self.stack();
        check_bounds(stack.size(), offset, buf.len())?;
        stack.whole().try_read(buf, offset)
    }

    async fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let sectors = sectors_of(offset, bytes.len() as u64)?;
        loop {
            let stack = self.stack();
            check_bounds(stack.size(), offset, bytes.len())?;
            let edges = stack.edges(sectors.clone()).await?;
            if let Some(done) = self.change(&stack, |upper| upper.write_over(offset, bytes, &edges)) {
                return done;
            }
        }
    }

    async fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let sectors = sectors_of(offset, len)?;
        let size = self.size();
        if bytes_of(sectors.end) > size {
            return Err(Error::OutOfBounds { offset, len, size });
        }
        self.discard_sectors(sectors).await
    }

    fn flush(&self) -> Result<()> {
        let _gate = shared(&self.gate);
        self.stack().upper().flush()
    }
}
