//! Which bytes of a window later data refers to.
//!
//! Most of the 32 KiB before a checkpoint are never referred to again. What is not can be left out
//! of the index: a window of mostly zeros compresses to a fraction.
//!
//! The deflate decoder does not tell what it copies. So the output behind a checkpoint is inflated
//! twice more, with windows whose bytes name their own position: byte `n` is `low(n)` in one and
//! `low(n) ^ (1 + high(n))` in the other. Where the two outputs differ, the byte came from the window,
//! and the two values together say from where; literals are the same in both. 32 KiB of output are
//! enough, because nothing refers further back, and what is copied from a copy was traced before.

use super::members::{Event, Members, WINDOW};
use crate::Result;

/// A trace of the references to one window, under way.
pub(super) struct WindowTrace {
    window: Vec<u8>,
    low: Marked,
    mixed: Marked,
}

impl WindowTrace {
    /// Begins behind a checkpoint, whose `bits` are in `byte`, with the output before it.
    ///
    /// # Errors
    ///
    /// None in practice: one byte cannot break a stream.
    pub(super) fn new(window: Vec<u8>, at: u64, bits: u8, byte: u8) -> Result<Self> {
        let mut trace = Self {
            window,
            low: Marked::new(at, bits, low),
            mixed: Marked::new(at, bits, |number| low(number) ^ high(number).wrapping_add(1)),
        };
        if bits > 0 {
            trace.feed(&[byte])?;
        }
        Ok(trace)
    }

    /// Takes the next bytes of the gzip stream. True if all references are known.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`](crate::Error::Broken) for what does not decode.
    pub(super) fn feed(&mut self, input: &[u8]) -> Result<bool> {
        Ok(self.low.feed(input)? & self.mixed.feed(input)?)
    }

    /// The window with zeros for all that is not referred to; none if nothing is.
    pub(super) fn reduced(mut self) -> Option<Vec<u8>> {
        let mut needed = vec![false; WINDOW];
        for (&low, &mixed) in self.low.output().iter().zip(self.mixed.output()) {
            let high = usize::from((low ^ mixed).wrapping_sub(1));
            if low != mixed
                && let Some(needed) = needed.get_mut(high << 8 | usize::from(low))
            {
                *needed = true;
            }
        }
        let zeros = self.window.iter_mut().zip(&needed).filter(|(_, needed)| !**needed);
        zeros.for_each(|(byte, _)| *byte = 0);
        needed.contains(&true).then_some(self.window)
    }
}

/// Inflating with one of the marked windows.
struct Marked {
    members: Members,
    out: Vec<u8>,
    filled: usize,
    done: bool,
}

impl Marked {
    fn new(at: u64, bits: u8, mark: impl Fn(usize) -> u8) -> Self {
        let mut out: Vec<u8> = (0..WINDOW).map(mark).collect();
        out.resize(WINDOW * 2, 0);
        Self { members: Members::resume(at, bits), out, filled: WINDOW, done: false }
    }

    fn feed(&mut self, mut input: &[u8]) -> Result<bool> {
        while !self.done {
            match self.members.step(&mut input, &mut self.out, &mut self.filled)? {
                Event::InputUsed => break,
                Event::OutputFull | Event::MemberEnd(_) => self.done = true,
                Event::Boundary { .. } | Event::MemberStart => {}
            }
        }
        Ok(self.done)
    }

    fn output(&self) -> &[u8] {
        self.out.get(WINDOW..self.filled).unwrap_or_default()
    }
}

fn low(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

fn high(number: usize) -> u8 {
    number.to_le_bytes()[1]
}
