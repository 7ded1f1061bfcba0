//! Decoding ZFile blocks.

use std::cell::Cell;

use crate::zfile::header::Algorithm;

/// Buffers and codec contexts that a thread reuses from read to read.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Compressed bytes on their way to the decoder.
    pub(crate) stored: Vec<u8>,
    held: Held,
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
        let stop = algorithm == Algorithm::Lz4 && lz4::STOPS_EARLY && !walking;
        let len = if stop { needed } else { block_len };
        let out = bytes.get_mut(..len).unwrap_or_default();
        let decoded =
            if stop { lz4::decode_prefix(stored, out) } else { self.decode(algorithm, stored, out) };
        let block = decoded.is_ok().then_some(block);
        self.held = Held { block, len, bytes };
        decoded.map(|()| self.held.bytes.get(..len).unwrap_or_default())
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
            Algorithm::Zstd => {
                let zstd = match &mut self.zstd {
                    Some(zstd) => zstd,
                    none => {
                        none.insert(zstd::bulk::Decompressor::new().map_err(|_| "no memory for a context")?)
                    }
                };
                zstd.decompress_to_buffer(stored, out)
                    .map_err(|_| "not a Zstandard frame of a block's size")?
            }
        };
        if decoded == out.len() { Ok(()) } else { Err("the block decodes to fewer bytes than it must") }
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

#[cfg(feature = "lz4-c")]
mod lz4 {
    pub(super) use crate::zfile::lz4_prefix::decode as decode_prefix;

    pub(super) const STOPS_EARLY: bool = true;

    pub(super) fn decode(stored: &[u8], out: &mut [u8]) -> Result<usize, &'static str> {
        let size = i32::try_from(out.len()).map_err(|_| "the block is too large")?;
        lz4::block::decompress_to_buffer(stored, Some(size), out)
            .map_err(|_| "not an LZ4 block of a block's size")
    }
}

#[cfg(not(feature = "lz4-c"))]
mod lz4 {
    pub(super) const STOPS_EARLY: bool = false;

    pub(super) fn decode_prefix(stored: &[u8], out: &mut [u8]) -> Result<(), &'static str> {
        decode(stored, out).map(|_| ())
    }

    pub(super) fn decode(stored: &[u8], out: &mut [u8]) -> Result<usize, &'static str> {
        lz4_flex::block::decompress_into(stored, out).map_err(|_| "not an LZ4 block of a block's size")
    }
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
}
