//! Compressing ZFile blocks.

use std::io;

use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective, get_error_name};

use crate::zfile::checksum::{BLOCK_STATE, raw_crc32c};
use crate::zfile::{Algorithm, Compression, lz4};
use crate::{Error, Result};

/// Compresses blocks, with a context that is reused from block to block.
pub(super) struct Encoder {
    codec: Codec,
    block_size: usize,
}

enum Codec {
    Lz4(lz4::Effort),
    Zstd(CCtx<'static>),
}

impl Encoder {
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a block size or a level that cannot be written.
    pub(super) fn new(compression: &Compression) -> Result<Self> {
        let Compression { algorithm, level, block_size, .. } = *compression;
        if !block_size.is_power_of_two() || !BLOCK_SIZES.contains(&block_size) {
            return Err(Error::Unsupported { what: "ZFile block size to write", value: block_size.into() });
        }
        let codec = match algorithm {
            Algorithm::Lz4 => Codec::Lz4(lz4::effort(level)?),
            Algorithm::Zstd if zstd::compression_level_range().contains(&level) => {
                let failed = |e| Error::write_io(0, 0, e);
                let mut context =
                    CCtx::try_create().ok_or_else(|| failed(io::ErrorKind::OutOfMemory.into()))?;
                let set = context.set_parameter(CParameter::CompressionLevel(level));
                set.map_err(|code| failed(zstd_error(code)))?;
                Codec::Zstd(context)
            }
            Algorithm::Zstd => return Err(unsupported_level(level)),
        };
        Ok(Self { codec, block_size: block_size as usize })
    }

    /// Appends the blocks that `content` is cut into to `out`, each with its checksum.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] if a block would be stored in more bytes than the reference reads.
    pub(super) fn encode(&mut self, content: &[u8], out: &mut Stored) -> Result<()> {
        for block in content.chunks(self.block_size) {
            let room = out.room(stored_bound(block.len()));
            let written = match &mut self.codec {
                Codec::Lz4(effort) => lz4::encode(*effort, block, room),
                Codec::Zstd(context) => zstd_frame(context, block, room),
            };
            out.seal(written.map_err(|e| Error::write_io(0, block.len(), e))?)?;
        }
        Ok(())
    }
}

/// Blocks as they are stored, one after the other.
#[derive(Default)]
pub(super) struct Stored {
    /// Longer than what is used of it: a codec is fastest with room to spare.
    buffer: Vec<u8>,
    used: usize,
    /// The stored length of each block, as the jump table has it.
    lengths: Vec<u8>,
}

impl Stored {
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.used).unwrap_or_default()
    }

    /// The entries of the jump table for these blocks.
    pub(super) fn lengths(&self) -> &[u8] {
        &self.lengths
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.lengths.clear();
    }

    /// At least `len` bytes for the next block to be encoded into.
    fn room(&mut self, len: usize) -> &mut [u8] {
        let end = self.used.saturating_add(len);
        if self.buffer.len() < end {
            self.buffer.resize(end.next_power_of_two(), 0);
        }
        self.buffer.get_mut(self.used..).unwrap_or_default()
    }

    /// Ends the block that was encoded into the first `len` bytes of [`room`](Self::room).
    fn seal(&mut self, len: usize) -> Result<()> {
        let (start, end) = (self.used, self.used.saturating_add(len));
        let crc = raw_crc32c(BLOCK_STATE, self.buffer.get(start..end).unwrap_or_default()).to_le_bytes();
        self.used = end.saturating_add(crc.len());
        if let Some(slot) = self.buffer.get_mut(end..self.used) {
            slot.copy_from_slice(&crc);
        }
        let stored = u32::try_from(self.used.saturating_sub(start)).unwrap_or(u32::MAX);
        if stored > READABLE {
            let (what, limit) = ("stored size of a ZFile block that does not compress", READABLE.into());
            return Err(Error::Limit { what, value: stored.into(), limit });
        }
        self.lengths.extend(stored.to_le_bytes());
        Ok(())
    }
}

