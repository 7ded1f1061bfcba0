//! The merged index: for every sector of the device, the topmost layer that says something of it.
//!
//! Segments are kept as two parallel arrays of words, sixteen bytes a segment, under a static search
//! tree of their keys. A lookup descends the tree to the first segment that can touch the range and
//! walks on from there.

mod merge;
mod tree;

use std::ops::Range;

use crate::lsmt::Segment;
use crate::{Error, Limits, Result};

use tree::Tree;

/// The segments of a device, sorted and free of overlaps.
#[derive(Debug, Default)]
pub struct Index {
    keys: Tree,
    mappings: Vec<u64>,
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
        Ok(Self {
            mappings: merged.iter().map(|segment| segment.mapping()).collect(),
            keys: merged.iter().map(|segment| segment.key()).collect(),
        })
    }

    /// Number of segments.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mappings.len()
    }

    /// Whether no sector is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mappings.is_empty()
    }

    /// All segments in ascending order.
    pub fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        (0..self.len()).filter_map(|at| self.get(at))
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
    pub fn lookup(&self, sectors: Range<u64>) -> Lookup<'_> {
        let first = self.keys.last_at_or_before(sectors.start).unwrap_or(0);
        Lookup { index: self, next: first, sectors }
    }

    fn get(&self, at: usize) -> Option<Segment> {
        Some(Segment::from_words(self.keys.get(at)?, *self.mappings.get(at)?))
    }
}

/// The segments of a range; see [`Index::lookup`].
#[derive(Debug, Clone)]
pub struct Lookup<'a> {
    index: &'a Index,
    next: usize,
    sectors: Range<u64>,
}

impl Iterator for Lookup<'_> {
    type Item = Segment;

    #[inline]
    fn next(&mut self) -> Option<Segment> {
        loop {
            let segment = self.index.get(self.next)?;
            if segment.start() >= self.sectors.end {
                return None;
            }
            self.next = self.next.wrapping_add(1);
            if segment.end() > self.sectors.start {
                return Some(segment.from(self.sectors.start).before(self.sectors.end));
            }
        }
    }
}

/// The layer of a segment is one byte, and the reference stops one short of all its values.
const MAX_LAYERS: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

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
}
