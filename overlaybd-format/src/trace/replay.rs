//! From a device to a trace, and from a trace to the blobs.

use std::ops::Range;

use super::range_set::RangeSet;
use super::{Op, Record, Trace};
use crate::index_only::target_sector;
use crate::lsmt::SECTOR_SIZE;
use crate::{ExtentKind, Image, Limits, ReadAt, Result};

/// Bytes to fetch for a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRange {
    /// The layer, counted from the bottom, from 0.
    pub layer: usize,
    /// Whether the bytes are those of the target of an index-only layer.
    pub target: bool,
    /// The bytes of the layer's blob, wrappers included; or of its target, which is a tar stream that
    /// is not compressed, whatever the blob is that has it.
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
        let mut seen: Vec<[RangeSet; 2]> = image.layers().iter().map(|_| Default::default()).collect();
        let mut ranges: Vec<BlobRange> = Vec::new();
        for Record { op, layer, content } in &self.records {
            let layer = usize::try_from(*layer).unwrap_or(usize::MAX);
            let (Op::Read, Some(of), Some([own, target])) =
                (op, image.layers().get(layer), seen.get_mut(layer))
            else {
                continue;
            };
            let end = content.end.min(of.stream().size());
            if content.start < end {
                let stored = of.stream().stored(content.start..end).map_err(|error| of.name_error(error))?;
                own.add(stored, |range| join(&mut ranges, BlobRange { layer, target: false, range }));
            }
            let start = content.start.max(target_sector(of.stream().size()).saturating_mul(SECTOR_SIZE));
            if let Some(range) = of.in_target(&(start..content.end.min(of.content().size()))) {
                target.add(range, |range| join(&mut ranges, BlobRange { layer, target: true, range }));
            }
        }
        Ok(ranges)
    }
}

/// The read of stored bytes; none of zeros.
fn record(kind: ExtentKind) -> Option<Record> {
    match kind {
        ExtentKind::Plain { layer, content, .. }
        | ExtentKind::Compressed { layer, content, .. }
        | ExtentKind::Target { layer, content, .. } => {
            Some(Record::read(u32::try_from(layer).ok()?, content))
        }
        ExtentKind::Hole | ExtentKind::Zeroed { .. } => None,
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

/// Appends `next`, to the last range if it goes on there.
fn join(ranges: &mut Vec<BlobRange>, next: BlobRange) {
    match ranges.last_mut() {
        Some(last)
            if (last.layer, last.target, last.range.end) == (next.layer, next.target, next.range.start) =>
        {
            last.range.end = next.range.end;
        }
        _ => ranges.push(next),
    }
}
