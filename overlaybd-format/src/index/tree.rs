//! A static search tree over sorted keys, without pointers.
//!
//! Keys stand in nodes of one cache line. The level above holds the first key of each node, and so
//! on up to a single node; a child's place follows from its parent's, so nothing but keys is stored:
//! a seventh more than the keys alone.
//!
//! ```text
//! level 0            │ k0 k8 k16 … k56 │
//! level 1   │ k0 k1 … k7 │ k8 … k15 │ … │ … padding │
//! ```

use crate::lsmt::key_ceiling;

/// Sorted keys of segments, searchable by sector.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Root first; the last level holds all keys.
    levels: Vec<Vec<Node>>,
}

impl Tree {
    /// The place of the last segment that starts at or before `sector`.
    #[inline]
    pub(super) fn last_at_or_before(&self, sector: u64) -> Option<usize> {
        let ceiling = key_ceiling(sector);
        let mut place = 0usize;
        for level in &self.levels {
            let below = level.get(place)?.count_up_to(ceiling);
            place = (place * NODE_KEYS + below).checked_sub(1)?;
        }
        (!self.levels.is_empty()).then_some(place)
    }

    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<u64> {
        self.levels.last()?.get(place / NODE_KEYS)?.0.get(place % NODE_KEYS).copied()
    }
}

impl FromIterator<u64> for Tree {
    fn from_iter<I: IntoIterator<Item = u64>>(keys: I) -> Self {
        let mut level = nodes(keys);
        let mut levels = Vec::new();
        while level.len() > 1 {
            let above = nodes(level.iter().map(|node| node.0[0]));
            levels.push(level);
            level = above;
        }
        if !level.is_empty() {
            levels.push(level);
        }
        levels.reverse();
        Self { levels }
    }
}

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Node([u64; NODE_KEYS]);

impl Node {
    #[inline]
    fn count_up_to(&self, ceiling: u64) -> usize {
        self.0.iter().map(|&key| usize::from(key <= ceiling)).sum()
    }
}

fn nodes(keys: impl IntoIterator<Item = u64>) -> Vec<Node> {
    let mut keys = keys.into_iter();
    let mut nodes = Vec::with_capacity(keys.size_hint().0.div_ceil(NODE_KEYS));
    while let Some(first) = keys.next() {
        let mut node = Node([PADDING; NODE_KEYS]);
        node.0[0] = first;
        node.0.iter_mut().skip(1).zip(&mut keys).for_each(|(slot, key)| *slot = key);
        nodes.push(node);
    }
    nodes
}

/// Eight keys fill a cache line.
const NODE_KEYS: usize = 8;
/// Above every key, because no segment starts at the last sector number.
const PADDING: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsmt::Segment;

    #[test]
    fn every_size_finds_what_a_scan_finds() {
        for count in (0..70).chain([511, 512, 513, 4095, 4097]) {
            let starts: Vec<u64> = (0..count).map(|n| 10 + 7 * n).collect();
            let tree: Tree = starts.iter().map(|&s| Segment::new(s, 1, 8, false).unwrap().key()).collect();
            let step = (count as usize / 16).max(1);
            for probe in (0..20 + 7 * count).step_by(step) {
                let expected = starts.partition_point(|&start| start <= probe).checked_sub(1);
                assert_eq!(tree.last_at_or_before(probe), expected, "{probe} among {count}");
            }
            assert_eq!(tree.last_at_or_before(crate::lsmt::SENTINEL_START - 1), starts.len().checked_sub(1));
        }
    }
}
