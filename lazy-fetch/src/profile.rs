//! What a start reads, written down for the next one.
//!
//! ```text
//! lazy-fetch profile 1
//! 0 4096
//! 1048576 65536
//! ```
//!
//! A line for each range, offset and length in bytes, in the order of the first touch. Text, so that it can be
//! looked at, compared and cut by hand; it comes from elsewhere, so that it is parsed with limits.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use crate::prefetch::PrefetchPolicy;
use crate::sync::{Mutex, lock};
use crate::{Error, ErrorKind, Result};

/// Ranges of one blob in the order in which they were first read. [`Blob::prefetch`](crate::Blob::prefetch)
/// brings them with few requests.
///
/// ```
/// use lazy_fetch::Profile;
///
/// let profile: Profile = "lazy-fetch profile 1\n0 4096\n65536 100\n".parse()?;
/// assert_eq!(profile.ranges().collect::<Vec<_>>(), [0..4096, 65536..65636]);
/// # Ok::<(), lazy_fetch::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    ranges: Vec<Range<u64>>,
}

impl Profile {
    /// The ranges, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.ranges.iter().cloned()
    }

    /// Bytes in all ranges.
    pub fn bytes(&self) -> u64 {
        let len = |range: &Range<u64>| range.end.saturating_sub(range.start);
        self.ranges.iter().map(len).fold(0, u64::saturating_add)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        for range in &self.ranges {
            writeln!(f, "{} {}", range.start, range.end.saturating_sub(range.start))?;
        }
        Ok(())
    }
}

impl FromStr for Profile {
    type Err = Error;

    /// Reads the text form.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = |line: usize, why: &str| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("line {} of a profile: {why}", line.saturating_add(1)),
            )
        };
        let mut lines = text.lines().enumerate();
        if lines.next().is_none_or(|(_, header)| header != HEADER) {
            return Err(invalid(0, "another header"));
        }
        let mut ranges = Vec::new();
        for (number, line) in lines {
            if ranges.len() == MAX_RANGES {
                return Err(invalid(number, "too many ranges"));
            }
            let fields = line.split_once(' ');
            let range = fields.and_then(|(offset, len)| {
                let offset: u64 = offset.parse().ok()?;
                Some(offset..offset.checked_add(len.parse().ok()?)?)
            });
            ranges.push(range.ok_or_else(|| invalid(number, "no offset and length"))?);
        }
        Ok(Self { ranges })
    }
}

/// Records what is read of a blob, while another policy prefetches.
#[derive(Debug)]
pub struct Recorder {
    inner: Box<dyn PrefetchPolicy>,
    recording: Recording,
}

/// What a [`Recorder`] has seen. Clones are the same recording.
#[derive(Debug, Clone, Default)]
pub struct Recording(Arc<Mutex<Touched>>);

#[derive(Debug, Default)]
struct Touched {
    /// Disjoint ranges, by their start.
    ranges: BTreeMap<u64, u64>,
    order: Vec<Range<u64>>,
}

impl Recorder {
    /// Records beside `inner`.
    pub fn new(inner: impl PrefetchPolicy + 'static) -> (Self, Recording) {
        let recording = Recording::default();
        (Self { inner: Box::new(inner), recording: recording.clone() }, recording)
    }
}

impl PrefetchPolicy for Recorder {
    fn observe(&mut self, read: Range<u64>, wanted: &mut Vec<Range<u64>>) {
        lock(&self.recording.0).touch(read.clone());
        self.inner.observe(read, wanted);
    }
}

impl Recording {
    /// What was read so far.
    pub fn profile(&self) -> Profile {
        Profile { ranges: lock(&self.0).order.clone() }
    }
}

impl Touched {
    /// Notes the bytes of `read` that were not read before.
    fn touch(&mut self, read: Range<u64>) {
        let mut at = read.start;
        // The range that begins before may reach into this one.
        if let Some((_, end)) = self.ranges.range(..=at).next_back() {
            at = at.max(*end);
        }
        while at < read.end && self.order.len() < MAX_RANGES {
            let next = self.ranges.range(at..read.end).next().map(|(start, end)| *start..*end);
            let fresh = at..next.as_ref().map_or(read.end, |next| next.start);
            self.note(fresh);
            at = next.map_or(read.end, |next| next.end);
        }
    }

    fn note(&mut self, fresh: Range<u64>) {
        if fresh.is_empty() {
            return;
        }
        match self.order.last_mut() {
            Some(last) if last.end == fresh.start => last.end = fresh.end,
            _ => self.order.push(fresh.clone()),
        }
        let before = self.ranges.range(..fresh.start).next_back().filter(|(_, end)| **end == fresh.start);
        let start = before.map_or(fresh.start, |(start, _)| *start);
        let end = self.ranges.remove(&fresh.end).unwrap_or(fresh.end);
        self.ranges.insert(start, end);
    }
}

const HEADER: &str = "lazy-fetch profile 1";
/// 16 MiB of ranges: more than any start touches.
const MAX_RANGES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::NoPrefetch;

    #[test]
    fn the_sum_of_hostile_ranges_is_the_largest_number() {
        let text = "lazy-fetch profile 1\n0 18446744073709551615\n0 18446744073709551615\n";
        assert_eq!(text.parse::<Profile>().unwrap().bytes(), u64::MAX);
    }

    fn record(reads: impl IntoIterator<Item = Range<u64>>) -> Profile {
        let (mut recorder, recording) = Recorder::new(NoPrefetch);
        reads.into_iter().for_each(|read| recorder.observe(read, &mut Vec::new()));
        recording.profile()
    }

    #[test]
    fn each_byte_is_recorded_where_it_was_first_read() {
        let profile = record([10..20, 100..110, 15..25, 0..50, 50..60]);
        assert_eq!(profile.ranges, [10..20, 100..110, 20..25, 0..10, 25..60]);
    }

    #[test]
    fn text_that_is_no_profile_is_refused_with_its_line() {
        for (text, line) in [
            ("", 1),
            ("lazy-fetch profile 2\n", 1),
            ("lazy-fetch profile 1\n1\n", 2),
            ("lazy-fetch profile 1\n1 2\n-1 2\n", 3),
            ("lazy-fetch profile 1\n1 2 3\n", 2),
            ("lazy-fetch profile 1\n18446744073709551615 1\n", 2),
        ] {
            let error = text.parse::<Profile>().unwrap_err();
            assert!(error.to_string().starts_with(&format!("line {line} ")), "{text:?}: {error}");
        }
        let long = format!("{HEADER}\n{}", "1 1\n".repeat(MAX_RANGES + 1));
        assert!(long.parse::<Profile>().is_err());
    }

    proptest! {
        #[test]
        fn a_recording_holds_each_byte_once_and_survives_its_text_form(
            reads in prop::collection::vec((0u64..300, 0u64..40), 0..60),
        ) {
            let reads: Vec<_> = reads.into_iter().map(|(start, len)| start..start + len).collect();
            let profile = record(reads.clone());
            let recorded: Vec<u64> = profile.ranges().flatten().collect();
            let mut seen = HashSet::new();
            let first_touch: Vec<u64> = reads.into_iter().flatten().filter(|byte| seen.insert(*byte)).collect();
            prop_assert_eq!(recorded, first_touch);
            prop_assert_eq!(profile.to_string().parse::<Profile>().unwrap(), profile);
        }

        #[test]
        fn any_text_is_parsed_without_panic(text in "(lazy-fetch profile 1\n)?([0-9]{0,20} ?[0-9]{0,20}\n?){0,5}") {
            let _ = text.parse::<Profile>();
        }
    }
}
