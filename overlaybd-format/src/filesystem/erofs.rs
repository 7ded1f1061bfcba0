//! EROFS, as far as finding files goes: superblock, inodes and directories.
//!
//! Files that are compressed by EROFS itself, or that lie on further devices, are not followed: no
//! tool makes overlaybd layers of them.

use std::ops::Range;

use super::{Inode, Kind, read, u16_at, u32_at};
use crate::erofs::directory;
use crate::erofs::inode::{COMPACT, EXTENDED, InodeRecord, Layout};
use crate::erofs::superblock::Superblock;
use crate::{Error, ReadAt, Result};

/// The geometry of an EROFS filesystem.
#[derive(Debug)]
pub(crate) struct Erofs {
    block_size: u64,
    /// Where inode 0 is, in bytes of the device.
    inodes_at: u64,
    /// The number of the root directory.
    pub(super) root: u64,
}

impl Erofs {
    pub(super) fn detect(superblock: &[u8]) -> bool {
        Superblock::detect(superblock)
    }

    pub(super) fn decode(superblock: &[u8]) -> Result<Self> {
        let Superblock { block_size, meta_block, root, .. } = Superblock::decode(superblock)?;
        Ok(Self {
            block_size,
            inodes_at: u64::from(meta_block).saturating_mul(block_size),
            root: root.into(),
        })
    }

    pub(super) async fn inode(&self, device: &dyn ReadAt, number: u64) -> Result<Inode> {
        let at = self.inodes_at.saturating_add(number.saturating_mul(COMPACT));
        let mut bytes = read(device, at..at.saturating_add(COMPACT)).await?;
        if InodeRecord::is_extended(&bytes) {
            bytes = read(device, at..at.saturating_add(EXTENDED)).await?;
        }
        let inode =
            InodeRecord::decode(&bytes).ok_or_else(|| Error::broken("EROFS inode", at, "it is too short"))?;
        let end = at.saturating_add(inode.len).saturating_add(inode.attributes_len());
        let place = Place { at, end, union: inode.place, size: inode.size };

        let kind = Kind::of_mode(inode.mode);
        let stored = match inode.layout {
            _ if kind == Kind::Special => Some(Vec::new()),
            Layout::Plain => Some(self.flat(device, &place, false)?),
            Layout::Inline => Some(self.flat(device, &place, true)?),
            Layout::Chunks => self.chunks(device, &place).await?,
            Layout::Other => None,
        };
        Ok(Inode { kind, stored })
    }

    /// Consecutive blocks; if `tail_inline`, the last one is behind the inode instead.
    fn flat(&self, device: &dyn ReadAt, place: &Place, tail_inline: bool) -> Result<Vec<Range<u64>>> {
        let broken = |why: String| Error::broken("EROFS inode", place.at, why);
        let start = u64::from(place.union).saturating_mul(self.block_size);
        let blocks = place.size.div_ceil(self.block_size);
        let whole =
            if tail_inline { blocks.saturating_sub(1).saturating_mul(self.block_size) } else { place.size };
        let tail = place.size.saturating_sub(whole);
        let ranges = [start..start.saturating_add(whole), place.end..place.end.saturating_add(tail)];
        let in_block = place.end.checked_rem(self.block_size).unwrap_or_default();
        if tail > 0 && in_block.saturating_add(tail) > self.block_size {
            return Err(broken(format!("a tail of {tail} bytes at {} crosses a block", place.end)));
        }
        let ranges: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        if ranges.iter().any(|range| range.end > device.size()) {
            return Err(broken(format!("{} bytes at block {}", place.size, place.union)));
        }
        Ok(ranges)
    }

    /// Chunks of some blocks each, named by a table behind the inode. None if one is on another device.
    async fn chunks(&self, device: &dyn ReadAt, place: &Place) -> Result<Option<Vec<Range<u64>>>> {
        let broken = |why: String| Error::broken("EROFS inode", place.at, why);
        let chunk_size = self.block_size.saturating_mul(1 << (place.union & CHUNK_BITS));
        let entry_size: u64 = if place.union & CHUNK_INDEXES != 0 { 8 } else { 4 };
        let count = place.size.div_ceil(chunk_size);
        if count > super::MOST_RANGES as u64 {
            return Err(Error::Limit {
                what: "chunks of a file",
                value: count,
                limit: super::MOST_RANGES as u64,
            });
        }
        let table_at = place.end.next_multiple_of(entry_size);
        let table = read(device, table_at..table_at.saturating_add(count.saturating_mul(entry_size))).await?;

        let mut ranges: Vec<Range<u64>> = Vec::new();
        let entries = table.chunks_exact(usize::try_from(entry_size).unwrap_or(1));
        for (entry, offset) in entries.zip((0..).step_by(usize::try_from(chunk_size).unwrap_or(usize::MAX))) {
            let block = u32_at(entry, entry.len().saturating_sub(4)).unwrap_or(HOLE);
            if entry_size == 8 && u16_at(entry, 2) != Some(0) {
                return Ok(None);
            }
            let len = chunk_size.min(place.size.saturating_sub(offset));
            let start = u64::from(block).saturating_mul(self.block_size);
            let end = start.saturating_add(len);
            match ranges.last_mut() {
                _ if block == HOLE => {}
                _ if end > device.size() => return Err(broken(format!("a chunk at block {block}"))),
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        Ok(Some(ranges))
    }

    pub(super) fn names<'a>(&self, content: &'a [u8]) -> Result<Vec<(&'a [u8], u64)>> {
        let entries = directory::decode(content, self.block_size)?;
        Ok(entries.into_iter().map(|entry| (entry.name, entry.inode)).collect())
    }
}

/// An inode and what its layout needs of it.
struct Place {
    /// Where the inode is, in bytes of the device.
    at: u64,
    /// Where it ends, with its attributes.
    end: u64,
    /// The first block, or the format of the chunks.
    union: u32,
    /// Of the file, in bytes.
    size: u64,
}

// The kernel's fs/erofs/erofs_fs.h and its documentation of EROFS have these numbers.
const CHUNK_BITS: u32 = 0x1f;
const CHUNK_INDEXES: u32 = 0x20;
/// The block of a chunk that has none.
const HOLE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryBlob;
    use futures::executor::block_on;

