//! Reading ahead of several readers of one blob.
//!
//! A start is many processes that read many files, so the reads of one blob are several streams woven
//! together. Each read goes to the stream it continues, by its place:
//!
//! ```text
//!  a stream     start of its last read       its end            what is ahead of it
//!                        |====================|· · · · · · · · ·|
//!  continued by             |======                                   an overlap that moves the end, or
//!                                              ····|=====             a step of at most SLACK over the end
//!  window                                     |·················|     opens at the second read
//! ```
//!
//! A window is twice as long as the stream, from [`FIRST_WINDOW`] up to a limit. The next piece is named when
//! less than half a window is left ahead, so that pieces grow with the window and requests stay few.
//!
//! A read that continues no stream starts one. Where three such reads are one step apart, the fourth and
//! later steps are named, twice as many each time.
//!
//! Guesses that were wrong are remembered: while the bytes left unread exceed a share of those read
//! ([`WASTE_SHARE`], and [`ALLOWANCE`] to begin with), a window is only that share of its stream, which
//! leaves random readers none and long streams enough.

use std::collections::VecDeque;
use std::ops::Range;

use super::PrefetchPolicy;

/// Reads ahead of sequential and strided readers.
#[derive(Debug, Clone)]
pub struct Readahead {
    largest: u64,
    /// The most recently read first.
    streams: VecDeque<Stream>,
    /// Where the last two streams began, and how long their first reads were.
    begun: [Range<u64>; 2],
    read: u64,
    /// Bytes named for streams that ended before they came there.
    wasted: u64,
}

/// Reads that followed one another.
#[derive(Debug, Clone)]
struct Stream {
    last: Range<u64>,
    /// Bytes by which the end has moved.
    run: u64,
    /// End of what has been named, or of what was read.
    ahead: u64,
    stride: Option<Stride>,
}

/// Reads of one length at one distance.
#[derive(Debug, Clone)]
struct Stride {
    step: u64,
    /// Steps to name ahead of the last read.
    depth: u64,
}

impl Readahead {
    /// A policy that reads at most `largest` bytes ahead of each stream.
    pub fn new(largest: u64) -> Self {
        Self {
            largest,
            streams: VecDeque::with_capacity(MAX_STREAMS + 1),
            begun: [0..0, 0..0],
            read: 0,
            wasted: 0,
        }
    }

    /// Takes the stream that `read` continues off the list.
    fn continued(&mut self, read: &Range<u64>) -> Option<Stream> {
        let at = self.streams.iter().position(|stream| stream.is_continued_by(read))?;
        self.streams.remove(at)
    }

    /// A stream that begins with `read`, or the strided one that it completes.
    fn begun(&mut self, read: &Range<u64>) -> Stream {
        let [before, last] = &self.begun;
        let step = read.start.saturating_sub(last.start);
        // A step that is no longer than its read is a sequence.
        let even = step > len(read)
            && last.start.saturating_sub(before.start) == step
            && (len(before), len(last)) == (len(read), len(read));
        let stride = even.then_some(Stride { step, depth: 1 });
        self.begun = [last.clone(), read.clone()];
        Stream { last: read.clone(), run: 0, ahead: read.end, stride }
    }

    fn keep(&mut self, stream: Stream) {
        self.streams.push_front(stream);
        if self.streams.len() > MAX_STREAMS
            && let Some(ended) = self.streams.pop_back()
        {
            self.wasted = self.wasted.saturating_add(ended.unread());
        }
    }

    /// The window of a stream that has moved on by `run` bytes.
    fn window(&self, run: u64) -> u64 {
        if self.wasted > (self.read / WASTE_SHARE).saturating_add(ALLOWANCE) {
            (run / WASTE_SHARE).min(self.largest)
        } else {
            run.saturating_mul(2).max(FIRST_WINDOW).min(self.largest)
        }
    }
}

impl Default for Readahead {
    /// At most 4 MiB ahead: more than a link of 1 Gbit/s carries in a round trip of 30 ms.
    fn default() -> Self {
        Self::new(4 << 20)
    }
}

