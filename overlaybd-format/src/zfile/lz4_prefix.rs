//! Decoding an LZ4 block only as far as it is read.
//!
//! Random reads of large blocks want half of a block on average, and decoding the rest is half of
//! their time. The C library can stop at a given byte, its safe bindings cannot pass that on, so this
//! module calls it: the only unsafe code of the crate. Without the feature `lz4-c` whole blocks are
//! decoded.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};

// The library is linked by the bindings.
use lz4 as _;

/// Fills `out` with the first bytes of the LZ4 block `stored`.
pub(crate) fn decode(stored: &[u8], out: &mut [u8]) -> Result<(), &'static str> {
    let (Ok(stored_len), Ok(len)) = (c_int::try_from(stored.len()), c_int::try_from(out.len())) else {
        return Err("the block is too large");
    };
    // SAFETY: the function reads at most `stored_len` bytes from the first pointer and writes at most
    // `len` bytes to the second. Both are valid for that, because they come from slices of these
    // lengths, and they do not overlap, because one slice is borrowed mutably. Any content of
    // `stored` is allowed: a malformed block gives a negative result.
    let decoded = unsafe {
        LZ4_decompress_safe_partial(stored.as_ptr().cast(), out.as_mut_ptr().cast(), stored_len, len, len)
    };
    if decoded == len { Ok(()) } else { Err("not an LZ4 block of a block's size") }
}

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
            let stored = lz4_flex::block::compress(&block);
            let len = cut.index(block.len() + 1);
            let mut out = vec![0; len];
            decode(&stored, &mut out).unwrap();
            prop_assert_eq!(&out, &block[..len]);
            prop_assert!(decode(&stored, &mut vec![0; block.len() + 1]).is_err());
        }

        #[test]
        fn hostile_blocks_are_errors_or_bytes(stored in prop::collection::vec(any::<u8>(), 0..300), len in 0..9000usize) {
            let mut out = vec![0; len];
            let _ = decode(&stored, &mut out);
        }
    }
}
