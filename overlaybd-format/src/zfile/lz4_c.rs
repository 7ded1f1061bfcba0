//! LZ4 by the C library, which can also decode a block only as far as it is read.
//!
//! Random reads of large blocks want half of a block on average, and decoding the rest is half of
//! their time. The C library can stop at a given byte, its safe bindings cannot pass that on, so this
//! module calls it: the only unsafe code of the crate.

use std::ffi::{c_char, c_int};
use std::io;

use lz4::block::{self, CompressionMode};

use super::encoder::unsupported_level;
use crate::Result;

pub(super) type Effort = CompressionMode;

pub(super) fn effort(level: i32) -> Result<Effort> {
    match level {
        ..0 => Ok(CompressionMode::FAST(level.saturating_neg())),
        0 | 1 => Ok(CompressionMode::DEFAULT),
        2..=12 => Ok(CompressionMode::HIGHCOMPRESSION(level)),
        _ => Err(unsupported_level(level)),
    }
}

pub(super) fn encode(effort: Effort, block: &[u8], out: &mut [u8]) -> io::Result<usize> {
    block::compress_to_buffer(block, Some(effort), false, out)
}

pub(super) fn decode(stored: &[u8], out: &mut [u8]) -> Result<usize, &'static str> {
    let size = i32::try_from(out.len()).map_err(|_| "the block is too large")?;
    block::decompress_to_buffer(stored, Some(size), out).map_err(|_| "not an LZ4 block of a block's size")
}

/// Fills the front of `out` with the first `needed` bytes of the LZ4 block `stored`, or more of them,
/// and returns how many.
#[allow(unsafe_code)]
pub(super) fn decode_start(stored: &[u8], needed: usize, out: &mut [u8]) -> Result<usize, &'static str> {
    let out = out.get_mut(..needed).ok_or("the block is shorter")?;
    let (Ok(stored_len), Ok(len)) = (c_int::try_from(stored.len()), c_int::try_from(needed)) else {
        return Err("the block is too large");
    };
    // SAFETY: the function reads at most `stored_len` bytes from the first pointer and writes at most
    // `len` bytes to the second. Both are valid for that, because they come from slices of these
    // lengths, and they do not overlap, because one slice is borrowed mutably. Any content of
    // `stored` is allowed: a malformed block gives a negative result.
    let decoded = unsafe {
        LZ4_decompress_safe_partial(stored.as_ptr().cast(), out.as_mut_ptr().cast(), stored_len, len, len)
    };
    if decoded == len { Ok(needed) } else { Err("not an LZ4 block of a block's size") }
}

#[allow(unsafe_code)]
unsafe extern "C" {
    fn LZ4_decompress_safe_partial(
        stored: *const c_char,
        out: *mut c_char,
        stored_len: c_int,
        len: c_int,
        capacity: c_int,
    ) -> c_int;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_prefix_is_what_the_whole_block_starts_with(
            runs in prop::collection::vec((any::<u8>(), 1..200usize), 1..40),
            cut in any::<prop::sample::Index>(),
        ) {
            let block: Vec<u8> = runs.iter().flat_map(|&(byte, len)| (0..len).map(move |n| byte ^ (n % 7) as u8)).collect();
            let stored = block::compress(&block, None, false).unwrap();
            let len = cut.index(block.len() + 1);
            let mut out = vec![0; block.len() + 1];
            decode_start(&stored, len, &mut out).unwrap();
            prop_assert_eq!(&out[..len], &block[..len]);
            prop_assert!(decode_start(&stored, block.len() + 1, &mut out).is_err());
        }

        #[test]
        fn hostile_blocks_are_errors_or_bytes(stored in prop::collection::vec(any::<u8>(), 0..300), len in 0..9000usize) {
            let mut out = vec![0; len];
            let _ = decode_start(&stored, len, &mut out);
        }
    }
}