impl PrefetchPolicy for Readahead {
    fn observe(&mut self, read: Range<u64>, wanted: &mut Vec<Range<u64>>) {
        self.read = self.read.saturating_add(len(&read));
        let Some(mut stream) = self.continued(&read) else {
            let stream = self.begun(&read);
            self.keep(stream);
            return;
        };
        let moved = stream.advance(&read);
        if moved > 0 {
            let window = self.window(stream.run);
            match stream.stride {
                Some(_) => stream.name_steps(window, wanted),
                None => stream.name_window(window, wanted),
            }
        }
        self.keep(stream);
    }
}

impl Stream {
    fn is_continued_by(&self, read: &Range<u64>) -> bool {
        match &self.stride {
            Some(stride) => read.start == self.last.start.saturating_add(stride.step),
            None => read.start >= self.last.start && read.start <= self.last.end.saturating_add(SLACK),
        }
    }

    /// Takes `read` in; gives the bytes by which the end has moved.
    fn advance(&mut self, read: &Range<u64>) -> u64 {
        let end = self.last.end.max(read.end);
        let moved = end.saturating_sub(self.last.end);
        // A read again of what was read last neither moves the stream on nor back.
        self.last = read.start.max(self.last.start)..end;
        self.run = self.run.saturating_add(moved.min(len(read)));
        moved
    }

    fn name_window(&mut self, window: u64, wanted: &mut Vec<Range<u64>>) {
        let left = self.ahead.saturating_sub(self.last.end);
        if left >= window / 2 {
            return;
        }
        let start = self.ahead.max(self.last.end);
        self.ahead = self.last.end.saturating_add(window).max(start);
        if start < self.ahead {
            wanted.push(start..self.ahead);
        }
    }

    /// Names the next steps, twice as many as last time, as far as their bytes fit the window.
    fn name_steps(&mut self, window: u64, wanted: &mut Vec<Range<u64>>) {
        let Some(stride) = &mut self.stride else { return };
        let len = len(&self.last);
        let fitting = window.checked_div(len).unwrap_or(0).min(MAX_STEPS);
        stride.depth = stride.depth.saturating_mul(2).min(fitting);
        let mut step = self.last.clone();
        for _ in 0..stride.depth {
            step = step.start.saturating_add(stride.step)..step.end.saturating_add(stride.step);
            if step.start >= self.ahead {
                self.ahead = step.end;
                wanted.push(step.clone());
            }
        }
    }

    /// Bytes that were named and not reached.
    fn unread(&self) -> u64 {
        let ahead = self.ahead.saturating_sub(self.last.end);
        match &self.stride {
            Some(stride) => ahead.checked_div(stride.step).unwrap_or(0).saturating_mul(len(&self.last)),
            None => ahead,
        }
    }
}

