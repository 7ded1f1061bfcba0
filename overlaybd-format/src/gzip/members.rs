//! Inflating a gzip stream piece by piece, through all its members.
//!
//! The output goes into a buffer of the caller's, in which the bytes before the position are the
//! window that the next ones may refer to. Steps end where something happened that the caller may
//! want to know of: at every block of a deflate stream, and at both ends of a member.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{BlockBoundaryState, DecompressorOxide, decompress};

use super::member::{MemberHeader, TRAILER_LEN, Trailer};
use crate::{Error, Result};

/// A decoder between two steps.
pub(super) struct Members {
    state: State,
    inflate: Box<DecompressorOxide>,
    /// Bytes of the gzip stream consumed so far.
    at: u64,
}

/// Why a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// All input is consumed.
    InputUsed,
    /// There is output and no room for it.
    OutputFull,
    /// A member starts: the next byte of input is the first of its deflate stream.
    MemberStart,
    /// A block ended that is not the last of its member. So many high bits of the last byte consumed
    /// belong to the next one.
    Boundary { bits: u8 },
    /// A member ended.
    MemberEnd(Trailer),
}

impl Members {
    /// A decoder at the start of a gzip stream.
    pub(super) fn new() -> Self {
        Self { state: State::Header(MemberHeader::default()), inflate: Box::default(), at: 0 }
    }

    /// A decoder at a block that starts at byte `at` of the gzip stream, or in the last `bits` bits of
    /// the byte before. In that case the input to come begins with that byte.
    pub(super) fn resume(at: u64, bits: u8) -> Self {
        let (state, at) = match bits {
            0 => (State::Body, at),
            bits => (State::SharedByte { bits }, at.saturating_sub(1)),
        };
        Self { state, inflate: block_start(0, 0), at }
    }

    /// Bytes of the gzip stream consumed so far, which is where the next input has to start.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Whether the stream may end here: no member has begun that has not ended.
    pub(super) fn may_end(&self) -> bool {
        matches!(self.state, State::Between)
    }

    /// Consumes some of `input` and writes into `out` from `filled` on, which it moves.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] for what is no gzip stream. The decoder cannot be used afterwards.
    pub(super) fn step(&mut self, input: &mut &[u8], out: &mut [u8], filled: &mut usize) -> Result<Event> {
        loop {
            if let State::Body = self.state {
                match self.inflate(input, out, filled)? {
                    Some(event) => return Ok(event),
                    None => continue,
                }
            }
            let Some((&byte, rest)) = input.split_first() else { return Ok(Event::InputUsed) };
            *input = rest;
            let event = self.frame(byte)?;
            self.at = self.at.saturating_add(1);
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    /// Takes a byte outside of a deflate stream.
    fn frame(&mut self, byte: u8) -> Result<Option<Event>> {
        match &mut self.state {
            State::Between if byte == PADDING => {}
            State::Between => {
                let mut header = MemberHeader::default();
                header.take(byte).map_err(|why| Error::broken(MEMBER, self.at, why))?;
                self.state = State::Header(header);
            }
            State::Header(header) => {
                if header.take(byte).map_err(|why| Error::broken(MEMBER, self.at, why))? {
                    self.state = State::Body;
                    self.inflate = block_start(0, 0);
                    return Ok(Some(Event::MemberStart));
                }
            }
            State::SharedByte { bits } => {
                self.inflate = block_start(*bits, byte);
                self.state = State::Body;
            }
            State::Body => {}
            State::Trailer { bytes, taken } => {
                if let Some(place) = bytes.get_mut(*taken) {
                    *place = byte;
                }
                *taken = taken.saturating_add(1);
                if *taken == TRAILER_LEN {
                    let trailer =
                        Trailer::decode(self.at.saturating_add(1).saturating_sub(TRAILER_LEN as u64), *bytes);
                    self.state = State::Between;
                    return Ok(Some(Event::MemberEnd(trailer)));
                }
            }
        }
        Ok(None)
    }

    fn inflate(&mut self, input: &mut &[u8], out: &mut [u8], filled: &mut usize) -> Result<Option<Event>> {
        let (status, consumed, written) = decompress(&mut self.inflate, input, out, *filled, FLAGS);
        *input = input.get(consumed..).unwrap_or_default();
        self.at = self.at.saturating_add(consumed as u64);
        *filled = filled.saturating_add(written);
        match status {
            TINFLStatus::NeedsMoreInput => Ok(Some(Event::InputUsed)),
            TINFLStatus::HasMoreOutput => Ok(Some(Event::OutputFull)),
            TINFLStatus::BlockBoundary => {
                let bits = self.inflate.block_boundary_state().map_or(0, |state| state.num_bits);
                Ok(Some(Event::Boundary { bits }))
            }
            TINFLStatus::Done => {
                self.state = State::Trailer { bytes: [0; TRAILER_LEN], taken: 0 };
                Ok(None)
            }
            other => Err(Error::broken("deflate stream", self.at, format!("it does not decode ({other:?})"))),
        }
    }
}

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Members").field("at", &self.at).finish_non_exhaustive()
    }
}

enum State {
    /// Behind a member: another one, padding or the end.
    Between,
    Header(MemberHeader),
    /// Before the byte whose high bits are the start of a block.
    SharedByte {
        bits: u8,
    },
    Body,
    Trailer {
        bytes: [u8; TRAILER_LEN],
        taken: usize,
    },
}

/// A decoder at the start of a block, the high `bits` bits of `byte` being its first.
fn block_start(bits: u8, byte: u8) -> Box<DecompressorOxide> {
    let bit_buf = byte.checked_shr(8_u32.saturating_sub(bits.into())).unwrap_or(0);
    let state = BlockBoundaryState { num_bits: bits, bit_buf, ..BlockBoundaryState::default() };
    Box::new(DecompressorOxide::from_block_boundary_state(&state))
}

/// The bytes that a block may refer to.
pub(super) const WINDOW: usize = 32 << 10;

const FLAGS: u32 =
    TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY;
const MEMBER: &str = "gzip member";
/// What may stand between and behind members, as from a tape.
const PADDING: u8 = 0;
