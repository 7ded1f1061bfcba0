//! Content ranges of a ZFile: which blocks, which stored bytes, and back to content.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::zfile::checksum::{BLOCK_STATE, raw_crc32c};
use crate::zfile::codec::{BlockId, Scratch};
use crate::zfile::{Algorithm, Header, JumpTable};
use crate::{Error, Result};

/// All that is needed to turn stored bytes into content; no I/O.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) algorithm: Algorithm,
    pub(crate) block_crcs: bool,
    pub(crate) content_size: u64,
    /// Tells this file from all others that are open.
    file: u64,
    block_shift: u32,
    table: JumpTable,
}

impl Layout {
    pub(crate) fn new(header: &Header, table: JumpTable) -> Self {
        static FILES: AtomicU64 = AtomicU64::new(0);
        Self {
            file: FILES.fetch_add(1, Ordering::Relaxed),
            algorithm: header.algorithm,
            block_crcs: header.block_crcs,
            content_size: header.content_size,
            block_shift: header.block_size.trailing_zeros(),
            table,
        }
    }

    pub(crate) fn block_size(&self) -> usize {
        1 << self.block_shift
    }

    /// The stored bytes that hold the blocks under `content`, which lies inside the content.
    #[inline]
    pub(crate) fn stored(&self, content: Range<u64>) -> Result<Range<u64>> {
        let blocks = self.blocks(&content);
        self.table.stored(blocks).ok_or_else(|| self.out_of_bounds(&content))
    }

    /// The part of `content` whose blocks are stored in at most `budget` bytes; at least one block.
    pub(crate) fn within_budget(&self, content: Range<u64>, budget: usize) -> Range<u64> {
        let blocks = (budget >> self.block_shift).max(1) as u64;
        let first = content.start >> self.block_shift;
        let end = first.saturating_add(blocks) << self.block_shift;
        content.start..content.end.min(end)
    }

    /// Fills `out` with the content from `offset` on if it lies in the block that this thread decoded
    /// last for a part of it.
    #[inline]
    pub(crate) fn copy_held(&self, scratch: &Scratch, offset: u64, out: &mut [u8]) -> bool {
        let number = offset >> self.block_shift;
        let skip = offset.saturating_sub(number << self.block_shift) as usize;
        let held = scratch.held(BlockId { file: self.file, number });
        let source = held.and_then(|held| held.get(skip..skip.saturating_add(out.len())));
        source.is_some_and(|source| {
            out.copy_from_slice(source);
            true
        })
    }

    /// Fills `out` with the content from `offset` on. `stored` holds at least the bytes that
    /// [`stored`](Self::stored) names, from byte `stored_at` of the file on.
    ///
    /// Each block is checked before it is decoded, straight into `out` where all of it is wanted.
    pub(crate) fn decode(
        &self,
        scratch: &mut Scratch,
        offset: u64,
        stored: &[u8],
        stored_at: u64,
        mut out: &mut [u8],
    ) -> Result<()> {
        let content = offset..offset.saturating_add(out.len() as u64);
        for block in self.blocks(&content) {
            let at = self
                .table
                .stored(block..block.saturating_add(1))
                .ok_or_else(|| self.out_of_bounds(&content))?;
            let bytes = slice(stored, stored_at, &at).ok_or_else(|| self.out_of_bounds(&content))?;
            let bytes = self.check(bytes, at.start)?;

            let block_start = (block as u64) << self.block_shift;
            let block_len = self.content_size.saturating_sub(block_start).min(1 << self.block_shift) as usize;
            let skip = content.start.saturating_sub(block_start) as usize;
            let wanted = block_len.saturating_sub(skip).min(out.len());
            let (part, rest) = out.split_at_mut(wanted);
            let broken = |why| Error::broken("ZFile block", at.start, why);
            if wanted == block_len {
                scratch.decode(self.algorithm, bytes, part).map_err(broken)?;
            } else {
                let needed = skip.saturating_add(wanted);
                let id = BlockId { file: self.file, number: block as u64 };
                let held = scratch.hold(id, self.algorithm, bytes, needed, block_len).map_err(broken)?;
                let source = held.get(skip..needed).ok_or_else(|| self.out_of_bounds(&content))?;
                part.copy_from_slice(source);
            }
            out = rest;
        }
        Ok(())
    }

    /// The compressed bytes of a block as stored at `at`, its CRC checked and taken off.
    #[inline]
    fn check<'a>(&self, stored: &'a [u8], at: u64) -> Result<&'a [u8]> {
        if !self.block_crcs {
            return Ok(stored);
        }
        let (bytes, crc) = stored
            .split_last_chunk()
            .ok_or_else(|| Error::broken("ZFile block", at, "no room for its CRC"))?;
        let (stored, computed) = (u32::from_le_bytes(*crc), raw_crc32c(BLOCK_STATE, bytes));
        if stored == computed {
            Ok(bytes)
        } else {
            Err(Error::Checksum { what: "ZFile block", at, stored, computed })
        }
    }

    #[inline]
    fn blocks(&self, content: &Range<u64>) -> Range<usize> {
        let first = content.start >> self.block_shift;
        let end =
            if content.is_empty() { first } else { (content.end.saturating_sub(1) >> self.block_shift) + 1 };
        first as usize..end as usize
    }

    #[cold]
    fn out_of_bounds(&self, content: &Range<u64>) -> Error {
        let len = content.end.saturating_sub(content.start);
        Error::OutOfBounds { offset: content.start, len, size: self.content_size }
    }
}

fn slice<'a>(bytes: &'a [u8], start: u64, wanted: &Range<u64>) -> Option<&'a [u8]> {
    let from = usize::try_from(wanted.start.checked_sub(start)?).ok()?;
    let to = usize::try_from(wanted.end.checked_sub(start)?).ok()?;
    bytes.get(from..to)
}
