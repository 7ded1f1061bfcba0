//! From a device to a trace, and from a trace to the blobs.

use std::ops::Range;

use super::range_set::RangeSet;
use super::{Op, Record, Trace};
use crate::{ExtentKind, Image, Limits, ReadAt, Result};

/// Bytes of the blob of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRange {
    /// The layer, counted from the bottom, from 0.
    pub layer: usize,
    /// The bytes of its blob, wrappers included.
    pub range: Range<u64>,
}

impl Trace {
    /// The reads of its layers that reading `ranges` of the device `image` takes, in their order, each
    /// byte once. Parts that read as zeros take none, and parts beyond the device are left out; so is
    /// what is left after [`Limits::trace_records`] records.
    ///
    /// # Errors
    ///
    /// As an item of [`Image::map`].
    pub fn of(image: &Image, ranges: &[Range<u64>], limits: &Limits) -> Result<Self> {
        let mut seen = RangeSet::default();
        let mut records: Vec<Record> = Vec::new();
        for range in ranges {
            let mut new = Vec::new();
            seen.add(range.start..range.end.min(image.size()), |part| new.push(part));
            for part in new {
                for extent in image.map(part)? {
                    let Some(record) = record(extent?.kind) else { continue };
                    if !push(&mut records, record, limits.trace_records) {
                        return Ok(Self { records });
                    }
                }
            }
        }
        Ok(Self { records })
    }

    /// The bytes of the blobs of `image` to fetch for a replay, in the order of the records, none of
    /// them twice. Writes, layers that the image does not have and what is beyond the end of a layer
    /// are passed over: a trace is a hint, and nothing depends on it but time.
    ///
    /// # Errors
    ///
    /// Where a read of the layer would be an error, too.
    pub fn blob_ranges(&self, image: &Image) -> Result<Vec<BlobRange>> {
        let mut seen: Vec<RangeSet> = image.layers().iter().map(|_| RangeSet::default()).collect();
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
            seen.add(stored, |range| match ranges.last_mut() {
                Some(last) if last.layer == layer && last.range.end == range.start => {
                    last.range.end = range.end;
                }
                _ => ranges.push(BlobRange { layer, range }),
            });
        }
        Ok(ranges)
    }
}

/// The read of stored bytes; none of zeros.
fn record(kind: ExtentKind) -> Option<Record> {
    match kind {
        ExtentKind::Plain { layer, content, .. } | ExtentKind::Compressed { layer, content, .. } => {
            Some(Record::read(u32::try_from(layer).ok()?, content))
        }
        ExtentKind::Hole | ExtentKind::Zeroed { .. } | ExtentKind::Target { .. } => None,
    }
}

/// Appends `record`, to the last one if it goes on there; false if there is no room for it.
fn push(records: &mut Vec<Record>, record: Record, most: usize) -> bool {
    if let Some(last) = records.last_mut()
        && last.layer == record.layer
        && last.content.end == record.content.start
    {
        last.content.end = record.content.end;
        return true;
    }
    let room = records.len() < most;
    if room {
        records.push(record);
    }
    room
}
