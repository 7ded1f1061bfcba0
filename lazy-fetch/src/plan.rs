//! Which requests bring a set of missing chunks.
//!
//! A request costs a round trip, so adjacent chunks share one; but a request is also what is repeated
//! when it fails and what holds a connection, so it has a largest size. Pure: ranges in, ranges out.

use std::ops::Range;

/// Groups chunks, given in ascending order without overlap, into requests of adjacent chunks of at
/// most `max_len` bytes each (a single longer chunk is a request of its own).
///
/// The result holds, for each request, the number of chunks in it, in order.
pub(crate) fn group(chunks: impl IntoIterator<Item = Range<u64>>, max_len: u64) -> Vec<usize> {
    let mut counts: Vec<usize> = Vec::new();
    let mut request = 0..0;
    for chunk in chunks {
        match counts.last_mut() {
            Some(count)
                if chunk.start == request.end && chunk.end.saturating_sub(request.start) <= max_len =>
            {
                *count = count.saturating_add(1);
                request.end = chunk.end;
            }
            _ => {
                counts.push(1);
                request = chunk;
            }
        }
    }
    counts
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Requests as ranges, from the counts.
    fn requests(chunks: &[Range<u64>], max_len: u64) -> Vec<Range<u64>> {
        let mut rest = chunks;
        group(chunks.iter().cloned(), max_len)
            .into_iter()
            .map(|count| {
                let (now, later) = rest.split_at(count);
                rest = later;
                now[0].start..now[count - 1].end
            })
            .collect()
    }

    proptest! {
        #[test]
        fn requests_cover_exactly_the_missing_chunks(
            missing in prop::collection::btree_set(0u64..200, 0..60), max in 1u64..20,
        ) {
            let chunks: Vec<_> = missing.iter().map(|i| i * 10..i * 10 + 10).collect();
            let requests = requests(&chunks, max * 10);
            let covered: Vec<u64> = requests.iter().cloned().flatten().collect();
            let wanted: Vec<u64> = chunks.iter().cloned().flatten().collect();
            prop_assert_eq!(covered, wanted);
            for request in &requests {
                prop_assert!(request.end - request.start <= max * 10);
            }
            // Few: neighbours are apart, or would be too long together.
            for pair in requests.windows(2) {
                let joined = pair[0].end == pair[1].start;
                prop_assert!(!joined || pair[0].end - pair[0].start + 10 > max * 10);
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
