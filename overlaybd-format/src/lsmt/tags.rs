//! What the tag of an index entry means: in an index-only layer, whether the bytes are in the layer or
//! in its target. In other layers it means nothing.

use std::ops::Range;

use crate::lsmt::segment::Segment;
use crate::lsmt::segments::{ENTRY_SIZE, FIRST_DATA_SECTOR, OUTSIDE, fault};

/// Where the target of an index-only layer is in the stream that the two make together, in sectors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TargetSectors {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl TargetSectors {
    /// The segment with its place in the common stream.
    ///
    /// # Errors
    ///
    /// The rule that it breaks.
    pub(super) fn place(
        self,
        segment: Segment,
        tag: u8,
        free_from: u64,
        data: &Range<u64>,
    ) -> Result<Segment, &'static str> {
        let (inside, start) = match tag {
            // Where nothing is stored, no place is wrong.
            _ if segment.is_zeroed() => (0..u64::MAX, 0),
            IN_LAYER => (data.clone(), 0),
            IN_TARGET => (0..self.len, self.start),
            _ => return Err("the tag names neither the layer nor its target"),
        };
        match fault(segment, free_from, &inside) {
            Some(OUTSIDE) if tag == IN_TARGET => Err(BEYOND),
            Some(why) => Err(why),
            None => segment.stored(segment.stored_at().saturating_add(start)).ok_or(BEYOND),
        }
    }
}

/// Tells an index whose tags mean nothing from that of an index-only layer: what is committed or merged
/// stores its data without gaps in the order of the index, and what is sealed in place has no tags.
#[derive(Debug)]
pub(super) struct Untagged {
    /// Where the next data is stored.
    next: u64,
}

impl Untagged {
    /// Whether the next entry, with its tag, can only be that of an index-only layer.
    pub(super) fn is_broken_by(&mut self, segment: Segment, tag: u8) -> bool {
        if segment.is_zeroed() {
            return false;
        }
        let in_sequence = segment.stored_at() == self.next;
        self.next = segment.stored_at().saturating_add(segment.len());
        tag == IN_TARGET && !in_sequence
    }
}

impl Default for Untagged {
    fn default() -> Self {
        Self { next: FIRST_DATA_SECTOR }
    }
}

/// The tag of a stored entry.
pub(super) fn tag(entry: &[u8; ENTRY_SIZE]) -> u8 {
    let [.., tag] = entry;
    *tag
}

const IN_LAYER: u8 = 0;
pub(super) const IN_TARGET: u8 = 1;
const BEYOND: &str = "the segment points beyond the end of the target";

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: TargetSectors = TargetSectors { start: 1000, len: 50 };

    fn place(start: u64, len: u64, at: u64, zeroed: bool, tag: u8) -> Result<(u64, u64), &'static str> {
        let segment = Segment::new(start, len, at, zeroed).unwrap();
        TARGET.place(segment, tag, 4, &(8..24)).map(|segment| (segment.start(), segment.stored_at()))
    }

    #[test]
    fn a_segment_is_in_the_layer_or_in_the_target() {
        assert_eq!(place(4, 8, 16, false, IN_LAYER), Ok((4, 16)));
        assert_eq!(place(4, 8, 42, false, IN_TARGET), Ok((4, 1042)));
        assert_eq!(place(4, 8, 99, true, IN_LAYER), Ok((4, 99)), "nothing is stored");
        assert_eq!(place(4, 8, 43, false, IN_TARGET), Err(BEYOND));
        assert_eq!(place(4, 8, 17, false, IN_LAYER), Err(OUTSIDE));
        for broken in
            [place(3, 8, 0, false, IN_TARGET), place(4, 0, 0, false, IN_TARGET), place(4, 8, 8, false, 2)]
        {
            assert!(broken.is_err());
        }
    }

    #[test]
    fn tags_of_a_merged_layer_mean_nothing() {
        let is_broken = |segments: &[(u64, u64, u8)]| {
            let mut untagged = Untagged::default();
            segments.iter().any(|&(start, at, tag)| {
                untagged.is_broken_by(Segment::new(start, 8, at, false).unwrap(), tag)
            })
        };
        assert!(!is_broken(&[(0, 8, 1), (8, 16, 0), (16, 24, 1)]), "merged");
        assert!(!is_broken(&[(0, 16, 0), (8, 8, 0)]), "sealed in place");
        assert!(is_broken(&[(0, 8, 0), (8, 3, 1)]), "index-only");
    }
}
