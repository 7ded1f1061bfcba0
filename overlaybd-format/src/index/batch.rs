//! Looking up several ranges at once.
//!
//! A range of a few sectors has one segment or two or three, and a loop over them ends where no
//! processor can foresee it: that costs more than all the rest. So nothing branches here on how many
//! there are. For each range as many segments are cut and stored as it has at most, as a rule, and the
//! next range stores its own over those that are none of it.

use std::ops::Range;

use super::{Index, Lookup};
use crate::lsmt::Segment;

/// The segments of several ranges; see [`Index::lookup_batch`]. It is made once and used again and
/// again, so that a lookup allocates nothing.
#[derive(Debug, Clone, Default)]
pub struct Lookups {
    /// Longer than what is used of it.
    segments: Vec<Segment>,
    /// Where the segments of each range end.
    ends: Vec<usize>,
}

impl Lookups {
    /// The segments of each range, cut to it, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = &[Segment]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let of = self.segments.get(start..end).unwrap_or_default();
            start = end;
            of
        })
    }

    /// The segments of all ranges, one range after the other.
    #[must_use]
    #[inline]
    pub fn segments(&self) -> &[Segment] {
        self.segments.get(..self.used()).unwrap_or_default()
    }

    #[inline]
    fn used(&self) -> usize {
        self.ends.last().copied().unwrap_or_default()
    }

    /// Stores the segments of `rest`, the first of which ends behind the start of `sectors`, from place
    /// `used` on, and returns where they end.
    #[inline]
    fn store(&mut self, used: usize, rest: &[Segment], sectors: &Range<u64>) -> usize {
        let room = self.segments.get_mut(used..).and_then(|room| room.first_chunk_mut::<FEW>());
        match (room, rest.first_chunk()) {
            (Some(room), Some([a, b, c, d, next])) if !next.starts_before(sectors.end) => {
                let touches = |segment: &Segment| usize::from(segment.starts_before(sectors.end));
                let count = touches(a) + touches(b) + touches(c) + touches(d);
                *room = [a.within(sectors.start, sectors.end), *b, *c, *d];
                if let Some(last) = room.get_mut(count.saturating_sub(1)) {
                    *last = last.before(sectors.end);
                }
                used + count
            }
            _ => self.store_many(used, rest, sectors),
        }
    }

    #[cold]
    fn store_many(&mut self, used: usize, rest: &[Segment], sectors: &Range<u64>) -> usize {
        let mut end = used;
        for segment in (Lookup { rest, sectors: sectors.clone() }) {
            match self.segments.get_mut(end) {
                Some(slot) => *slot = segment,
                None => self.segments.push(segment),
            }
            end += 1;
        }
        self.make_room(end + FEW);
        end
    }

    fn make_room(&mut self, len: usize) {
        if self.segments.len() < len {
            self.segments.resize(len, Segment::EMPTY);
        }
    }
}

impl Index {
    /// Looks up several ranges at once, into `found`, which is emptied before. Their waits for memory
    /// overlap, and short ranges take less time than by [`lookup`](Self::lookup).
    ///
    /// ```
    /// # use overlaybd_format::{Index, Limits, Lookups, Segment};
    /// let layer = vec![Segment::data(0, 8, 8).unwrap(), Segment::data(16, 8, 16).unwrap()];
    /// let index = Index::merge(vec![layer], &Limits::default())?;
    /// let mut found = Lookups::default();
    /// index.lookup_batch(&[4..12, 6..20, 8..16], &mut found);
    /// let sectors: Vec<Vec<_>> = found.iter().map(|of| of.iter().map(|s| s.sectors()).collect()).collect();
    /// assert_eq!(sectors, [vec![4..8], vec![6..8, 16..20], vec![]]);
    /// # Ok::<_, overlaybd_format::Error>(())
    /// ```
    pub fn lookup_batch(&self, ranges: &[Range<u64>], found: &mut Lookups) {
        let mut ends = std::mem::take(&mut found.ends);
        ends.resize(ranges.len(), 0);
        found.make_room(ranges.len() * FEW);
        let mut used = 0;
        for (ranges, ends) in ranges.chunks(LANES).zip(ends.chunks_mut(LANES)) {
            let mut places = [0; LANES];
            for (place, sectors) in places.iter_mut().zip(ranges) {
                *place = self.table.first(sectors.start);
            }
            for (place, sectors) in places.iter_mut().zip(ranges) {
                *place = self.first(*place, sectors.start);
            }
            for ((&place, sectors), end) in places.iter().zip(ranges).zip(ends) {
                used = found.store(used, self.segments.get(place..).unwrap_or_default(), sectors);
                *end = used;
            }
        }
        found.ends = ends;
    }

    /// The place of the first segment that ends behind `sector`, which is `place` or comes after it.
    #[inline]
    fn first(&self, place: usize, sector: u64) -> usize {
        let few = self.segments.get(place..).and_then(|rest| rest.first_chunk());
        let Some([a, b, c, d]) = few else { return self.first_of_many(sector) };
        // To compare where segments start is less work than to add up where they end.
        let starts = |segment: &Segment| usize::from(segment.starts_before(sector.saturating_add(1)));
        let steps = starts(a) + starts(b) + starts(c) + starts(d);
        if steps == 4 {
            return self.first_of_many(sector);
        }
        let next = place + steps;
        let covers = |segment: &Segment| segment.end() > sector;
        next - usize::from(self.segments.get(next.wrapping_sub(1)).is_some_and(covers))
    }

    #[cold]
    fn first_of_many(&self, sector: u64) -> usize {
        let rest = self.walk(self.table.places(sector), sector..sector).rest.len();
        self.segments.len().saturating_sub(rest)
    }
}

/// Segments that a short range has at most, as a rule.
const FEW: usize = 4;
/// Ranges that are looked up side by side: enough to hide what the memory takes.
const LANES: usize = 16;
