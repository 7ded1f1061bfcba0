//! The merged index: for every sector of the device, the topmost layer that says something of it.
//!
//! Segments are kept sorted, sixteen bytes each, beside a table of four bytes a segment that says where
//! to begin. A lookup reads two entries of the table and walks on from the segment they lead to.

mod batch;
mod merge;
mod table;

use std::ops::Range;

use crate::lsmt::Segment;
use crate::{Error, Limits, Result};

pub use batch::Lookups;
use table::Table;

/// The segments of a device, sorted and free of overlaps.
#[derive(Debug, Default)]
pub struct Index {
    table: Table,
    segments: Vec<Segment>,
}

impl Index {
    /// Merges the segments of a stack, bottom layer first. Where layers overlap the upper one wins,
    /// with its zeroed segments too; the layer of each segment is its place in `layers`.
    ///
    /// The time is linear in the number of segments for each doubling of the number of layers,
    /// whatever the overlaps.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] if there are more layers or segments than `limits` admit.
    pub fn merge(layers: Vec<Vec<Segment>>, limits: &Limits) -> Result<Self> {
        let limit = |what, value: u64, limit| {
            if value <= limit { Ok(()) } else { Err(Error::Limit { what, value, limit }) }
        };
        limit("layers in a stack", layers.len() as u64, limits.layers.min(MAX_LAYERS) as u64)?;
        let merged = merge::stack(layers);
        limit("segments in a merged index", merged.len() as u64, limits.merged_segments)?;
        Ok(Self { table: Table::new(&merged), segments: merged })
    }

    /// Number of segments.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether no sector is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// All segments in ascending order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The segments that touch `sectors`, cut to it, in ascending order. What they leave out is a
    /// hole: it reads as zeros.
    ///
    /// ```
    /// # use overlaybd_format::{Index, Limits};
    /// let index = Index::merge(vec![], &Limits::default())?;
    /// assert_eq!(index.lookup(0..8).count(), 0);
    /// # Ok::<_, overlaybd_format::Error>(())
    /// ```
    #[inline]
    pub fn lookup(&self, sectors: Range<u64>) -> Lookup<'_> {
        self.walk(self.table.places(sectors.start), sectors)
    }

    #[inline]
    fn walk(&self, places: Range<usize>, sectors: Range<u64>) -> Lookup<'_> {
        let mut rest = self.segments.get(places.start..).unwrap_or_default();
        // The segment after the one to begin with is the answer as often as not, so no branch may
        // depend on that.
        let ends = |segment: &Segment| segment.end() <= sectors.start;
        let skip = usize::from(rest.first().is_some_and(ends));
        rest = rest.get(skip..).unwrap_or_default();
        if rest.first().is_some_and(ends) {
            let crowd = rest.get(..places.len()).unwrap_or(rest);
            rest = rest.get(crowd.partition_point(ends)..).unwrap_or_default();
        }
        Lookup { rest, sectors }
    }
}

/// The segments of a range; see [`Index::lookup`].
#[derive(Debug, Clone)]
pub struct Lookup<'a> {
    rest: &'a [Segment],
    sectors: Range<u64>,
}

impl Iterator for Lookup<'_> {
    type Item = Segment;

    #[inline]
    fn next(&mut self) -> Option<Segment> {
        let (segment, rest) = self.rest.split_first()?;
        if segment.start() >= self.sectors.end {
            return None;
        }
        self.rest = rest;
        Some(segment.within(self.sectors.start, self.sectors.end))
    }
}

/// The layer of a segment is one byte, and the reference stops one short of all its values.
const MAX_LAYERS: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(start: u64, len: u64, at: u64) -> Segment {
        Segment::new(start, len, at, false).unwrap()
    }

    #[test]
    fn lookups_are_cut_to_the_range() {
        let layer = vec![segment(0, 8, 8), segment(16, 8, 16), segment(24, 8, 100)];
        let index = Index::merge(vec![layer], &Limits::default()).unwrap();
        let found: Vec<_> = index.lookup(4..26).map(|s| (s.sectors(), s.stored_at())).collect();
        assert_eq!(found, [(4..8, 12), (16..24, 16), (24..26, 100)]);
        assert_eq!(index.lookup(8..16).count(), 0);
        assert_eq!(index.lookup(32..u64::MAX).count(), 0);
    }

    #[test]
    fn too_many_layers_are_refused() {
        let layers = vec![vec![]; 256];
        assert!(matches!(Index::merge(layers, &Limits::default()), Err(Error::Limit { value: 256, .. })));
    }

    proptest! {
        #[test]
        fn lookups_find_what_a_scan_finds(
            runs in prop::collection::vec((prop_oneof![0..3u64, 0..5000u64, 0..1u64 << 40], 1..99u64), 0..200),
            queries in prop::collection::vec((any::<prop::sample::Index>(), -3i64..3, 0..200u64), 0..40),
        ) {
            let mut at = 0;
            let layer: Vec<Segment> = runs
                .into_iter()
                .map(|(gap, len)| {
                    at += gap + len;
                    segment(at - len, len, at)
                })
                .collect();
            let queries = queries.into_iter().map(|(near, offset, len)| {
                let near = if layer.is_empty() { 9 } else { layer[near.index(layer.len())].end() };
                let start = near.saturating_add_signed(offset);
                start..start + len
            });
            let queries: Vec<Range<u64>> = queries.collect();
            let index = Index::merge(vec![layer.clone()], &Limits::default()).unwrap();
            let mut batch = Lookups::default();
            index.lookup_batch(&queries, &mut batch);
            prop_assert_eq!(batch.iter().flatten().collect::<Vec<_>>(), batch.segments().iter().collect::<Vec<_>>());
            for (query, found) in queries.iter().zip(batch.iter()) {
                let touches = |segment: &&Segment| segment.start() < query.end && segment.end() > query.start;
                let expected: Vec<_> =
                    layer.iter().filter(touches).map(|s| s.from(query.start).before(query.end)).collect();
                prop_assert_eq!(&index.lookup(query.clone()).collect::<Vec<_>>(), &expected);
                prop_assert_eq!(found, expected);
            }
        }
    }
}
