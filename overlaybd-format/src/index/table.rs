//! Where a search of the segments begins.
//!
//! The device is cut into *buckets* of equal length, a power of two of sectors, about one for each
//! segment. The table holds the place of the first segment that ends in the bucket or behind it:
//!
//! ```text
//! device    │▓▓▓▓░░▓│▓▓▓▓▓▓▓│▓▓░░░░░│░░░░▓▓▓│    ▓ covered by a segment
//! segments   ─0── 1─ ─────  2─       ───3
//! table      0       1       2       3       4
//! ```
//!
//! So two neighbouring entries enclose the answer. Where segments are spread evenly that is one or two
//! of them, found without a search; where they crowd into few buckets, a binary search of one bucket's
//! segments finds it.

use std::ops::Range;

use crate::lsmt::Segment;

/// An entry for each bucket, four bytes long.
#[derive(Debug, Default)]
pub(super) struct Table {
    shift: u32,
    /// One more than there are buckets: the last is the number of segments.
    firsts: Vec<u32>,
}

impl Table {
    /// Makes the table of sorted `segments`, fewer than 2³² of them.
    pub(super) fn new(segments: &[Segment]) -> Self {
        let Some(last) = segments.last() else { return Self::default() };
        let sectors = last.end();
        let mut shift = 0;
        while sectors >> shift > segments.len() as u64 {
            shift += 1;
        }
        let buckets = (sectors >> shift).saturating_add(1);
        let mut firsts = Vec::with_capacity(buckets.saturating_add(1) as usize);
        let mut first = 0u32;
        let mut rest = segments.iter().peekable();
        for bucket in 0..buckets {
            while rest.next_if(|segment| segment.end() <= bucket << shift).is_some() {
                first = first.saturating_add(1);
            }
            firsts.push(first);
        }
        firsts.push(segments.len() as u32);
        Self { shift, firsts }
    }

    /// The place at which the search for the first segment that ends behind `sector` begins.
    #[inline]
    pub(super) fn first(&self, sector: u64) -> usize {
        let bucket = usize::try_from(sector >> self.shift).unwrap_or(usize::MAX);
        self.firsts.get(bucket).or(self.firsts.last()).map_or(0, |&first| first as usize)
    }

    /// The first segment that ends behind `sector` is in this range of places, or is the one after it.
    #[inline]
    pub(super) fn places(&self, sector: u64) -> Range<usize> {
        let bucket = usize::try_from(sector >> self.shift).unwrap_or(usize::MAX);
        match self.firsts.get(bucket..).unwrap_or_default() {
            [first, next, ..] => *first as usize..*next as usize,
            _ => {
                let end = self.firsts.last().map_or(0, |&len| len as usize);
                end..end
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(starts: impl IntoIterator<Item = u64>) -> Vec<Segment> {
        starts.into_iter().map(|start| Segment::new(start, 3, 8, false).unwrap()).collect()
    }

    #[test]
    fn two_entries_enclose_the_answer() {
        let even = segments((0..100).map(|n| n * 7));
        let crowded = segments((0..50).map(|n| n * 3).chain([1 << 49]));
        let far = segments([5, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 50) - 9]);
        for segments in [even, crowded, far, segments([0]), vec![]] {
            let table = Table::new(&segments);
            assert!(table.firsts.len() <= segments.len() + 2, "four bytes a segment");
            let ends = segments.iter().flat_map(|s| [s.start(), s.end() - 1, s.end(), s.end() + 1]);
            for sector in ends.chain([0, 1 << 33, u64::MAX]) {
                let expected = segments.partition_point(|segment| segment.end() <= sector);
                let places = table.places(sector);
                assert!(
                    places.start <= expected && expected <= places.end,
                    "{sector}: {places:?} {expected}"
                );
            }
        }
    }
}
