//! The output behind one checkpoint, as far as it has been inflated.
//!
//! ```text
//!  checkpoint                       next checkpoint
//!  │ window │ at hand │ to inflate  │
//!           from      at            end
//! ```
//!
//! What is at hand can be copied; a read further on goes on inflating from where the last one stopped.
//! Of a span that is longer than [`AT_HAND`] the front is given up in time, and a read of it starts
//! again from the checkpoint.

use std::ops::Range;

use super::checks::SpanSum;
use super::index::{Checkpoint, GzipIndex};
use super::members::{Event, Members, WINDOW};
use crate::{Error, Result};

/// The inflated part of a span.
pub(super) struct Run {
    /// Up to `filled`: the window at first, and the output.
    out: Vec<u8>,
    filled: usize,
    /// Where the output in `out` starts.
    real: usize,
    /// How far the output goes, in bytes of the uncompressed stream.
    at: u64,
    /// What inflates the rest; none at the end of the span.
    decoder: Option<Decoder>,
}

impl Run {
    /// Begins at checkpoint `number` of `index` with its window.
    pub(super) fn new(index: &GzipIndex, number: usize, checkpoint: &Checkpoint, window: Vec<u8>) -> Self {
        let next = index.checkpoint(number.saturating_add(1));
        let decoder = Decoder {
            members: Members::resume(checkpoint.compressed, checkpoint.bits),
            compressed: checkpoint.compressed..next.map_or(index.gzip_size(), |next| next.compressed),
            uncompressed: checkpoint.uncompressed..index.span_end(number),
            next_bits: next.map(|next| next.bits),
            sum: SpanSum::default(),
        };
        let filled = window.len();
        Self { out: window, filled, real: filled, at: checkpoint.uncompressed, decoder: Some(decoder) }
    }

    /// Memory held, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.out.capacity().saturating_add(if self.decoder.is_some() { DECODER } else { 0 })
    }

    /// Whether what is at `offset` has been given up.
    pub(super) fn is_past(&self, offset: u64) -> bool {
        offset < self.at.saturating_sub(self.filled.saturating_sub(self.real) as u64)
    }

    /// Copies to `buf`, which starts at `offset`, what of it is at hand. Gives how much that was.
    pub(super) fn copy(&self, buf: &mut [u8], offset: u64) -> usize {
        if self.is_past(offset) {
            return 0;
        }
        let behind = usize::try_from(self.at.saturating_sub(offset)).unwrap_or(0);
        let source = self.out.get(self.filled.saturating_sub(behind)..self.filled).unwrap_or_default();
        let len = source.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), source.get(..len)) {
            to.copy_from_slice(from);
        }
        len
    }

    /// The bytes of the gzip blob to inflate next in order to get up to byte `offset` of the
    /// uncompressed stream. The guess is that a span compresses evenly; more can be asked for.
    pub(super) fn wanted(&self, offset: u64) -> Range<u64> {
        let Some(Decoder { members, compressed, uncompressed, .. }) = &self.decoder else { return 0..0 };
        let len = |range: &Range<u64>| u128::from(range.end.saturating_sub(range.start));
        let output = u128::from(offset.saturating_sub(self.at));
        let guess = output.saturating_mul(len(compressed)).checked_div(len(uncompressed)).unwrap_or_default();
        let guess = u64::try_from(guess).unwrap_or(MOST_INPUT);
        let input = guess.saturating_add(guess / 8).saturating_add(LEAST_INPUT);
        let start = members.at();
        let rest = compressed.end.saturating_sub(start);
        // A short rest is not worth a request of its own.
        let all = offset >= uncompressed.end || rest <= input.saturating_add(LEAST_INPUT);
        start..start.saturating_add(if all { rest } else { input }.min(MOST_INPUT))
    }

    /// Whether all output is at hand, and what is behind it has not been looked at yet: the end of the
    /// member, it may be.
    pub(super) fn is_ending(&self) -> bool {
        self.decoder.as_ref().is_some_and(|decoder| self.at >= decoder.uncompressed.end)
    }

    /// Inflates `input`, which has to be what [`wanted`](Self::wanted) named, or as much of it as makes
    /// [`AT_HAND`] bytes. If that reaches the end of the span, gives what it says of its members.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if it does not inflate to what the index says, [`Error::Checksum`] for a member.
    /// The run is then at its end, wherever that is.
    pub(super) fn inflate(&mut self, mut input: &[u8]) -> Result<Option<SpanSum>> {
        let Some(mut decoder) = self.decoder.take() else { return Ok(None) };
        let enough = self.at.saturating_add(KEPT as u64);
        while self.at < enough {
            let rest = decoder.uncompressed.end.saturating_sub(self.at);
            let end = self.make_room(rest);
            let before = self.filled;
            let room = self.out.get_mut(..end).unwrap_or_default();
            let event = decoder.members.step(&mut input, room, &mut self.filled)?;
            let output = self.out.get(before..self.filled).unwrap_or_default();
            decoder.sum.update(output);
            self.at = self.at.saturating_add(output.len() as u64);
            if decoder.note(event, self.at)? {
                return Ok(Some(decoder.sum));
            }
            if event == Event::InputUsed {
                break;
            }
        }
        self.decoder = Some(decoder);
        Ok(None)
    }

    /// Sees to it that there is room behind the output if `rest` bytes are still to come. Gives where
    /// that room ends.
    fn make_room(&mut self, rest: u64) -> usize {
        let rest = usize::try_from(rest).unwrap_or(usize::MAX);
        if self.filled == self.out.len() && rest > 0 {
            let most = WINDOW.saturating_add(AT_HAND);
            if self.filled >= most {
                self.out.copy_within(self.filled.saturating_sub(KEPT).., 0);
                (self.filled, self.real) = (KEPT, 0);
            } else {
                let doubled = self.filled.saturating_mul(2).max(FIRST);
                // The last step but one would be copied for little.
                let len = if doubled > most / 2 { most } else { doubled };
                let len = len.min(self.filled.saturating_add(rest));
                self.out.reserve_exact(len.saturating_sub(self.filled));
                self.out.resize(len, 0);
            }
        }
        self.filled.saturating_add(rest).min(self.out.len())
    }
}

