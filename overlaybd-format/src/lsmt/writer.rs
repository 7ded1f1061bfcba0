//! The index of a layer that is being written.

use std::ops::Range;

use crate::lsmt::segment::{MAX_LENGTH, SECTOR_SIZE, SENTINEL, SENTINEL_START, Segment};
use crate::lsmt::tags::IN_TARGET;
use crate::{Error, Result};

/// Collects segments and merges those that follow one another as the reference does.
#[derive(Debug, Default)]
pub(crate) struct IndexWriter {
    /// In the order in which they came.
    segments: Vec<Segment>,
    /// The end of the last segment of the device.
    end: u64,
}

impl IndexWriter {
    /// Maps `len` bytes of data at byte `offset` of the device to sector `stored_at` of the stream.
    pub(crate) fn data(&mut self, offset: u64, len: u64, mut stored_at: u64, tag: u8) -> Result<()> {
        let Range { mut start, end } = self.admit(offset, len)?;
        while start < end {
            let sectors = end.saturating_sub(start).min(COPY_SECTORS);
            self.push(Segment::new(start, sectors, stored_at, false), tag);
            start = start.saturating_add(sectors);
            stored_at = stored_at.saturating_add(sectors);
        }
        Ok(())
    }

    /// Marks `len` bytes at byte `offset` of the device as zeros; `stored_at` is the end of the data.
    pub(crate) fn zeroed(&mut self, offset: u64, len: u64, stored_at: u64, tag: u8) -> Result<()> {
        let Range { mut start, end } = self.admit(offset, len)?;
        while start < end {
            let sectors = end.saturating_sub(start).min(MAX_LENGTH);
            self.push(Segment::new(start, sectors, stored_at, true), tag);
            start = start.saturating_add(sectors);
        }
        Ok(())
    }

    /// Maps `len` bytes at byte `offset` of the device to sector `at` of the target.
    pub(crate) fn target(&mut self, offset: u64, len: u64, mut at: u64) -> Result<()> {
        let Range { mut start, end } = self.admit(offset, len)?;
        while start < end {
            let sectors = end.saturating_sub(start).min(MAX_LENGTH);
            self.push(Segment::new(start, sectors, at, false), IN_TARGET);
            start = start.saturating_add(sectors);
            at = at.saturating_add(sectors);
        }
        Ok(())
    }

    /// Whether there is nothing but segments of the target.
    pub(crate) fn is_all_target(&self) -> bool {
        !self.segments.is_empty() && self.segments.iter().all(|segment| segment.layer() == IN_TARGET.into())
    }

    /// The stored index of an index-only layer, which is not padded.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidWrite`] if segments overlap.
    pub(crate) fn encode_unpadded(&mut self) -> Result<Vec<u8>> {
        self.segments.sort_by_key(|segment| segment.start());
        for (segment, next) in self.segments.iter().zip(self.segments.iter().skip(1)) {
            if segment.end() > next.start() {
                let (offset, len) = (next.start() * SECTOR_SIZE, next.len() * SECTOR_SIZE);
                return Err(Error::InvalidWrite { offset, len, why: OVERLAP });
            }
        }
        Ok(self.segments.iter().flat_map(|segment| segment.encode()).collect())
    }

    /// The stored index, padded to whole pages.
    ///
    /// # Errors
    ///
    /// As [`encode_unpadded`](Self::encode_unpadded).
    pub(crate) fn encode(&mut self) -> Result<Vec<u8>> {
        let mut bytes = self.encode_unpadded()?;
        while !bytes.len().is_multiple_of(PAGE) {
            bytes.extend(SENTINEL);
        }
        Ok(bytes)
    }

    /// Checks the place of a segment and returns its sectors.
    fn admit(&mut self, offset: u64, len: u64) -> Result<Range<u64>> {
        let refuse = |why| Err(Error::InvalidWrite { offset, len, why });
        let start = offset / SECTOR_SIZE;
        let end = start.saturating_add(len / SECTOR_SIZE);
        if !offset.is_multiple_of(SECTOR_SIZE) || !len.is_multiple_of(SECTOR_SIZE) {
            return refuse("it does not start and end at a sector");
        }
        if start < self.end && end >= self.end {
            return refuse(OVERLAP);
        }
        if end >= SENTINEL_START {
            return refuse("it is beyond the last sector that the format can number");
        }
        self.end = self.end.max(end);
        Ok(start..end)
    }

    fn push(&mut self, segment: Option<Segment>, tag: u8) {
        let Some(segment) = segment.map(|segment| segment.in_layer(tag)) else { return };
        if !self.segments.last_mut().is_some_and(|last| last.absorb(segment)) {
            self.segments.push(segment);
        }
    }
}

const OVERLAP: &str = "it overlaps what was written before";
/// Sectors that the reference copies at once; its index shows where it stopped merging.
const COPY_SECTORS: u64 = 64;
/// The index of a committed layer is padded to a multiple of this, in bytes.
const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsmt::segments::decode;

    fn index(fill: impl FnOnce(&mut IndexWriter) -> Result<()>) -> Vec<Segment> {
        let mut writer = IndexWriter::default();
        fill(&mut writer).unwrap();
        decode(&writer.encode().unwrap(), 0, 8..u64::MAX, None).unwrap()
    }

    #[test]
    fn long_data_is_cut_where_the_reference_stops_merging() {
        let lengths: Vec<_> =
            index(|writer| writer.data(0, 40_000 * 512, 8, 0)).iter().map(|segment| segment.len()).collect();
        // 255 copies of 64 sectors; one more would make 16384, which is not below 16383.
        assert_eq!(lengths, [16_320, 16_320, 7360]);
    }

    #[test]
    fn long_zeros_have_the_longest_length() {
        let segments = index(|writer| writer.zeroed(0, 40_000 * 512, 8, 0));
        let lengths: Vec<_> = segments.iter().map(|segment| segment.len()).collect();
        assert_eq!(lengths, [16_383, 16_383, 7234]);
    }

    #[test]
    fn neighbours_from_different_sources_stay_apart() {
        let segments = index(|writer| {
            writer.data(0, 512, 8, 1)?;
            writer.data(512, 512, 9, 0)?;
            writer.data(1024, 512, 10, 0)
        });
        let lengths: Vec<_> = segments.iter().map(|segment| segment.len()).collect();
        assert_eq!(lengths, [1, 2]);
    }

    #[test]
    fn segments_are_sorted_and_must_not_overlap() {
        let fill = |start: u64| {
            move |writer: &mut IndexWriter| {
                writer.data(4096, 1024, 8, 0)?;
                writer.data(start, 1024, 10, 0)
            }
        };
        let segments = index(fill(512));
        let places: Vec<_> = segments.iter().map(|segment| (segment.start(), segment.stored_at())).collect();
        assert_eq!(places, [(1, 10), (8, 8)]);
        let mut writer = IndexWriter::default();
        fill(3584)(&mut writer).unwrap();
        assert!(matches!(writer.encode(), Err(Error::InvalidWrite { offset: 4096, .. })));
    }

    #[test]
    fn places_are_checked() {
        let mut writer = IndexWriter::default();
        writer.data(1024, 512, 8, 0).unwrap();
        for (offset, len) in [(1024, 512), (2048, 100), (2000, 512), (SENTINEL_START * 512, 512)] {
            let error = writer.data(offset, len, 9, 0).unwrap_err();
            assert!(matches!(error, Error::InvalidWrite { .. }), "{offset} {len}: {error}");
        }
    }
}
