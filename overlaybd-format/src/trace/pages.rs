//! Which parts of a device were read, in little memory and without a lock.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// One bit for each page of `size` bytes: set once it was touched.
///
/// A page has 4 KiB, what the page cache of a kernel reads at least, and more where bytes are so many that
/// the bits would take over 2 MiB.
#[derive(Debug)]
pub(super) struct Pages {
    size: u64,
    shift: u32,
    bits: Vec<AtomicU64>,
}

impl Pages {
    pub(super) fn new(size: u64) -> Self {
        let mut shift = SMALLEST;
        while size >> shift > MOST {
            shift = shift.saturating_add(1);
        }
        // There are at most `MOST` pages and one, which fit a `usize`.
        let pages = usize::try_from(size >> shift).unwrap_or_default().saturating_add(1);
        Self { size, shift, bits: (0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Whether all pages under `range` were claimed.
    pub(super) fn have(&self, range: &Range<u64>) -> bool {
        self.words(range).all(|(word, mask, _)| word.load(Ordering::Relaxed) & mask == mask)
    }

    /// Sets the pages under `range`, and hands the bytes of those that were not set to `take`: whole
    /// pages, cut to the size, in ascending order.
    pub(super) fn claim(&self, range: &Range<u64>, mut take: impl FnMut(Range<u64>)) {
        for (word, mask, first) in self.words(range) {
            if word.load(Ordering::Relaxed) & mask == mask {
                continue;
            }
            let mut new = mask & !word.fetch_or(mask, Ordering::Relaxed);
            while new != 0 {
                let start = new.trailing_zeros();
                let len = (new >> start).trailing_ones();
                let byte = |page: u32| {
                    // The end of the last page may be beyond what a number holds.
                    let page = u128::from(first.saturating_add(page.into()));
                    u64::try_from(page << self.shift).unwrap_or(u64::MAX).min(self.size)
                };
                take(byte(start)..byte(start.saturating_add(len)));
                new &= !(ones(len) << start);
            }
        }
    }

    /// The words with bits of `range`, the bits of it in each, and the page of the word's first bit.
    fn words(&self, range: &Range<u64>) -> impl Iterator<Item = (&AtomicU64, u64, u64)> {
        let first = range.start >> self.shift;
        let last = range.end.saturating_sub(1) >> self.shift;
        let words = if range.is_empty() { 0..0 } else { first / 64..(last / 64).saturating_add(1) };
        words.filter_map(move |number| {
            let start = number.saturating_mul(64);
            let from = first.saturating_sub(start).min(63);
            let to = last.saturating_sub(start).min(63);
            let mask = u64::MAX << from & u64::MAX >> 63_u64.saturating_sub(to);
            Some((self.bits.get(usize::try_from(number).ok()?)?, mask, start))
        })
    }
}

/// The lowest `count` bits, at most 64.
fn ones(count: u32) -> u64 {
    u64::MAX.checked_shr(64_u32.saturating_sub(count)).unwrap_or_default()
}

/// Shift of the smallest page.
const SMALLEST: u32 = 12;
/// Pages that are told apart: those of 64 GiB at 4 KiB, the size of an ordinary device.
const MOST: u64 = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn claim(pages: &Pages, range: Range<u64>) -> Vec<Range<u64>> {
        let mut claimed = Vec::new();
        pages.claim(&range, |run| claimed.push(run));
        claimed
    }

    #[test]
    fn a_page_is_claimed_once_and_cut_to_the_size() {
        let pages = Pages::new(10_000);
        assert!(!pages.have(&(0..1)));
        assert_eq!(claim(&pages, 4095..4097), vec![0..8192]);
        assert!(pages.have(&(0..8192)));
        assert_eq!(claim(&pages, 0..10_000), vec![8192..10_000]);
        assert!(claim(&pages, 0..10_000).is_empty());
        assert!(claim(&pages, 5..5).is_empty());
    }

    #[test]
    fn large_devices_have_larger_pages_and_bounded_memory() {
        for size in [(1 << 36) - 1, 1 << 36, 1 << 45, u64::MAX] {
            let pages = Pages::new(size);
            assert!(pages.bits.len() <= (2 << 20) / 8 + 1);
            let [run] = &claim(&pages, size - 1..size)[..] else { panic!("one page") };
            assert_eq!(run.end, size);
        }
        assert_eq!(claim(&Pages::new(1 << 38), 0..1), vec![0..16384]);
    }

    proptest! {
        #[test]
        fn claims_are_what_a_set_of_pages_says(ranges in prop::collection::vec((0..900_000_u64, 0..300_000_u64), 1..40)) {
            let pages = Pages::new(1_000_000);
            let mut set = BTreeSet::new();
            for (start, len) in ranges {
                let range = start..(start + len).min(1_000_000);
                let under = if range.is_empty() { 0..0 } else { range.start / 4096..(range.end - 1) / 4096 + 1 };
                prop_assert_eq!(pages.have(&range), under.clone().all(|page| set.contains(&page)));
                let expected: Vec<u64> = under.filter(|page| set.insert(*page)).collect();
                let runs = claim(&pages, range);
                let found = runs.iter().flat_map(|run| run.start / 4096..run.end.div_ceil(4096));
                prop_assert_eq!(found.collect::<Vec<_>>(), expected);
            }
        }
    }
}