/// Inflating a span, from a checkpoint to the next one or to the end.
struct Decoder {
    members: Members,
    compressed: Range<u64>,
    uncompressed: Range<u64>,
    /// The bits of the last compressed byte that belong to the next span; none at the end of the blob.
    next_bits: Option<u8>,
    sum: SpanSum,
}

impl Decoder {
    /// Notes what came at byte `at` of the uncompressed stream. True if it was the end of the span,
    /// which must be where the index says.
    fn note(&mut self, event: Event, at: u64) -> Result<bool> {
        let boundary = match event {
            Event::Boundary { bits } => Some(bits),
            Event::MemberStart => Some(0),
            _ => None,
        };
        if let Event::MemberEnd(trailer) = event {
            self.sum.member_end(trailer)?;
        }
        let all_output = at >= self.uncompressed.end;
        let ends = match self.next_bits {
            Some(bits) => boundary == Some(bits),
            // Behind the last span there may be more than an index of the reference knows of.
            None => self.members.may_end() || event == Event::OutputFull,
        };
        let goes_on =
            if event == Event::OutputFull { !all_output } else { self.members.at() < self.compressed.end };
        match (goes_on, ends && all_output) {
            (true, _) => Ok(false),
            (false, true) => Ok(true),
            (false, false) => Err(self.misplaced(at)),
        }
    }

    fn misplaced(&self, at: u64) -> Error {
        let Self { members, compressed, uncompressed, .. } = self;
        let why = format!(
            "the index has bytes {uncompressed:?} of the content in {compressed:?}, but {} is where {at} is",
            members.at()
        );
        Error::broken("gzip stream", compressed.start, why)
    }
}

/// Output held of a span, in bytes; more than the usual span.
const AT_HAND: usize = 2 << 20;
/// What is kept of it when it is full. No less than is inflated in one go, which a reader has to find
/// at hand, and no less than a window.
const KEPT: usize = AT_HAND / 2;
/// Room made first, in bytes with the window.
const FIRST: usize = 128 << 10;
/// The smallest and the largest request for compressed bytes.
const LEAST_INPUT: u64 = 8 << 10;
const MOST_INPUT: u64 = 1 << 20;
/// Memory of a decoder besides its output.
const DECODER: usize = 16 << 10;
