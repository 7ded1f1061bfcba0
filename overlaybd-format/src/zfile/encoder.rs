//! Compressing ZFile blocks.

use crate::zfile::header::Algorithm;

/// Compresses blocks, with a context that is reused from block to block.
pub(crate) enum Encoder {
    Lz4,
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

impl Encoder {
    pub(crate) fn new(algorithm: Algorithm) -> std::io::Result<Self> {
        Ok(match algorithm {
            Algorithm::Lz4 => Self::Lz4,
            Algorithm::Zstd => Self::Zstd(Box::new(zstd::bulk::Compressor::new(ZSTD_LEVEL)?)),
        })
    }

    /// Appends the compressed form of `block` to `out`.
    pub(crate) fn encode(&mut self, block: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        let start = out.len();
        out.resize(start.saturating_add(block.len().saturating_mul(2)).saturating_add(64), 0);
        let room = out.get_mut(start..).unwrap_or_default();
        let written = match self {
            Self::Lz4 => lz4::encode(block, room)?,
            Self::Zstd(zstd) => zstd.compress_to_buffer(block, room)?,
        };
        out.truncate(start.saturating_add(written));
        Ok(())
    }
}

#[cfg(feature = "lz4-c")]
mod lz4 {
    pub(super) fn encode(block: &[u8], out: &mut [u8]) -> std::io::Result<usize> {
        lz4::block::compress_to_buffer(block, None, false, out)
    }
}

#[cfg(not(feature = "lz4-c"))]
mod lz4 {
    pub(super) fn encode(block: &[u8], out: &mut [u8]) -> std::io::Result<usize> {
        lz4_flex::block::compress_into(block, out).map_err(std::io::Error::other)
    }
}

/// The reference compresses at this level whatever its options say.
const ZSTD_LEVEL: i32 = 3;
