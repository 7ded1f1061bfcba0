//! LZ4 by the library in Rust, which has one level and decodes whole blocks.

use std::io;

use super::encoder::unsupported_level;
use crate::Result;

#[derive(Debug, Clone, Copy)]
pub(super) struct Effort;

pub(super) fn effort(level: i32) -> Result<Effort> {
    if matches!(level, 0 | 1) { Ok(Effort) } else { Err(unsupported_level(level)) }
}

pub(super) fn encode(_: Effort, block: &[u8], out: &mut [u8]) -> io::Result<usize> {
    lz4_flex::block::compress_into(block, out).map_err(io::Error::other)
}

pub(super) fn decode(stored: &[u8], out: &mut [u8]) -> Result<usize, &'static str> {
    lz4_flex::block::decompress_into(stored, out).map_err(|_| "not an LZ4 block of a block's size")
}

pub(super) fn decode_start(stored: &[u8], _: usize, out: &mut [u8]) -> Result<usize, &'static str> {
    let len = decode(stored, out)?;
    if len == out.len() { Ok(len) } else { Err("the block decodes to fewer bytes than it must") }
}
