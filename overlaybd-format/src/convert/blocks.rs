//! The space of the device, handed out from front to back, and runs of bytes that go there.

use std::io::Write;

use crate::layer_writer::zeros;
use crate::{Error, LayerWriter, Result};

/// The blocks that no layer uses yet.
#[derive(Debug)]
pub(super) struct Blocks {
    next: u32,
    /// Of the device, in bytes.
    size: u64,
}

impl Blocks {
    /// The blocks of a device of `size` bytes from `next` on.
    pub(super) fn new(next: u32, size: u64) -> Self {
        Self { next, size }
    }

    /// The first free block, in bytes of the device.
    pub(super) fn free_from(&self) -> u64 {
        in_bytes(self.next)
    }

    /// Blocks of the device that are used.
    pub(super) fn used(&self) -> u32 {
        self.next
    }

    /// Takes as many blocks as `len` bytes need, and gives the first one; 0 if they need none.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] if the device is full.
    pub(super) fn take(&mut self, len: u64) -> Result<u32> {
        if len == 0 {
            return Ok(0);
        }
        let first = self.next;
        let end = u64::from(first).saturating_add(len.div_ceil(BLOCK));
        let size = self.size.min(in_bytes(u32::MAX));
        match u32::try_from(end) {
            Ok(next) if in_bytes(next) <= size => self.next = next,
            _ => {
                let what = "number of bytes of the device that are needed";
                return Err(Error::Limit { what, value: end.saturating_mul(BLOCK), limit: size });
            }
        }
        Ok(first)
    }
}

/// Bytes of a device on their way into a layer, collected into runs of whole units.
///
/// A run starts and ends with a unit; what of it is not given is zeros. Units of zeros are left to what is below,
/// which is nothing.
#[derive(Debug)]
pub(super) struct Runs {
    unit: u64,
    /// Where the collected bytes belong, in bytes of the device.
    at: u64,
    bytes: Vec<u8>,
    /// Bytes that were put, without filling.
    put: u64,
}

impl Runs {
    /// Runs of units of `unit` bytes.
    pub(super) fn new(unit: u64) -> Self {
        Self { unit, at: 0, bytes: Vec::new(), put: 0 }
    }

    /// Bytes that were put so far.
    pub(super) fn put(&self) -> u64 {
        self.put
    }

    /// Makes room for up to `len` bytes at `offset` of the device, behind all that was put since the last
    /// [`end`](Self::end), for the caller to fill.
    ///
    /// # Errors
    ///
    /// As [`LayerWriter::write`].
    pub(super) fn room<W: Write>(
        &mut self,
        layer: &mut LayerWriter<W>,
        offset: u64,
        len: u64,
    ) -> Result<&mut [u8]> {
        let unit = offset.saturating_sub(offset.checked_rem(self.unit).unwrap_or_default());
        let is_full = !self.bytes.is_empty() && unit.saturating_sub(self.at) >= LONGEST as u64;
        if is_full || unit > self.filled_to() {
            self.end(layer)?;
        }
        if self.bytes.is_empty() {
            self.at = unit;
        }
        let start = usize::try_from(offset.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let room = LONGEST.saturating_sub(start);
        let end = start.saturating_add(usize::try_from(len).unwrap_or(usize::MAX).min(room));
        self.bytes.resize(end, 0);
        self.put = self.put.saturating_add(end.saturating_sub(start) as u64);
        Ok(self.bytes.get_mut(start..).unwrap_or_default())
    }

    /// Writes what was collected.
    ///
    /// # Errors
    ///
    /// As [`LayerWriter::write`].
    pub(super) fn end<W: Write>(&mut self, layer: &mut LayerWriter<W>) -> Result<()> {
        let whole = self.filled_to().saturating_sub(self.at);
        self.bytes.resize(usize::try_from(whole).unwrap_or(usize::MAX), 0);
        let mut at = self.at;
        for run in zeros::runs(self.at, &self.bytes, true) {
            if !run.zeroed {
                layer.write(at, run.bytes)?;
            }
            at = at.saturating_add(run.bytes.len() as u64);
        }
        self.bytes.clear();
        Ok(())
    }

    /// The end of the last unit.
    fn filled_to(&self) -> u64 {
        let end = self.at.saturating_add(self.bytes.len() as u64);
        end.checked_next_multiple_of(self.unit).unwrap_or(u64::MAX)
    }
}

/// Where a block is, in bytes of the device.
pub(super) fn in_bytes(block: u32) -> u64 {
    u64::from(block).saturating_mul(BLOCK)
}

/// Bytes of a block.
pub(super) const BLOCK: u64 = 4096;
/// Bytes that are collected at most; whole units.
const LONGEST: usize = 1 << 20;