    const BLOCKS: usize = 16;

    /// A compact inode at the start of block 1 of a device of blocks of 4 KiB, with what follows it.
    fn inode(layout: u16, size: u32, union: u32, behind: &[u8]) -> Result<Inode> {
        let mut device = vec![0; BLOCKS * 4096];
        device[4096..4098].copy_from_slice(&(layout << 1).to_le_bytes());
        device[4100..4102].copy_from_slice(&0x81a4_u16.to_le_bytes());
        device[4104..4108].copy_from_slice(&size.to_le_bytes());
        device[4112..4116].copy_from_slice(&union.to_le_bytes());
        device[4128..4128 + behind.len()].copy_from_slice(behind);
        let erofs = Erofs { block_size: 4096, inodes_at: 4096, root: 0 };
        block_on(erofs.inode(&MemoryBlob::new(device), 0))
    }

    fn is_broken(inode: Result<Inode>) -> bool {
        matches!(inode, Err(Error::Broken { .. }))
    }

    #[test]
    fn chunks_have_holes_and_join() {
        let table: Vec<u8> = [3, 4, HOLE, 9].into_iter().flat_map(u32::to_le_bytes).collect();
        let stored = inode(4, 3 * 4096 + 100, 0, &table).unwrap().stored.unwrap();
        assert_eq!(stored, [3 * 4096..5 * 4096, 9 * 4096..9 * 4096 + 100]);
        assert!(is_broken(inode(4, 2 * 4096, 0, &[3, 0, 0, 0, BLOCKS as u8, 0, 0, 0])), "outside");
    }

    #[test]
    fn chunks_of_other_devices_are_not_followed() {
        let on = |device: u8| inode(4, 4096, CHUNK_INDEXES, &[0, 0, device, 0, 3, 0, 0, 0]).unwrap().stored;
        assert!(on(0).is_some());
        assert!(on(1).is_none());
    }

    #[test]
    fn tails_stay_in_their_block() {
        assert_eq!(inode(2, 4100, 5, &[]).unwrap().stored.unwrap(), [5 * 4096..6 * 4096, 4128..4132]);
        assert!(is_broken(inode(2, 4065, 5, &[])));
        assert!(is_broken(inode(0, 4097, BLOCKS as u32 - 1, &[])));
    }

    #[test]
    fn compressed_files_are_not_followed() {
        assert!(inode(1, 4096, 5, &[]).unwrap().stored.is_none());
        assert!(inode(3, 4096, 5, &[]).unwrap().stored.is_none());
    }

    #[test]
    fn directories_that_cannot_be_are_broken() {
        let erofs = Erofs { block_size: 4096, inodes_at: 0, root: 0 };
        let entry = |nid: u8, name_at: u16| {
            let [low, high] = name_at.to_le_bytes();
            [nid, 0, 0, 0, 0, 0, 0, 0, low, high, 0, 0]
        };
        let block = |entries: &[[u8; 12]], names: &[u8]| [entries.as_flattened(), names].concat();
        let sound = block(&[entry(1, 24), entry(2, 25)], b"abc\0\0");
        assert_eq!(erofs.names(&sound).unwrap(), [(&b"a"[..], 1), (&b"bc"[..], 2)]);
        for (broken, why) in [
            (block(&[entry(1, 0)], b"a"), "no entries"),
            (block(&[entry(1, 200)], b"a"), "more entries than bytes"),
            (block(&[entry(1, 24), entry(2, 23)], b"ab"), "names that go back"),
            (block(&[entry(1, 24), entry(2, 99)], b"ab"), "a name behind the block"),
        ] {
            assert!(matches!(erofs.names(&broken), Err(Error::Broken { .. })), "{why}");
        }
    }
}
