//! What to fetch before it is asked for.
//!
//! A policy sees the reads of one blob and names ranges; it does no I/O and keeps no time. The cache
//! starts a named range only after the read that led to it is served, and a read whose bytes are not
//! yet under way starts a request of its own: nobody waits behind a guess.
//!
//! [`Readahead`] works on one idea: a read that begins where the last one ended will be followed by
//! the next. Its window opens at the second such read, doubles with each further one, and closes on
//! the first read elsewhere. The next piece is named when the reader has used half of what is ahead:
//!
//! ```text
//!  reads  ────────►|
//!  window          |·············|
//!  ahead           |······|              less than half a window is left: name the rest of it
//!                         |──────►
//! ```

use std::fmt;
use std::ops::Range;

/// Observes the reads of one blob and names what to fetch next.
///
/// # Contract
///
/// * Called once for each read that succeeded, in the order in which they ended, under a lock: it must be
///   quick and, while it has nothing to name, must not allocate.
/// * The range may reach beyond the end of the blob and may hold what is cached: the cache cuts it.
pub trait PrefetchPolicy: Send + fmt::Debug {
    /// Takes note that bytes `read` were read; names bytes that will be wanted soon.
    fn observe(&mut self, read: Range<u64>) -> Option<Range<u64>>;
}

/// Names nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPrefetch;

impl PrefetchPolicy for NoPrefetch {
    fn observe(&mut self, _read: Range<u64>) -> Option<Range<u64>> {
        None
    }
}

/// Reads ahead of one sequential reader.
#[derive(Debug, Clone)]
pub struct Readahead {
    largest: u64,
    window: u64,
    last_end: u64,
    ahead: u64,
}

impl Readahead {
    /// A policy that reads at most `largest` bytes ahead.
    pub fn new(largest: u64) -> Self {
        Self { largest, window: 0, last_end: 0, ahead: 0 }
    }
}

impl Default for Readahead {
    /// At most 4 MiB ahead: more than a link of 1 Gbit/s carries in a round trip of 30 ms.
    fn default() -> Self {
        Self::new(4 << 20)
    }
}

impl PrefetchPolicy for Readahead {
    fn observe(&mut self, read: Range<u64>) -> Option<Range<u64>> {
        // The very first byte of a blob follows nothing.
        let follows = read.start == self.last_end && read.start > 0;
        self.last_end = read.end;
        if !follows {
            self.window = 0;
            self.ahead = read.end;
            return None;
        }
        self.window = self.window.saturating_mul(2).max(FIRST_WINDOW).min(self.largest);
        let left = self.ahead.saturating_sub(read.end);
        if left >= self.window / 2 {
            return None;
        }
        let start = self.ahead.max(read.end);
        self.ahead = read.end.saturating_add(self.window);
        (start < self.ahead).then_some(start..self.ahead)
    }
}

/// Two chunks of the default size: what a short file needs, and little to lose.
const FIRST_WINDOW: u64 = 128 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_window_opens_at_the_second_sequential_read_and_doubles() {
        let mut policy = Readahead::new(1 << 20);
        let named: Vec<_> = (0..6).map(|i| policy.observe(i * 65536..(i + 1) * 65536)).collect();
        let k = 1024;
        assert_eq!(
            named,
            [
                None,
                Some(128 * k..256 * k),
                Some(256 * k..448 * k),
                Some(448 * k..768 * k),
                Some(768 * k..1344 * k),
                None
            ]
        );
    }

    #[test]
    fn a_read_elsewhere_closes_the_window() {
        let mut policy = Readahead::default();
        for i in 0..10 {
            policy.observe(i * 4096..(i + 1) * 4096);
        }
        assert_eq!(policy.observe(1 << 30..(1 << 30) + 4096), None);
        let again = policy.observe((1 << 30) + 4096..(1 << 30) + 8192).unwrap();
        assert_eq!(again.end - again.start, FIRST_WINDOW);
    }

    #[test]
    fn reading_the_same_place_again_and_again_names_nothing() {
        let mut policy = Readahead::default();
        assert!((0..100).all(|_| policy.observe(4096..8192).is_none()));
    }

    proptest! {
        #[test]
        fn a_sequential_reader_gets_each_byte_named_once_and_never_more_than_the_window_ahead(
            reads in prop::collection::vec(1u64..300_000, 2..60), largest in 1u64..3_000_000,
        ) {
            let mut policy = Readahead::new(largest);
            let (mut at, mut named_to) = (0, 0);
            for len in reads {
                let named = policy.observe(at..at + len);
                at += len;
                if let Some(range) = named {
                    prop_assert!(range.start >= named_to && range.start >= at);
                    prop_assert!(range.end <= at + largest);
                    prop_assert!(range.start == named_to || range.start == at);
                    named_to = range.end;
                }
            }
        }
    }
}
