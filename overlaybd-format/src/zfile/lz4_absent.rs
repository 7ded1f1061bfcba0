//! What stands in the place of an LZ4 library where none is built in. Headers that name LZ4 are
//! unsupported then, so nothing comes here to be decoded.

use std::convert::Infallible;
use std::io;

use crate::{Error, Result};

pub(super) type Effort = Infallible;

pub(super) fn effort(_: i32) -> Result<Effort> {
    Err(Error::Unsupported { what: "ZFile algorithm", value: 1 })
}

pub(super) fn encode(effort: Effort, _: &[u8], _: &mut [u8]) -> io::Result<usize> {
    match effort {}
}

pub(super) fn decode(_: &[u8], _: &mut [u8]) -> Result<usize, &'static str> {
    Err("no LZ4 library is built in")
}

pub(super) fn decode_start(stored: &[u8], _: usize, out: &mut [u8]) -> Result<usize, &'static str> {
    decode(stored, out)
}
