//! One opened layer of a stack.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::content::Content;
use crate::extent::{Extent, extents};
use crate::index_only::{IndexOnlyStream, Target};
use crate::lsmt::{self, Segment, Uuid};
use crate::{Error, Limits, ReadAt, Result, open};

/// A blob to be opened as a layer, with the name it has in errors.
#[derive(Clone)]
pub struct LayerBlob {
    name: Arc<str>,
    blob: Arc<dyn ReadAt>,
    target: Option<Target>,
}

impl LayerBlob {
    /// Names `blob`, by its digest or path.
    pub fn new(name: impl Into<Arc<str>>, blob: impl ReadAt + 'static) -> Self {
        Self { name: name.into(), blob: Arc::new(blob), target: None }
    }

    /// Makes this an index-only layer over `target`: the *uncompressed* tar stream of the OCI layer
    /// that it was made from, named by the digest of that layer or a path. A compressed one is read
    /// through a `GzipBlob` (feature `gzip`).
    ///
    /// Nothing in the blob of a layer says whether it is index-only; that a target belongs to it does.
    #[must_use]
    pub fn with_target(mut self, name: impl Into<Arc<str>>, target: impl ReadAt + 'static) -> Self {
        self.target = Some(Target { name: name.into(), blob: Arc::new(target) });
        self
    }
}

impl fmt::Debug for LayerBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LayerBlob").field(&self.name).field(&self.blob).field(&self.target).finish()
    }
}

/// A sealed layer: committed, sealed in place, merged or index-only, in any of its wrappers.
///
/// ```
/// use std::io::Cursor;
/// use overlaybd_format::{Layer, LayerBlob, LayerOptions, LayerWriter, Limits, MemoryBlob};
///
/// # futures::executor::block_on(async {
/// let mut writer = LayerWriter::new(Cursor::new(Vec::new()), LayerOptions::new(1 << 20))?;
/// writer.write(4096, &[7; 1024])?;
/// let blob = MemoryBlob::new(writer.finish()?.into_inner());
///
/// let layer = Layer::open(LayerBlob::new("example", blob), &Limits::default()).await?;
/// assert_eq!(layer.virtual_size(), 1 << 20);
/// assert_eq!(layer.segments()[0].sectors(), 8..10);
/// # Ok::<_, overlaybd_format::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Layer {
    name: Arc<str>,
    content: Content,
    /// What the content is made of in an index-only layer.
    index_only: Option<Arc<IndexOnlyStream>>,
    trailer: lsmt::Header,
    segments: Vec<Segment>,
}

impl Layer {
    /// Opens the layer in at most three waves of reads; see `docs/format.md` for what is checked.
    /// Nothing is read of a target.
    ///
    /// # Errors
    ///
    /// [`Error::InBlob`] with the name of the blob around whatever is wrong with it, in particular
    /// [`Error::MissingTarget`] for an index-only layer without a target, and [`Error::Broken`] for one
    /// whose target ends before its files do.
    pub async fn open(blob: LayerBlob, limits: &Limits) -> Result<Self> {
        let LayerBlob { name, blob, target } = blob;
        let target_size = target.as_ref().map(|target| target.blob.size());
        let (content, trailer, segments) =
            open::layer(blob, target_size, limits).await.map_err(|error| error.in_blob(&name))?;
        let (content, index_only) = match target {
            None => (content, None),
            Some(target) => {
                let stream = Arc::new(IndexOnlyStream::new(content, target));
                let size = stream.size();
                (Content::new(Arc::clone(&stream) as Arc<dyn ReadAt>, 0..size, None), Some(stream))
            }
        };
        Ok(Self { name, content, index_only, trailer, segments })
    }

    /// A layer that was not read from a blob.
    pub(crate) fn assemble(
        name: Arc<str>,
        content: Content,
        trailer: lsmt::Header,
        segments: Vec<Segment>,
    ) -> Self {
        Self { name, content, index_only: None, trailer, segments }
    }

    /// The name given to the blob.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The size of the device this layer was made for, in bytes; 0 if it leaves that to the layers
    /// below.
    #[must_use]
    pub fn virtual_size(&self) -> u64 {
        self.trailer.virtual_size
    }

    /// The identity of the layer.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.trailer.uuid
    }

    /// The identity of the layer below, as recorded; not checked.
    #[must_use]
    pub fn parent_uuid(&self) -> Uuid {
        self.trailer.parent_uuid
    }

    /// The commit message, without trailing NULs.
    #[must_use]
    pub fn user_tag(&self) -> &[u8] {
        &self.trailer.user_tag
    }

    /// The segments of the layer in ascending order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// What this layer says of the bytes of the device in `range`, in ascending order and without gaps;
    /// it is layer 0 of the extents. What it does not mention is a hole, beyond its virtual size, too.
    ///
    /// The layers of an [`Image`](crate::Image) have given their segments away; see
    /// [`Image::map`](crate::Image::map).
    pub fn map(&self, range: Range<u64>) -> impl Iterator<Item = Result<Extent>> + '_ {
        let first = range.start / lsmt::SECTOR_SIZE;
        let touching = self.segments.partition_point(|segment| segment.end() <= first);
        let segments = self.segments.get(touching..).unwrap_or_default();
        extents(range, segments.iter().copied(), std::slice::from_ref(self))
    }

    /// What the segments point into: the LSMT stream and, in an index-only layer, its target from the
    /// next whole sector on.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The LSMT stream of the layer's own blob.
    #[must_use]
    pub fn stream(&self) -> &Content {
        self.index_only.as_ref().map_or(&self.content, |stream| stream.own())
    }

    /// The name given to the target of an index-only layer.
    #[must_use]
    pub fn target_name(&self) -> Option<&str> {
        self.index_only.as_ref().map(|stream| stream.target_name())
    }

    /// Reads every byte of the LSMT stream and the target, so that each check of the format is made once.
    ///
    /// # Errors
    ///
    /// The first error met, with the name of the blob.
    pub async fn verify(&self) -> Result<()> {
        let mut buf = vec![0; VERIFY_READ];
        let mut at = 0;
        while at < self.content.size() {
            let len = usize::try_from(self.content.size().saturating_sub(at))
                .unwrap_or(VERIFY_READ)
                .min(VERIFY_READ);
            let part = buf.get_mut(..len).unwrap_or_default();
            self.content.read_at(part, at).await.map_err(|error| self.name_error(error))?;
            at = at.saturating_add(len as u64);
        }
        Ok(())
    }

    /// Where in the target the bytes `content` are; none if they are not.
    pub(crate) fn in_target(&self, content: &Range<u64>) -> Option<Range<u64>> {
        self.index_only.as_ref()?.in_target(content)
    }

    pub(crate) fn name_error(&self, error: Error) -> Error {
        error.in_blob(&self.name)
    }

    pub(crate) fn take_segments(&mut self) -> Vec<Segment> {
        std::mem::take(&mut self.segments)
    }
}

const VERIFY_READ: usize = 1 << 20;
