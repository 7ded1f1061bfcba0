//! Blobs that are not what they should be, and where to damage them.

// Each test binary uses a part of this.
#![allow(dead_code)]

use async_trait::async_trait;
use bytes::Bytes;
use overlaybd_format::{ReadAt, Result, Warm, check_bounds};

/// `bytes` with one bit flipped, without a copy of them.
#[derive(Debug)]
pub(crate) struct FlippedBlob {
    pub(crate) bytes: Bytes,
    /// The byte that is wrong.
    pub(crate) at: usize,
    /// The bit of it, 0 to 7.
    pub(crate) bit: u8,
}

#[async_trait]
impl ReadAt for FlippedBlob {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.try_read_at(buf, offset).map(|_| ())
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> Result<Warm> {
        check_bounds(self.size(), offset, buf.len())?;
        let start = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.bytes[start..start + buf.len()]);
        if let Some(byte) = self.at.checked_sub(start).and_then(|at| buf.get_mut(at)) {
            *byte ^= 1 << self.bit;
        }
        Ok(Warm::Yes)
    }
}

/// Numbers that look random and are the same in every run (the SplitMix64 sequence).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// `len` bytes of words from a small vocabulary, which compress to a fraction.
    pub(crate) fn words(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 16);
        while bytes.len() < len {
            bytes.extend(format!("{:x} ", self.below(5_000).pow(2)).bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// The next number, below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % bound as u64) as usize
    }
}
