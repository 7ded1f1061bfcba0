//! From a device to a trace, and from a trace to the blobs.

use std::ops::Range;

use super::{Op, Pages, Record, Trace};
use crate::{ExtentKind, Image, ReadAt, Result};

/// Bytes of the blob of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRange {
    /// The layer, counted from the bottom, from 0.
    pub layer: usize,
    /// The bytes of its blob, wrappers included.
    pub range: Range<u64>,
}

impl Trace {
    /// The reads of its layers that reading `ranges` of the device `image` takes, in their order. Parts
    /// of a range that read as zeros take none; parts beyond the device are left out.
    ///
    /// # Errors
    ///
    /// As an item of [`Image::map`].
    pub fn of(image: &Image, ranges: &[Range<u64>]) -> Result<Self> {
        let mut records: Vec<Record> = Vec::new();
        for range in ranges {
            let end = range.end.min(image.size());
            for extent in image.map(range.start.min(end)..end)? {
                let (ExtentKind::Plain { layer, content, .. }
                | ExtentKind::Compressed { layer, content, .. }) = extent?.kind
                else {
                    continue;
                };
                // A stack has at most 255 layers.
                let Ok(layer) = u32::try_from(layer) else { continue };
                match records.last_mut() {
                    Some(last) if last.layer == layer && last.content.end == content.start => {
                        last.content.end = content.end;
                    }
                    _ => records.push(Record::read(layer, content)),
                }
            }
        }
        Ok(Self { records })
    }

    /// The bytes of the blobs of `image` to fetch for a replay, in the order of the records, no page
    /// of 4 KiB twice. Writes, layers that the image does not have and what is beyond the end of a
    /// layer are passed over: a trace is a hint, and nothing depends on it but time.
    ///
    /// # Errors
    ///
    /// Where a read of the layer would be an error, too.
    pub fn blob_ranges(&self, image: &Image) -> Result<Vec<BlobRange>> {
        let mut seen: Vec<Option<Pages>> = image.layers().iter().map(|_| None).collect();
        let mut ranges: Vec<BlobRange> = Vec::new();
        for Record { op, layer, content } in &self.records {
            let layer = usize::try_from(*layer).unwrap_or(usize::MAX);
            let (Op::Read, Some(of), Some(seen)) = (op, image.layers().get(layer), seen.get_mut(layer))
            else {
                continue;
            };
            let end = content.end.min(of.stream().size());
            if content.start >= end {
                continue;
            }
            let stored = of.stream().stored(content.start..end).map_err(|error| of.name_error(error))?;
            let seen = seen.get_or_insert_with(|| Pages::new(of.stream().blob().size()));
            seen.claim(&stored, |range| match ranges.last_mut() {
                Some(last) if last.layer == layer && last.range.end == range.start => {
                    last.range.end = range.end;
                }
                _ => ranges.push(BlobRange { layer, range }),
            });
        }
        Ok(ranges)
    }
}
