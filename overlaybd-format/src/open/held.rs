//! The bytes of a blob that are held while it is being opened.

use std::ops::Range;

use crate::Error;
use crate::content::Content;

/// Spans of a blob.
#[derive(Debug)]
pub(super) struct Held {
    size: u64,
    spans: Vec<(u64, Vec<u8>)>,
}

/// What parsing gives: a result, or why it cannot go on.
pub(super) type Attempt<T> = std::result::Result<T, Stop>;

#[derive(Debug)]
pub(super) enum Stop {
    Error(Error),
    /// Bytes that are not held yet, all of which can be read at once.
    Need(Vec<Range<u64>>),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Held {
    pub(super) fn new(size: u64) -> Self {
        Self { size, spans: Vec::new() }
    }

    /// Size of the blob in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The ranges to begin with: both ends, or all of a small blob.
    pub(super) fn ends(&self) -> Vec<Range<u64>> {
        let tail = self.size.saturating_sub(TAIL);
        if tail <= HEAD { std::iter::once(0..self.size).collect() } else { vec![0..HEAD, tail..self.size] }
    }

    pub(super) fn extend(&mut self, spans: Vec<(u64, Vec<u8>)>) {
        self.spans.extend(spans);
    }

    /// The first `len` bytes of `range`, or all of it if it is shorter.
    pub(super) fn prefix(&self, range: Range<u64>, len: usize) -> Range<u64> {
        range.start..range.end.min(range.start.saturating_add(len as u64))
    }

    /// The bytes of `range`.
    pub(super) fn get(&self, range: Range<u64>) -> Attempt<&[u8]> {
        self.find(&range).ok_or_else(|| Stop::Need(Vec::from([range])))
    }

    /// Asks for all of `ranges` that are not held, in one wave, each with `lead` bytes before it.
    pub(super) fn require(&self, ranges: &[Range<u64>], lead: u64) -> Attempt<()> {
        let missing: Vec<_> = ranges.iter().filter(|range| self.find(range).is_none()).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Stop::Need(missing.into_iter().map(|range| with_lead(range, lead)).collect()))
    }

    /// The bytes `range` of `content`.
    pub(super) fn extract(&self, content: &Content, range: Range<u64>) -> Attempt<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX)];
        if !bytes.is_empty() {
            let stored = content.stored(range.clone())?;
            content.extract(range.start, self.get(stored.clone())?, stored.start, &mut bytes)?;
        }
        Ok(bytes)
    }

    fn find(&self, range: &Range<u64>) -> Option<&[u8]> {
        self.spans.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(range.start.checked_sub(*start)?).ok()?;
            let to = usize::try_from(range.end.checked_sub(*start)?).ok()?;
            bytes.get(from..to)
        })
    }
}

fn with_lead(range: Range<u64>, lead: u64) -> Range<u64> {
    range.start.saturating_sub(lead)..range.end
}

/// Enough for the wrappers and a first block of the usual 4 KiB.
const HEAD: u64 = 8 << 10;
/// Enough for the padding of a tar, both trailers, and jump table and index of a small layer.
const TAIL: u64 = 64 << 10;