fn len(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// Two chunks of the default size: what a short file needs, and little to lose.
const FIRST_WINDOW: u64 = 128 << 10;
/// What a reader may leave out and still go on: a block of a filesystem's metadata between two of a file.
const SLACK: u64 = 32 << 10;
/// Readers of one blob that are told apart. A start has about as many files open for reading at a time.
const MAX_STREAMS: usize = 16;
/// Steps of a stride that are under way at most: each costs a request where steps are far apart.
const MAX_STEPS: u64 = 16;
/// One part in so many of what is read may be fetched in vain.
const WASTE_SHARE: u64 = 8;
/// What may be fetched in vain before that is looked at.
const ALLOWANCE: u64 = 2 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const K: u64 = 1024;

    fn observe(policy: &mut Readahead, read: Range<u64>) -> Vec<Range<u64>> {
        let mut wanted = Vec::new();
        policy.observe(read, &mut wanted);
        wanted
    }

    /// Reads of `len` bytes from `start` on.
    fn run(policy: &mut Readahead, start: u64, len: u64, reads: u64) -> Vec<Range<u64>> {
        (0..reads).flat_map(|i| observe(policy, start + i * len..start + (i + 1) * len)).collect()
    }

    fn sum(ranges: &[Range<u64>]) -> u64 {
        ranges.iter().map(len).sum()
    }

    #[test]
    fn the_window_opens_at_the_second_read_and_grows_with_the_stream() {
        let mut policy = Readahead::new(1 << 20);
        let named = run(&mut policy, 0, 64 * K, 40);
        assert_eq!(named[..3], [128 * K..256 * K, 256 * K..448 * K, 448 * K..832 * K]);
        assert!(named.iter().skip(3).all(|range| len(range) >= 512 * K), "{named:?}");
    }

    #[test]
    fn streams_that_are_woven_together_do_not_disturb_one_another() {
        let mut alone = Readahead::default();
        let expected = sum(&run(&mut alone, 0, 4 * K, 500));
        let mut policy = Readahead::default();
        let mut named = [0; MAX_STREAMS];
        for i in 0..500 {
            for (stream, named) in named.iter_mut().enumerate() {
                let at = (stream * stream) as u64 * (1 << 30) + i * 4 * K;
                *named += sum(&observe(&mut policy, at..at + 4 * K));
            }
        }
        assert_eq!(named, [expected; MAX_STREAMS]);
    }

    #[test]
    fn overlaps_and_small_steps_continue_a_stream() {
        // As a reader of compressed blocks does it, which reads the block at a border twice.
        let mut policy = Readahead::default();
        let mut at = 1 << 20;
        let mut named = Vec::new();
        for i in 0..50 {
            named.extend(observe(&mut policy, at..at + 50 * K));
            at += if i % 3 == 0 { 70 * K } else { 40 * K };
        }
        for pair in named.windows(2) {
            assert_eq!(pair[0].end, pair[1].start, "nothing is left out: {named:?}");
        }
        assert!(named.len() < 12 && named.last().unwrap().end > at, "{named:?}");
    }

    #[test]
    fn reading_the_same_place_again_and_again_names_nothing() {
        let mut policy = Readahead::default();
        assert!((0..100).all(|_| observe(&mut policy, 4096..8192).is_empty()));
        run(&mut policy, 4096, 4096, 8);
        assert!((0..100).all(|_| observe(&mut policy, 4096..8192).is_empty()));
    }

    #[test]
    fn even_steps_are_named_from_the_fourth_read_on() {
        let mut policy = Readahead::default();
        let read = |i: u64| i * (1 << 20)..i * (1 << 20) + 4 * K;
        let named: Vec<_> = (1..8).map(|i| observe(&mut policy, read(i))).collect();
        assert!(named[..3].iter().all(Vec::is_empty), "{named:?}");
        assert_eq!(named[3], [read(5), read(6)]);
        assert_eq!(named[4], [read(7), read(8), read(9)]);
        assert!(!named[5].contains(&read(9)), "nothing is named twice");
    }

    #[test]
    fn a_reader_that_stops_again_and_again_loses_its_windows() {
        let mut policy = Readahead::default();
        let mut named = 0;
        for i in 0..1000u64 {
            named += sum(&run(&mut policy, i * i * (1 << 24), 4 * K, 2));
        }
        let read = 1000 * 8 * K;
        assert!(named <= ALLOWANCE + read / WASTE_SHARE + 17 * FIRST_WINDOW, "{named} of {read}");
        // A long stream is still served.
        let long = run(&mut policy, 1 << 40, 64 * K, 160);
        assert!(sum(&long) > 8 << 20, "{}", sum(&long));
    }

    proptest! {
        #[test]
        fn a_sequential_reader_gets_each_byte_named_once_and_never_more_than_the_window_ahead(
            reads in prop::collection::vec(1u64..300_000, 2..60), largest in 1u64..3_000_000,
        ) {
            let mut policy = Readahead::new(largest);
            let (mut at, mut named_to) = (0, 0);
            for len in reads {
                let named = observe(&mut policy, at..at + len);
                at += len;
                for range in named {
                    prop_assert!(range.start >= named_to && range.start >= at);
                    prop_assert!(range.end <= at + largest);
                    prop_assert!(range.start == named_to || range.start == at);
                    named_to = range.end;
                }
            }
        }

        #[test]
        fn whatever_is_read_what_is_named_in_vain_is_bounded(
            reads in prop::collection::vec((0u64..64, 0u64..64, 1u64..64), 1..600),
        ) {
            let mut policy = Readahead::default();
            let (mut read, mut named) = (0, 0);
            for (place, offset, pages) in reads {
                let at = place * (1 << 22) + offset * 4096;
                read += pages * 4096;
                named += sum(&observe(&mut policy, at..at + pages * 4096));
            }
            // Each live stream is at most twice its own length ahead, or the first window.
            let live = MAX_STREAMS as u64 * FIRST_WINDOW + 2 * read;
            prop_assert!(named <= read + live + ALLOWANCE + read / WASTE_SHARE, "{} for {}", named, read);
        }
    }
}
