//! Where each block of a ZFile is stored.

use std::ops::Range;

use crate::zfile::checksum::raw_crc32c;
use crate::zfile::header::{BLOCK_SIZE, Header};
use crate::{Error, Limits, Result};

/// The positions of all blocks: a 32-bit offset a block, relative to the base of its group.
///
/// A block's range is then found without a sum over its neighbours, in little more memory than the
/// table takes on disk.
#[derive(Debug, Clone)]
pub(crate) struct JumpTable {
    bases: Vec<u64>,
    /// One more than there are blocks: the last is the end of the last block.
    offsets: Vec<u32>,
}

impl JumpTable {
    /// Where the table of a ZFile of `size` bytes is stored.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if it does not fit between header and trailer or if the number of blocks
    /// contradicts the content size; [`Error::Limit`].
    pub(crate) fn stored_at(header: &Header, size: u64, limits: &Limits) -> Result<Range<u64>> {
        let broken = |why: String| Error::broken("ZFile header", 0, why);
        let Header { index_offset, blocks, content_size, block_size, .. } = *header;
        if blocks > limits.zfile_blocks {
            return Err(Error::Limit {
                what: "blocks in a ZFile",
                value: blocks,
                limit: limits.zfile_blocks,
            });
        }
        if content_size.div_ceil(block_size.into()) != blocks {
            return Err(broken(format!(
                "{blocks} blocks of {block_size} bytes for {content_size} bytes of content"
            )));
        }
        let end = blocks.checked_mul(ENTRY_SIZE as u64).and_then(|len| index_offset.checked_add(len));
        match end {
            Some(end) if end <= size.saturating_sub(BLOCK_SIZE as u64) => Ok(index_offset..end),
            _ => Err(broken(format!("a jump table of {blocks} blocks at {index_offset} in {size} bytes"))),
        }
    }

    /// Decodes the table from its bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Checksum`] if `header` has a digest and the table's does not match; [`Error::Broken`] if
    /// a block is stored in no bytes or in more than any codec needs, or if the blocks do not fill
    /// the space between header and table.
    pub(crate) fn decode(header: &Header, bytes: &[u8]) -> Result<Self> {
        const WHAT: &str = "ZFile jump table";
        let at = header.index_offset;
        if header.has_digest() {
            let computed = raw_crc32c(0, bytes);
            if computed != header.index_crc {
                return Err(Error::Checksum { what: WHAT, at, stored: header.index_crc, computed });
            }
        }
        let entries = bytes.as_chunks::<ENTRY_SIZE>().0;
        let mut bases = Vec::with_capacity(entries.len().div_ceil(GROUP));
        let mut offsets = Vec::with_capacity(entries.len().saturating_add(1));
        let lengths = stored_lengths(header.block_size, header.block_crcs);
        let mut position = BLOCK_SIZE as u64;
        let mut offset = 0u32;
        for (block, entry) in entries.iter().enumerate() {
            let length = u32::from_le_bytes(*entry);
            if !lengths.contains(&length) {
                let why = format!("block {block} is stored in {length} bytes, outside {lengths:?}");
                return Err(Error::broken(WHAT, at, why));
            }
            if block % GROUP == 0 {
                bases.push(position);
                offset = 0;
            }
            offsets.push(offset);
            offset = offset.saturating_add(length);
            position = position.saturating_add(length.into());
        }
        if entries.len().is_multiple_of(GROUP) {
            bases.push(position);
            offset = 0;
        }
        offsets.push(offset);
        if position != header.index_offset {
            let why = format!("the blocks end at {position} and the table starts at {at}");
            return Err(Error::broken(WHAT, at, why));
        }
        Ok(Self { bases, offsets })
    }

    /// The bytes of the file that hold `blocks`, which must exist.
    #[inline]
    pub(crate) fn stored(&self, blocks: Range<usize>) -> Option<Range<u64>> {
        Some(self.start(blocks.start)?..self.start(blocks.end)?)
    }

    #[inline]
    fn start(&self, block: usize) -> Option<u64> {
        let offset = *self.offsets.get(block)?;
        Some(self.bases.get(block / GROUP)?.saturating_add(offset.into()))
    }
}

/// The lengths that a block can be stored in, checksum included.
///
/// A codec expands incompressible bytes by less than 1 % and a few dozen bytes; twice the block is
/// a bound that no writer meets and that keeps a reader's buffer small.
fn stored_lengths(block_size: u32, block_crcs: bool) -> Range<u32> {
    let crc = if block_crcs { 4u32 } else { 0 };
    crc.saturating_add(1)..block_size.saturating_mul(2).saturating_add(65)
}

/// Bytes of a stored entry.
pub(crate) const ENTRY_SIZE: usize = 4;

/// Blocks that share a base: few enough that their lengths cannot exceed 32 bits together.
const GROUP: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zfile::Algorithm;

    fn header(lengths: &[u32]) -> (Header, Vec<u8>) {
        let bytes: Vec<u8> = lengths.iter().flat_map(|len| len.to_le_bytes()).collect();
        let header = Header {
            flags: 0,
            index_offset: 512 + lengths.iter().map(|&len| u64::from(len)).sum::<u64>(),
            blocks: lengths.len() as u64,
            content_size: lengths.len() as u64 * 4096,
            index_crc: 0,
            block_size: 4096,
            algorithm: Algorithm::Lz4,
            dictionary_size: 0,
            block_crcs: true,
        };
        (header, bytes)
    }

    #[test]
    fn every_block_is_found_across_groups() {
        for count in [0, 1, 63, 64, 65, 128, 1000] {
            let lengths: Vec<u32> = (0..count).map(|n| 5 + n % 4000).collect();
            let (header, bytes) = header(&lengths);
            let table = JumpTable::decode(&header, &bytes).unwrap();
            let mut at = 512;
            for (block, &len) in lengths.iter().enumerate() {
                assert_eq!(table.stored(block..block + 1), Some(at..at + u64::from(len)));
                at += u64::from(len);
            }
            assert_eq!(table.stored(0..lengths.len()), Some(512..at));
            assert_eq!(table.stored(0..lengths.len() + 1), None);
        }
    }

    #[test]
    fn impossible_lengths_are_broken() {
        for bad in [0, 4, 4096 * 2 + 65, u32::MAX] {
            let (header, bytes) = header(&[100, bad, 100]);
            assert!(matches!(JumpTable::decode(&header, &bytes), Err(Error::Broken { .. })), "{bad}");
        }
        let (mut header, bytes) = header(&[100, 100]);
        header.index_offset += 1;
        assert!(matches!(JumpTable::decode(&header, &bytes), Err(Error::Broken { .. })));
    }

    #[test]
    fn a_table_outside_the_file_is_broken() {
        let (header, _) = header(&[100, 100]);
        let size = header.index_offset + 8 + 512;
        let limits = Limits::default();
        assert_eq!(JumpTable::stored_at(&header, size, &limits).unwrap(), 712..720);
        assert!(JumpTable::stored_at(&header, size - 1, &limits).is_err());
        let far = Header { index_offset: u64::MAX - 3, ..header.clone() };
        assert!(JumpTable::stored_at(&far, size, &limits).is_err());
        let many = Header { blocks: 3, ..header };
        assert!(JumpTable::stored_at(&many, size, &limits).is_err());
    }
}
