//! One entry of a gzip index: a place where inflating can start.

use crate::fields::Fields;

/// A block of a deflate stream that inflating can start at, given its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Where the block's output starts, in bytes of the uncompressed stream.
    pub(crate) uncompressed: u64,
    /// The first byte of the gzip blob that wholly belongs to the block.
    pub(crate) compressed: u64,
    /// So many high bits of the byte before belong to it too.
    pub(crate) bits: u8,
    /// Where the window is stored, in bytes of the index.
    pub(crate) window_at: u64,
    /// Its stored length in bytes.
    pub(crate) window_len: u32,
}

impl Checkpoint {
    pub(super) fn decode(entry: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(entry);
        Some(Self {
            uncompressed: fields.u64()?,
            compressed: fields.u64()?,
            window_at: fields.u64()?,
            bits: fields.u8()?,
            window_len: fields.u32()?,
        })
    }

    pub(super) fn encode(&self) -> impl Iterator<Item = u8> + use<> {
        let Self { uncompressed, compressed, bits, window_at, window_len } = *self;
        let positions = [uncompressed, compressed, window_at];
        positions.into_iter().flat_map(u64::to_le_bytes).chain([bits]).chain(window_len.to_le_bytes())
    }
}
