//! One entry of an index: a run of device sectors and where its bytes are.

use std::fmt;
use std::ops::Range;

/// Bytes in a sector, the unit of every position and length in an index.
pub const SECTOR_SIZE: u64 = 512;

/// A run of device sectors and its mapping, packed into sixteen bytes.
///
/// The two words hold what the stored entry holds. The first is rotated so that it orders by
/// position and can be searched as one integer:
///
/// ```text
/// stored   word 0: │ length:14 │ start:50 │      word 1: │ tag:8 │ zeroed:1 │ stored at:55 │
/// here     key:    │ start:50 │ length:14 │      mapping: the same, with the layer as the tag
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    key: u64,
    mapping: u64,
}

impl Segment {
    /// A segment of no sectors, where a value is needed that nobody reads.
    pub(crate) const EMPTY: Self = Self { key: 0, mapping: 0 };

    /// First sector of the device that the segment covers.
    #[must_use]
    pub const fn start(self) -> u64 {
        self.key >> LENGTH_BITS
    }

    /// Number of sectors.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.key & MAX_LENGTH
    }

    /// Whether the segment covers no sector. No valid index holds such a segment.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The sector after the last one.
    #[must_use]
    pub const fn end(self) -> u64 {
        // Fifty bits and fourteen: the sum fits.
        self.start().wrapping_add(self.len())
    }

    /// The sectors of the device that the segment covers.
    #[must_use]
    pub const fn sectors(self) -> Range<u64> {
        self.start()..self.end()
    }

    /// Whether the sectors read as zeros without any stored bytes.
    #[must_use]
    pub const fn is_zeroed(self) -> bool {
        self.mapping & ZEROED != 0
    }

    /// Where the bytes are, in sectors of the layer's stream. Means nothing in a zeroed segment.
    #[must_use]
    pub const fn stored_at(self) -> u64 {
        self.mapping & MAX_STORED_AT
    }

    /// Which layer of the stack the bytes are in, 0 being the bottom.
    #[must_use]
    pub const fn layer(self) -> usize {
        (self.mapping >> TAG_SHIFT) as usize
    }

    /// `len` sectors of data from device sector `start` on, stored from sector `stored_at` of their
    /// layer's stream on; `None` if a value does not fit the format.
    #[must_use]
    pub fn data(start: u64, len: u64, stored_at: u64) -> Option<Self> {
        Self::new(start, len, stored_at, false)
    }

    /// `len` sectors from device sector `start` on that read as zeros; `None` if a value does not fit
    /// the format.
    #[must_use]
    pub fn zeroed(start: u64, len: u64) -> Option<Self> {
        Self::new(start, len, 0, true)
    }

    /// A segment of `len` sectors at `start`; `None` if a value does not fit the format.
    pub(crate) fn new(start: u64, len: u64, stored_at: u64, zeroed: bool) -> Option<Self> {
        let fits = start < SENTINEL_START && len <= MAX_LENGTH && stored_at <= MAX_STORED_AT;
        let flag = if zeroed { ZEROED } else { 0 };
        fits.then_some(Self { key: start << LENGTH_BITS | len, mapping: stored_at | flag })
    }

    /// The segment in a stored entry, its tag cleared; `None` for padding.
    pub(crate) fn decode(entry: &[u8; 16]) -> Option<Self> {
        let word = u128::from_le_bytes(*entry);
        let (first, second) = (word as u64, (word >> 64) as u64);
        let segment = Self { key: first.rotate_left(LENGTH_BITS), mapping: second & !TAG };
        (segment.start() != SENTINEL_START).then_some(segment)
    }

    /// The stored entry, with the layer as its tag.
    pub(crate) fn encode(self) -> [u8; 16] {
        let first = self.key.rotate_right(LENGTH_BITS);
        (u128::from(self.mapping) << 64 | u128::from(first)).to_le_bytes()
    }

    /// The same sectors, stored from sector `at` on; `None` if that does not fit.
    pub(crate) fn stored(self, at: u64) -> Option<Self> {
        Self::new(self.start(), self.len(), at, self.is_zeroed())
    }

    pub(crate) const fn in_layer(self, layer: u8) -> Self {
        Self { key: self.key, mapping: self.mapping & !TAG | (layer as u64) << TAG_SHIFT }
    }

    /// The part before the device sector `end`.
    #[inline]
    pub(crate) fn before(self, end: u64) -> Self {
        let len = end.saturating_sub(self.start()).min(self.len());
        Self { key: self.key & !MAX_LENGTH | len, mapping: self.mapping }
    }

    /// The part from the device sector `start` on.
    pub(crate) fn from(self, start: u64) -> Self {
        let skip = start.saturating_sub(self.start()).min(self.len());
        let key = self.key.wrapping_add(skip << LENGTH_BITS).wrapping_sub(skip);
        let moved = if self.is_zeroed() { 0 } else { skip };
        Self { key, mapping: self.mapping.wrapping_add(moved) }
    }

    /// The part between the device sectors `start` and `end`, which the segment touches.
    #[inline]
    pub(crate) fn within(self, start: u64, end: u64) -> Self {
        let from = start.max(self.start());
        let to = end.min(self.end());
        let skip = from.wrapping_sub(self.start());
        let moved = if self.is_zeroed() { 0 } else { skip };
        let key = from << LENGTH_BITS | to.wrapping_sub(from);
        Self { key, mapping: self.mapping.wrapping_add(moved) }
    }

    /// Whether the segment starts before the device sector `end`.
    #[inline]
    pub(crate) fn starts_before(self, end: u64) -> bool {
        self.key < end.min(SENTINEL_START) << LENGTH_BITS
    }

    /// Grows the segment by `next` if the two are neighbours on the device and in storage and the
    /// sum stays **below** the longest length; the reference's rule, strict bound included.
    pub(crate) fn absorb(&mut self, next: Self) -> bool {
        let stored = if self.is_zeroed() { 0 } else { self.len() };
        let fits = self.len().saturating_add(next.len()) < MAX_LENGTH;
        if fits && self.end() == next.start() && self.mapping.wrapping_add(stored) == next.mapping {
            self.key = self.key.wrapping_add(next.len());
            true
        } else {
            false
        }
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.sectors())?;
        if self.is_zeroed() {
            write!(f, " zeroed by layer {}", self.layer())
        } else {
            write!(f, " at {} of layer {}", self.stored_at(), self.layer())
        }
    }
}

