//! What is inside a blob once its wrappers are off: tar, then ZFile, each optional.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use crate::read_at::check_bounds;
use crate::zfile::{self, Layout, Scratch};
use crate::{Error, Limits, ReadAt, Result, Warm, open};

/// The unwrapped bytes of a blob, readable at any position.
///
/// For a layer this is its LSMT stream; [`Image`](crate::Image) reads layers through it. It is
/// public for blobs that hold something else in a ZFile.
///
/// ```
/// use overlaybd_format::{Content, Limits, MemoryBlob, ReadAt};
///
/// # futures::executor::block_on(async {
/// let blob = MemoryBlob::new(b"no wrapper at all".as_slice());
/// let content = Content::open(blob, &Limits::default()).await?;
/// assert_eq!(content.size(), 17);
/// # Ok::<_, overlaybd_format::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Content {
    blob: Arc<dyn ReadAt>,
    /// Where the bytes inside the tar wrapper are in the blob.
    unwrapped: Range<u64>,
    zfile: Option<Layout>,
}

impl Content {
    /// Looks at the wrappers of `blob` and reads what is needed to read through them.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`], [`Error::Checksum`], [`Error::Unsupported`] or [`Error::Limit`] for a wrapper that
    /// cannot be read, and whatever reading `blob` reports. A blob without wrappers is no error.
    pub async fn open(blob: impl ReadAt + 'static, limits: &Limits) -> Result<Self> {
        open::content(Arc::new(blob), limits).await
    }

    /// Whether the blob is a tar archive around its content.
    #[must_use]
    pub fn has_tar(&self) -> bool {
        self.unwrapped.start != 0
    }

    /// How the content is compressed; `None` if it is stored as it is.
    #[must_use]
    pub fn compression(&self) -> Option<Compressed> {
        self.zfile.as_ref().map(|layout| Compressed {
            algorithm: layout.algorithm,
            block_size: layout.block_size(),
            block_crcs: layout.block_crcs,
        })
    }

    pub(crate) fn new(blob: Arc<dyn ReadAt>, unwrapped: Range<u64>, zfile: Option<Layout>) -> Self {
        Self { blob, unwrapped, zfile }
    }

    pub(crate) fn blob(&self) -> &dyn ReadAt {
        &*self.blob
    }

    /// Whether content bytes are stored as they are, so that they can be read into place.
    pub(crate) fn is_plain(&self) -> bool {
        self.zfile.is_none()
    }

    /// The bytes of the blob that hold `content`, a range inside this content.
    #[inline]
    pub(crate) fn stored(&self, content: Range<u64>) -> Result<Range<u64>> {
        let inner = match &self.zfile {
            Some(layout) => layout.stored(content)?,
            None => content,
        };
        let start = self.unwrapped.start;
        Ok(start.saturating_add(inner.start)..start.saturating_add(inner.end))
    }

    /// Fills `out` with the content from `offset` on, out of `stored`: bytes of the blob from
    /// `stored_at` on that include those named by [`stored`](Self::stored).
    pub(crate) fn extract(&self, offset: u64, stored: &[u8], stored_at: u64, out: &mut [u8]) -> Result<()> {
        let inner_at = stored_at.saturating_sub(self.unwrapped.start);
        match &self.zfile {
            Some(layout) => Scratch::with(|scratch| layout.decode(scratch, offset, stored, inner_at, out)),
            None => {
                let skip = usize::try_from(offset.saturating_sub(inner_at)).unwrap_or(usize::MAX);
                let source = stored.get(skip..skip.saturating_add(out.len()));
                out.copy_from_slice(source.ok_or_else(|| self.out_of_bounds(offset, out.len()))?);
                Ok(())
            }
        }
    }

    fn out_of_bounds(&self, offset: u64, len: usize) -> Error {
        Error::OutOfBounds { offset, len: len as u64, size: self.size() }
    }