/// Compresses `block` into one frame. Blocks of the frame end every [`FRAME_BLOCK`] bytes, so that it
/// can be [cut](super::zstd_prefix).
fn zstd_frame(context: &mut CCtx<'static>, block: &[u8], out: &mut [u8]) -> io::Result<usize> {
    if block.len() <= FRAME_BLOCK {
        return context.compress2(out, block).map_err(zstd_error);
    }
    context.reset(ResetDirective::SessionOnly).map_err(zstd_error)?;
    context.set_pledged_src_size(Some(block.len() as u64)).map_err(zstd_error)?;
    let mut out = OutBuffer::around(out);
    let mut parts = block.chunks(FRAME_BLOCK).peekable();
    while let Some(part) = parts.next() {
        let end = match parts.peek() {
            Some(_) => ZSTD_EndDirective::ZSTD_e_flush,
            None => ZSTD_EndDirective::ZSTD_e_end,
        };
        let left = context.compress_stream2(&mut out, &mut InBuffer::around(part), end);
        if left.map_err(zstd_error)? > 0 {
            return Err(io::Error::other("a block takes more room than there is"));
        }
    }
    Ok(out.pos())
}

fn zstd_error(code: usize) -> io::Error {
    io::Error::other(get_error_name(code))
}

/// The error for a level that the codec has not got.
pub(super) fn unsupported_level(level: i32) -> Error {
    Error::Unsupported { what: "compression level", value: level.unsigned_abs().into() }
}

/// Room that every codec library is content with for `len` bytes that do not compress, with the
/// checksum. They expand by less than 1 %, but `lz4_flex` asks for a tenth more.
fn stored_bound(len: usize) -> usize {
    len.saturating_add(len / 8).saturating_add(256)
}

/// Content bytes of a block of a Zstandard frame. A read of 4 KiB then decodes 60 % of a ZFile block of
/// 32 KiB on average. Smaller ones cost compression and speed, each having tables of its own.
const FRAME_BLOCK: usize = 8 << 10;
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 4 << 10..=64 << 10;
/// The longest stored block that fits the buffer of the reference's reader, in bytes.
const READABLE: u32 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that no codec makes shorter.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.wrapping_mul(0x2545_F491_4F6C_DD1D)
        })
        .flat_map(u64::to_le_bytes)
        .take(len)
        .collect()
    }

    #[test]
    fn noise_fits_the_room_and_the_reference() {
        for algorithm in [Algorithm::Lz4, Algorithm::Zstd] {
            for block_size in [4 << 10, 8 << 10, 16 << 10, 32 << 10] {
                let mut encoder =
                    Encoder::new(&Compression::new(algorithm).with_block_size(block_size)).unwrap();
                let mut stored = Stored::default();
                encoder.encode(&noise(3 * block_size as usize + 1), &mut stored).unwrap();
                assert_eq!(stored.lengths().len(), 4 * 4);
                assert!(stored.bytes().len() < 4 * stored_bound(block_size as usize));
            }
        }
    }

    #[test]
    fn what_the_reference_cannot_read_is_refused() {
        for algorithm in [Algorithm::Lz4, Algorithm::Zstd] {
            let mut encoder = Encoder::new(&Compression::new(algorithm).with_block_size(64 << 10)).unwrap();
            encoder.encode(&[7; 64 << 10], &mut Stored::default()).unwrap();
            let error = encoder.encode(&noise(64 << 10), &mut Stored::default()).unwrap_err();
            assert!(matches!(error, Error::Limit { limit: 0x1_0000, .. }), "{error}");
        }
    }

    #[test]
    fn impossible_settings_are_refused() {
        for bad in [
            Compression::default().with_block_size(2048),
            Compression::default().with_block_size(12 << 10),
            Compression::default().with_block_size(128 << 10),
            Compression::default().with_level(13),
            Compression::new(Algorithm::Zstd).with_level(23),
        ] {
            assert!(matches!(Encoder::new(&bad), Err(Error::Unsupported { .. })), "{bad:?}");
        }
    }
}