/// The longest segment, in sectors: fourteen bits.
pub(crate) const MAX_LENGTH: u64 = (1 << LENGTH_BITS) - 1;
/// The start that marks padding in an index; no segment can have it.
pub(crate) const SENTINEL_START: u64 = (1 << 50) - 1;
/// A padding entry as stored.
pub(crate) const SENTINEL: [u8; 16] = (SENTINEL_START as u128).to_le_bytes();
/// The last position in a stream, in sectors: fifty-five bits.
pub(crate) const MAX_STORED_AT: u64 = (1 << 55) - 1;

const LENGTH_BITS: u32 = 14;
const ZEROED: u64 = 1 << 55;
const TAG_SHIFT: u32 = 56;
const TAG: u64 = 0xff << TAG_SHIFT;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_the_round_trip_and_padding_is_none() {
        let segment = Segment::new(12345, 16383, 8, false).unwrap();
        assert_eq!(Segment::decode(&segment.encode()), Some(segment));
        assert_eq!(segment.sectors(), 12345..28728);
        assert_eq!(SENTINEL, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Segment::decode(&SENTINEL), None);
    }

    #[test]
    fn the_stored_tag_is_ignored() {
        let segment = Segment::new(1, 2, 3, true).unwrap();
        let mut entry = segment.encode();
        entry[15] = 9;
        assert_eq!(Segment::decode(&entry), Some(segment));
        assert_eq!(segment.in_layer(254).layer(), 254);
    }

    #[test]
    fn trimming_moves_stored_bytes_but_not_zeros() {
        let data = Segment::new(10, 10, 100, false).unwrap();
        assert_eq!((data.from(13).start(), data.from(13).len(), data.from(13).stored_at()), (13, 7, 103));
        assert_eq!((data.before(13).sectors(), data.before(13).stored_at()), (10..13, 100));
        let zeroed = Segment::new(10, 10, 100, true).unwrap();
        assert_eq!((zeroed.from(13).sectors(), zeroed.from(13).stored_at()), (13..20, 100));
    }

    #[test]
    fn neighbours_merge_below_the_longest_length_only() {
        let mut segment = Segment::new(0, 64, 8, false).unwrap();
        assert!(segment.absorb(Segment::new(64, 64, 72, false).unwrap()));
        assert!(!segment.absorb(Segment::new(128, 64, 137, false).unwrap()), "a gap in storage");
        assert!(!segment.absorb(Segment::new(128, 64, 136, true).unwrap()), "zeroed after data");
        assert!(!segment.absorb(Segment::new(128, 16255, 136, false).unwrap()), "16383 is not below 16383");
        assert!(segment.absorb(Segment::new(128, 16254, 136, false).unwrap()));
        let mut zeroed = Segment::new(0, 4, 8, true).unwrap();
        assert!(zeroed.absorb(Segment::new(4, 4, 8, true).unwrap()));
    }
}