    /// Decodes batch by batch, so that stored bytes are still in the processor's cache when they
    /// are decoded and no more of them is held than [`WARM_BATCH`].
    fn try_read_zfile(&self, layout: &Layout, buf: &mut [u8], offset: u64) -> Result<Warm> {
        Scratch::with(|scratch| {
            let end = offset.saturating_add(buf.len() as u64);
            let (mut at, mut rest) = (offset, buf);
            while at < end {
                let batch = layout.within_budget(at..end, WARM_BATCH);
                let (part, tail) = rest.split_at_mut(batch.end.saturating_sub(at) as usize);
                match self.try_read_batch(layout, scratch, part, at)? {
                    Warm::Yes => (at, rest) = (batch.end, tail),
                    Warm::No => return Ok(Warm::No),
                }
            }
            Ok(Warm::Yes)
        })
    }

    /// Decodes stored bytes where they lie if the blob can lend them, else a copy.
    #[inline]
    fn try_read_batch(
        &self,
        layout: &Layout,
        scratch: &mut Scratch,
        out: &mut [u8],
        at: u64,
    ) -> Result<Warm> {
        if layout.copy_held(scratch, at, out) {
            return Ok(Warm::Yes);
        }
        let inner = layout.stored(at..at.saturating_add(out.len() as u64))?;
        let start = self.unwrapped.start;
        let stored_at = start.saturating_add(inner.start)..start.saturating_add(inner.end);

        let mut decoded = Ok(());
        let mut decode = |stored: &[u8]| decoded = layout.decode(scratch, at, stored, inner.start, out);
        if self.blob.try_view(stored_at.clone(), &mut decode)? == Warm::Yes {
            return decoded.map(|()| Warm::Yes);
        }

        let len = stored_at.end.saturating_sub(stored_at.start) as usize;
        let mut stored = std::mem::take(&mut scratch.stored);
        if stored.len() < len {
            stored.resize(len, 0);
        }
        let room = stored.get_mut(..len).unwrap_or_default();
        let read = self.blob.try_read_at(room, stored_at.start);
        let read = read.and_then(|warm| match warm {
            Warm::Yes => layout.decode(scratch, at, room, inner.start, out).map(|()| Warm::Yes),
            Warm::No => Ok(Warm::No),
        });
        scratch.stored = stored;
        read
    }
}

#[async_trait]
impl ReadAt for Content {
    fn size(&self) -> u64 {
        match &self.zfile {
            Some(layout) => layout.content_size,
            None => self.unwrapped.end.saturating_sub(self.unwrapped.start),
        }
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        if self.try_read_at(buf, offset)? == Warm::Yes {
            return Ok(());
        }
        let Some(layout) = &self.zfile else {
            return self.blob.read_at(buf, self.unwrapped.start.saturating_add(offset)).await;
        };
        let end = offset.saturating_add(buf.len() as u64);
        let (mut at, mut rest) = (offset, buf);
        while at < end {
            let batch = layout.within_budget(at..end, COLD_BATCH);
            let stored_at = self.stored(batch.clone())?;
            let mut stored = vec![0; stored_at.end.saturating_sub(stored_at.start) as usize];
            self.blob.read_at(&mut stored, stored_at.start).await?;
            let (part, tail) = rest.split_at_mut(batch.end.saturating_sub(at) as usize);
            self.extract(at, &stored, stored_at.start, part)?;
            (at, rest) = (batch.end, tail);
        }
        Ok(())
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm> {
        check_bounds(self.size(), offset, buf.len())?;
        match &self.zfile {
            Some(layout) => self.try_read_zfile(layout, buf, offset),
            None => self.blob.try_read_at(buf, self.unwrapped.start.saturating_add(offset)),
        }
    }

    fn try_view(&self, range: Range<u64>, view: &mut dyn FnMut(&[u8])) -> Result<Warm> {
        let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        check_bounds(self.size(), range.start, len)?;
        let start = self.unwrapped.start;
        match &self.zfile {
            Some(_) => Ok(Warm::No),
            None => {
                self.blob.try_view(start.saturating_add(range.start)..start.saturating_add(range.end), view)
            }
        }
    }
}

/// How a blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compressed {
    /// The codec.
    pub algorithm: zfile::Algorithm,
    /// Uncompressed bytes in a block.
    pub block_size: usize,
    /// Whether blocks carry a CRC that is checked on every read.
    pub block_crcs: bool,
}

/// Content bytes decoded from one read of a blob at hand: fits a second-level cache with its
/// stored form.
const WARM_BATCH: usize = 128 << 10;
/// Content bytes fetched by one request from a blob that is not at hand.
const COLD_BATCH: usize = 8 << 20;
