//! Which requests bring a set of missing chunks.
//!
//! A request costs a round trip, so chunks that are close together share one, and what lies between them
//! is fetched along; but a request is also what is repeated when it fails and what holds a connection, so
//! it has a largest size. Pure: ranges in, ranges out.

use std::ops::Range;

/// What a request may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes of a request at most; a single longer chunk is a request of its own.
    pub(crate) max_len: u64,
    /// Bytes between two chunks that are fetched along at most.
    pub(crate) max_gap: u64,
}

impl Shape {
    /// Groups chunks, given in ascending order without overlap, into requests. The bytes of all gaps of a
    /// request are at most one part in [`GAP_SHARE`] of those of its chunks.
    ///
    /// The result holds, for each request, the number of chunks in it, in order.
    pub(crate) fn group(self, chunks: impl IntoIterator<Item = Range<u64>>) -> Vec<usize> {
        let mut counts: Vec<usize> = Vec::new();
        let (mut request, mut wanted) = (0..0, 0);
        for chunk in chunks {
            let len = chunk.end.saturating_sub(chunk.start);
            let gap = chunk.start.saturating_sub(request.end);
            let together = chunk.end.saturating_sub(request.start);
            let gaps = together.saturating_sub(len).saturating_sub(wanted);
            let joins = gap <= self.max_gap
                && gaps <= wanted.saturating_add(len) / GAP_SHARE
                && together <= self.max_len;
            match counts.last_mut() {
                Some(count) if joins => {
                    *count = count.saturating_add(1);
                    request.end = chunk.end;
                    wanted = wanted.saturating_add(len);
                }
                _ => {
                    counts.push(1);
                    (request, wanted) = (chunk, len);
                }
            }
        }
        counts
    }
}

/// The chunks of a blob of `size` bytes that overlap `range`, cut at multiples of `chunk_size`; the
/// last chunk of the blob is shorter. The range must lie inside the blob.
pub(crate) fn covering(range: Range<u64>, chunk_size: u32, size: u64) -> impl Iterator<Item = Range<u64>> {
    let chunk_size = u64::from(chunk_size);
    let first = range.start.checked_div(chunk_size).unwrap_or(0);
    let end = if range.is_empty() { first } else { range.end.div_ceil(chunk_size) };
    (first..end).map(move |index| {
        let start = index.saturating_mul(chunk_size);
        start..start.saturating_add(chunk_size).min(size)
    })
}

/// Ranges in the order in which they will be wanted → ranges to ask for, one request each.
///
/// Each [`WAVE`] of a few requests keeps its place in the order; within it the ranges are sorted, so that
/// few requests bring it. Each chunk is in one range of the result only.
pub(crate) fn waves(
    ranges: impl IntoIterator<Item = Range<u64>>,
    chunk_size: u32,
    size: u64,
    shape: Shape,
) -> Vec<Range<u64>> {
    let mut requests: Vec<Range<u64>> = Vec::new();
    let mut planned = std::collections::HashSet::new();
    let (mut wave, mut bytes) = (Vec::new(), 0u64);
    let mut close = |wave: &mut Vec<Range<u64>>| {
        wave.sort_unstable_by_key(|chunk| chunk.start);
        let mut rest = wave.drain(..);
        for count in shape.group(rest.as_slice().to_vec()) {
            let mut group = rest.by_ref().take(count);
            if let Some(first) = group.next() {
                let end = group.last().map_or(first.end, |last| last.end);
                requests.push(first.start..end);
            }
        }
    };
    let inside = |range: Range<u64>| range.start.min(size)..range.end.min(size);
    let chunks = ranges.into_iter().flat_map(|range| covering(inside(range), chunk_size, size));
    for chunk in chunks.take(MOST_CHUNKS) {
        if planned.insert(chunk.start) {
            bytes = bytes.saturating_add(chunk.end.saturating_sub(chunk.start));
            wave.push(chunk);
            if bytes >= shape.max_len.saturating_mul(WAVE) {
                close(&mut wave);
                bytes = 0;
            }
        }
    }
    close(&mut wave);
    requests
}

