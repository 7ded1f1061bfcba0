//! What a writable layer maps, as it changes.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::Segment;

/// The segments of a writable layer by their first sector, free of overlaps.
///
/// Neighbours are not merged: an index that is sealed shows the writes as they came, as the
/// reference's does.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    segments: BTreeMap<u64, Segment>,
    /// Sectors that are mapped to stored bytes.
    stored: u64,
}

/// What a layer says of a sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The segment from the sector on.
    Mapped(Segment),
    /// Nothing, up to this sector.
    Gap(u64),
}

impl Mappings {
    /// Maps the sectors of `segment`, whatever they were mapped to before.
    pub(super) fn insert(&mut self, segment: Segment) {
        self.remove(segment.sectors());
        self.put(segment);
    }

    /// Forgets what `sectors` were mapped to.
    pub(super) fn remove(&mut self, sectors: Range<u64>) {
        if sectors.is_empty() {
            return;
        }
        if let Some((_, &first)) = self.segments.range(..sectors.start).next_back()
            && first.end() > sectors.start
        {
            self.take(first);
            self.put(first.before(sectors.start));
            if first.end() > sectors.end {
                self.put(first.from(sectors.end));
            }
        }
        while let Some((_, &inner)) = self.segments.range(sectors.clone()).next() {
            self.take(inner);
            if inner.end() > sectors.end {
                self.put(inner.from(sectors.end));
            }
        }
    }

    /// What is said of sector `at`, for at most the sectors before `end`.
    pub(super) fn find(&self, at: u64, end: u64) -> Found {
        match self.segments.range(..=at).next_back() {
            Some((_, segment)) if segment.end() > at => Found::Mapped(segment.from(at).before(end)),
            _ => Found::Gap(self.segments.range(at..end).next().map_or(end, |(&start, _)| start)),
        }
    }

    /// All segments in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Segment> + '_ {
        self.segments.values().copied()
    }

    /// Number of segments.
    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }

    /// Sectors that are mapped to stored bytes.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    fn put(&mut self, segment: Segment) {
        self.stored = self.stored.saturating_add(stored(segment));
        self.segments.insert(segment.start(), segment);
    }

    fn take(&mut self, segment: Segment) {
        self.stored = self.stored.saturating_sub(stored(segment));
        self.segments.remove(&segment.start());
    }
}

fn stored(segment: Segment) -> u64 {
    if segment.is_zeroed() { 0 } else { segment.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a map of single sectors: the same answers, the same number of stored sectors.
        #[test]
        fn later_insertions_win(steps in prop::collection::vec((0..60u64, 1..20u64, 0..3u8), 0..60)) {
            let mut mappings = Mappings::default();
            let mut sectors = [None; 80];
            let mut stored_at = 8;
            for (start, len, kind) in steps {
                let each = start as usize..(start + len) as usize;
                if kind == 0 {
                    mappings.remove(start..start + len);
                    sectors[each].fill(None);
                } else {
                    mappings.insert(Segment::new(start, len, stored_at, kind == 1).unwrap());
                    for (n, sector) in sectors[each].iter_mut().enumerate() {
                        *sector = Some((kind == 2).then_some(stored_at + n as u64));
                    }
                    stored_at += len;
                }
            }
            for (at, &sector) in sectors.iter().enumerate() {
                let found = match mappings.find(at as u64, at as u64 + 1) {
                    Found::Mapped(segment) => Some((!segment.is_zeroed()).then_some(segment.stored_at())),
                    Found::Gap(end) => {
                        prop_assert_eq!(end, at as u64 + 1);
                        None
                    }
                };
                prop_assert_eq!(found, sector, "sector {}", at);
            }
            prop_assert_eq!(mappings.stored(), sectors.iter().filter(|s| matches!(s, Some(Some(_)))).count() as u64);
            prop_assert!(mappings.iter().all(|segment| !segment.is_empty()));
            prop_assert!(mappings.iter().is_sorted_by(|a, b| a.end() <= b.start()));
        }
    }

    #[test]
    fn a_gap_ends_where_the_next_segment_starts() {
        let mut mappings = Mappings::default();
        mappings.insert(Segment::new(10, 4, 8, false).unwrap());
        assert_eq!(mappings.find(2, 20), Found::Gap(10));
        assert_eq!(mappings.find(2, 6), Found::Gap(6));
        assert_eq!(mappings.find(12, 13), Found::Mapped(Segment::new(12, 1, 10, false).unwrap()));
        assert_eq!(mappings.find(14, 20), Found::Gap(20));
    }
}
