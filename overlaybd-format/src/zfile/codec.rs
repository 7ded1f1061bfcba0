//! Decoding ZFile blocks.

use std::cell::Cell;

use crate::zfile::header::Algorithm;
use crate::zfile::{lz4, zstd_prefix};

/// Buffers and codec contexts that a thread reuses from read to read.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Compressed bytes on their way to the decoder.
    pub(crate) stored: Vec<u8>,
    held: Held,
    /// A frame that was cut.
    cut: Vec<u8>,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Scratch {
    /// Runs `work` with the thread's scratch. A nested call gets a fresh one, so that a ZFile can be
    /// read through another.
    pub(crate) fn with<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        thread_local!(static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) });
        let mut scratch = SCRATCH.take().unwrap_or_default();
        let result = work(&mut scratch);
        SCRATCH.set(Some(scratch));
        result
    }

    /// The beginning of block `block`, if it is the one that was last decoded for a part of it.
    #[inline]
    pub(crate) fn held(&self, block: BlockId) -> Option<&[u8]> {
        if self.held.block == Some(block) { self.held.bytes.get(..self.held.len) } else { None }
    }

    /// Decodes at least the first `needed` of the `block_len` bytes of a block, and holds them.
    pub(crate) fn hold(
        &mut self,
        block: BlockId,
        algorithm: Algorithm,
        stored: &[u8],
        needed: usize,
        block_len: usize,
    ) -> Result<&[u8], &'static str> {
        // Who comes back to a block walks through it.
        let walking = self.held.block.take() == Some(block);
        let mut bytes = std::mem::take(&mut self.held.bytes);
        if bytes.len() < block_len {
            bytes.resize(block_len, 0);
        }
        let out = bytes.get_mut(..block_len).unwrap_or_default();
        let decoded = if walking {
            self.decode(algorithm, stored, out).map(|()| block_len)
        } else {
            self.decode_start(algorithm, stored, needed, out)
        };
        let (block, len) = (decoded.is_ok().then_some(block), decoded.unwrap_or_default());
        self.held = Held { block, len, bytes };
        decoded.map(|len| self.held.bytes.get(..len).unwrap_or_default())
    }

    /// Decodes at least the first `needed` bytes of the block `stored` into `out`, which is as long as the
    /// block, and returns how many.
    fn decode_start(
        &mut self,
        algorithm: Algorithm,
        stored: &[u8],
        needed: usize,
        out: &mut [u8],
    ) -> Result<usize, &'static str> {
        match algorithm {
            Algorithm::Lz4 => return lz4::decode_start(stored, needed, out),
            Algorithm::Zstd => {
                let mut cut = std::mem::take(&mut self.cut);
                let start = zstd_prefix::cut(stored, needed, out.len(), &mut cut)
                    .and_then(|()| self.decode_frame(&cut, out).ok());
                self.cut = cut;
                if let Some(len) = start.filter(|&len| len >= needed) {
                    return Ok(len);
                }
            }
        }
        self.decode(algorithm, stored, out).map(|()| out.len())
    }

    /// Decodes the block `stored`, which must fill `out` exactly.
    pub(crate) fn decode(
        &mut self,
        algorithm: Algorithm,
        stored: &[u8],
        out: &mut [u8],
    ) -> Result<(), &'static str> {
        let decoded = match algorithm {
            Algorithm::Lz4 => lz4::decode(stored, out)?,
            Algorithm::Zstd => self.decode_frame(stored, out)?,
        };
        if decoded == out.len() { Ok(()) } else { Err("the block decodes to fewer bytes than it must") }
    }

    fn decode_frame(&mut self, frame: &[u8], out: &mut [u8]) -> Result<usize, &'static str> {
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(zstd::bulk::Decompressor::new().map_err(|_| "no memory for a context")?),
        };
        zstd.decompress_to_buffer(frame, out).map_err(|_| "not a Zstandard frame of a block's size")
    }
}

/// The block that was last decoded for a part of it. Reads of its neighbourhood then decode nothing.
#[derive(Default)]
struct Held {
    block: Option<BlockId>,
    len: usize,
    bytes: Vec<u8>,
}

/// A block of one of all ZFiles that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockId {
    pub(crate) file: u64,
    pub(crate) number: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zfile::Compression;
    use crate::zfile::encoder::{Encoder, Stored};

    #[test]
    fn blocks_survive_and_wrong_sizes_do_not() {
        let block: Vec<u8> = (0..4096u32).map(|n| ((n * n) >> 7) as u8).collect();
        for algorithm in [Algorithm::Lz4, Algorithm::Zstd] {
            let mut stored = Stored::default();
            Encoder::new(&Compression::new(algorithm)).unwrap().encode(&block, &mut stored).unwrap();
            let (stored, _crc) = stored.bytes().split_last_chunk::<4>().unwrap();
            Scratch::with(|scratch| {
                let mut out = vec![0; 4096];
                scratch.decode(algorithm, stored, &mut out).unwrap();
                assert_eq!(out, block);
                assert!(scratch.decode(algorithm, stored, &mut vec![0; 4095]).is_err());
                assert!(scratch.decode(algorithm, stored, &mut vec![0; 4097]).is_err());
                assert!(scratch.decode(algorithm, &stored[..stored.len() - 1], &mut out).is_err());
            });
        }
    }

    #[test]
    fn a_block_that_ends_before_what_is_needed_is_an_error() {
        for algorithm in [Algorithm::Lz4, Algorithm::Zstd] {
            let mut stored = Stored::default();
            let compression = Compression::new(algorithm).with_block_size(32 << 10);
            Encoder::new(&compression).unwrap().encode(&[7; 20_000], &mut stored).unwrap();
            let (stored, _crc) = stored.bytes().split_last_chunk::<4>().unwrap();
            Scratch::with(|scratch| {
                let block = BlockId { file: u64::MAX, number: 0 };
                assert!(scratch.hold(block, algorithm, stored, 20_001, 32 << 10).is_err(), "{algorithm:?}");
                assert_eq!(scratch.held(block), None);
                let held = scratch.hold(block, algorithm, stored, 5000, 20_000).unwrap();
                assert!(held.len() >= 5000 && held.iter().all(|&byte| byte == 7));
            });
        }
    }
}