/// One part in so many of what a request brings may be gaps.
const GAP_SHARE: u64 = 16;
/// More are not planned at once, whatever a profile says: 4 GiB of chunks of the usual size.
pub(crate) const MOST_CHUNKS: usize = 1 << 16;
/// Requests of the largest size that are sorted together: what a link of 1 Gbit/s brings in 130 ms.
const WAVE: u64 = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Requests as ranges, from the counts.
    fn requests(chunks: &[Range<u64>], shape: Shape) -> Vec<Range<u64>> {
        let mut rest = chunks;
        shape
            .group(chunks.iter().cloned())
            .into_iter()
            .map(|count| {
                let (now, later) = rest.split_at(count);
                rest = later;
                now[0].start..now[count - 1].end
            })
            .collect()
    }

    fn tens(indexes: impl IntoIterator<Item = u64>) -> Vec<Range<u64>> {
        indexes.into_iter().map(|i| i * 10..i * 10 + 10).collect()
    }

    #[test]
    fn small_gaps_are_fetched_along_while_they_are_a_small_part() {
        let shape = Shape { max_len: 1000, max_gap: 10 };
        // A gap of one after fifteen and before one: a sixteenth of sixteen.
        assert_eq!(requests(&tens((0..15).chain([16])), shape), vec![0..170; 1]);
        assert_eq!(requests(&tens((0..14).chain([15])), shape), [0..140, 150..160]);
        // A gap of two is too wide, however much is wanted.
        assert_eq!(requests(&tens((0..50).chain([52])), shape), [0..500, 520..530]);
    }

    #[test]
    fn waves_keep_their_order_and_sort_what_is_in_them() {
        let shape = Shape { max_len: 30, max_gap: 0 };
        let wanted = [500..510, 0..10, 15..20, 495..500, 20..30, 0..30, 900..2000];
        assert_eq!(waves(wanted, 10, 1000, shape)[..3], [0..30, 490..510, 900..930]);
        let wanted = (0..12).rev().map(|i| i * 100..i * 100 + 10).chain([1100..1110, 7..8]);
        assert_eq!(waves(wanted, 10, 2000, shape), tens((0..120).step_by(10)));
    }

    #[test]
    fn a_plan_has_an_end() {
        let shape = Shape { max_len: 4 << 20, max_gap: 0 };
        let all = waves([0..u64::MAX, 0..u64::MAX], 4096, u64::MAX, shape);
        assert_eq!(all.last().map(|range| range.end), Some(4096 << 16));
    }

    proptest! {
        #[test]
        fn requests_cover_the_missing_chunks_and_little_else(
            missing in prop::collection::btree_set(0u64..200, 0..60), max in 1u64..20, gap in 0u64..4,
        ) {
            let chunks = tens(missing);
            let shape = Shape { max_len: max * 10, max_gap: gap * 10 };
            let requests = requests(&chunks, shape);
            for request in &requests {
                let inside = chunks.iter().filter(|c| request.start <= c.start && c.end <= request.end);
                let wanted = inside.count() as u64 * 10;
                let len = request.end - request.start;
                prop_assert!(len <= max * 10);
                prop_assert!(len - wanted <= wanted / GAP_SHARE, "{:?} brings {}", request, wanted);
            }
            for chunk in &chunks {
                let holders = requests.iter().filter(|r| r.start <= chunk.start && chunk.end <= r.end);
                prop_assert_eq!(holders.count(), 1);
            }
            // Few: adjacent neighbours would be too long together.
            for pair in requests.windows(2) {
                prop_assert!(pair[0].end <= pair[1].start);
                let joined = pair[0].end == pair[1].start;
                prop_assert!(!joined || pair[0].end - pair[0].start + 10 > max * 10);
            }
        }

        #[test]
        fn waves_bring_each_chunk_once(
            ranges in prop::collection::vec((0u64..3000, 0u64..200), 0..40), max in 1u64..20, gap in 0u64..4,
        ) {
            let ranges = ranges.into_iter().map(|(start, len)| start..start + len);
            let shape = Shape { max_len: max * 10, max_gap: gap * 10 };
            let requests = waves(ranges.clone(), 10, 2500, shape);
            for byte in ranges.flatten().filter(|byte| *byte < 2500) {
                prop_assert!(requests.iter().any(|request| request.contains(&byte)), "{} is missing", byte);
            }
            for request in &requests {
                prop_assert!(request.end - request.start <= max * 10 && request.end <= 2500);
            }
        }

        #[test]
        fn chunks_cover_the_range_and_no_more_than_their_grid(
            size in 1u64..5_000, a in 0u64..5_000, b in 0u64..5_000, chunk_size in 1u32..600,
        ) {
            let (start, end) = (a.min(b).min(size), a.max(b).min(size));
            let chunks: Vec<_> = covering(start..end, chunk_size, size).collect();
            if start == end {
                prop_assert!(chunks.is_empty());
                return Ok(());
            }
            let (first, last) = (&chunks[0], &chunks[chunks.len() - 1]);
            prop_assert!(first.start <= start && start < first.end);
            prop_assert!(last.start < end && end <= last.end && last.end <= size);
            for chunk in &chunks {
                prop_assert_eq!(chunk.start % u64::from(chunk_size), 0);
                prop_assert!(chunk.end == size || chunk.end - chunk.start == u64::from(chunk_size));
            }
            for pair in chunks.windows(2) {
                prop_assert_eq!(pair[0].end, pair[1].start);
            }
        }
    }
}
