//! Where the bytes of a device are: the same answer as a read, without the bytes.
//!
//! A front end that can send stored bytes as they are (by `sendfile`, `splice` or a mapping), a tool
//! that shows the layout as FIEMAP does, and a planner that fetches ahead of reads all ask for this.

use std::ops::Range;

use crate::lsmt::{SECTOR_SIZE, Segment};
use crate::{Error, Layer, Result};

/// A run of bytes of a device that come from one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The bytes of the device.
    pub device: Range<u64>,
    /// Where they come from.
    pub kind: ExtentKind,
}

/// Where the bytes of an [`Extent`] come from. Layers are numbered from the bottom, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExtentKind {
    /// No layer mentions them: they read as zeros.
    Hole,
    /// A layer says that they are zeros, whatever the layers below it hold.
    Zeroed {
        /// The layer that says so.
        layer: usize,
    },
    /// They are stored as they are, byte for byte.
    Plain {
        /// The layer that holds them.
        layer: usize,
        /// Their place in its [content](Layer::content).
        content: Range<u64>,
        /// Their place in its blob, of the same length.
        blob: Range<u64>,
    },
    /// They are inside compressed blocks.
    Compressed {
        /// The layer that holds them.
        layer: usize,
        /// Their place in its [content](Layer::content), which is what the blocks decode to.
        content: Range<u64>,
        /// All the blocks that they are in, with their checksums, as bytes of its blob.
        blob: Range<u64>,
    },
    /// They are in the target of an index-only layer.
    Target {
        /// The layer that points to them.
        layer: usize,
        /// Their place in its [content](Layer::content).
        content: Range<u64>,
        /// Their place in the target: in the uncompressed stream, however that is stored.
        target: Range<u64>,
    },
}

/// Cuts `device` into extents by `segments`, the ascending segments that touch it, which lie in
/// `layers`.
pub(crate) fn extents<'a>(
    device: Range<u64>,
    segments: impl Iterator<Item = Segment> + 'a,
    layers: &'a [Layer],
) -> impl Iterator<Item = Result<Extent>> + 'a {
    let mut segments = segments.peekable();
    let Range { start: mut at, end } = device;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let start = segments.peek().map_or(u64::MAX, |next| next.start().saturating_mul(SECTOR_SIZE));
        if at < start {
            let device = at..start.min(end);
            at = device.end;
            return Some(Ok(Extent { device, kind: ExtentKind::Hole }));
        }
        let segment = segments.next()?;
        let device = at..segment.end().saturating_mul(SECTOR_SIZE).min(end);
        let skipped = at.saturating_sub(start);
        at = device.end;
        let len = device.end.saturating_sub(device.start);
        Some(kind(segment, skipped, len, layers).map(|kind| Extent { device, kind }))
    })
}

/// The kind of the `len` bytes that follow the first `skipped` bytes of `segment`.
fn kind(segment: Segment, skipped: u64, len: u64, layers: &[Layer]) -> Result<ExtentKind> {
    let layer = segment.layer();
    if segment.is_zeroed() {
        return Ok(ExtentKind::Zeroed { layer });
    }
    let of = layers
        .get(layer)
        .ok_or_else(|| Error::broken("merged index", 0, format!("a segment of layer {layer}")))?;
    let start = segment.stored_at().saturating_mul(SECTOR_SIZE).saturating_add(skipped);
    let content = start..start.saturating_add(len);
    if let Some(target) = of.in_target(&content) {
        return Ok(ExtentKind::Target { layer, content, target });
    }
    let blob = of.stream().stored(content.clone()).map_err(|error| of.name_error(error))?;
    Ok(if of.stream().is_plain() {
        ExtentKind::Plain { layer, content, blob }
    } else {
        ExtentKind::Compressed { layer, content, blob }
    })
}
