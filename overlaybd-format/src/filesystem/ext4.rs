//! ext4, as far as finding files goes: superblock, inodes and directories.
//!
//! Directories are read as plain lists of names: the blocks of a hash tree look like unused entries to
//! a reader of lists. A journal is not replayed, because images are made by tools that leave none to
//! replay, and what is found here is a hint. Files in block maps, as ext3 has them, and files inside
//! their inodes are not followed.

use super::{Inode, Kind, ext4_extents, read, u16_at, u32_at};
use crate::{Error, ReadAt, Result};

/// The geometry of an ext4 filesystem.
#[derive(Debug)]
pub(crate) struct Ext4 {
    block_size: u64,
    inodes: u32,
    inodes_per_group: u32,
    inode_size: u16,
    /// Where the group descriptors start, in bytes of the device.
    descriptors_at: u64,
    descriptor_size: u16,
}

impl Ext4 {
    pub(super) fn detect(superblock: &[u8]) -> bool {
        u16_at(superblock, 0x38) == Some(MAGIC)
    }

    pub(super) fn decode(superblock: &[u8]) -> Result<Self> {
        let broken = |why: String| Error::broken("ext4 superblock", super::SUPERBLOCK.start, why);
        let (ext4, features) =
            Self::fields(superblock).ok_or_else(|| broken("it is too short".to_owned()))?;
        if features & INCOMPAT_META_BG != 0 {
            return Err(Error::Unsupported { what: "ext4 feature", value: INCOMPAT_META_BG.into() });
        }
        if !(1024..=65536).contains(&ext4.block_size) {
            return Err(broken(format!("blocks of {} bytes", ext4.block_size)));
        }
        if ext4.inode_size < OLD_INODE_SIZE || ext4.inodes_per_group == 0 {
            let (size, number) = (ext4.inode_size, ext4.inodes_per_group);
            return Err(broken(format!("{number} inodes of {size} bytes a group")));
        }
        if ext4.descriptor_size < OLD_DESCRIPTOR_SIZE {
            return Err(broken(format!("group descriptors of {} bytes", ext4.descriptor_size)));
        }
        Ok(ext4)
    }

    /// The geometry as stored, and the features that a reader has to know.
    fn fields(superblock: &[u8]) -> Option<(Self, u32)> {
        let block_size = 1024_u64.checked_shl(u32_at(superblock, 0x18)?).unwrap_or_default();
        let first_data_block = u64::from(u32_at(superblock, 0x14)?);
        let features = u32_at(superblock, 0x60)?;
        let wide = features & INCOMPAT_64BIT != 0;
        let ext4 = Self {
            block_size,
            inodes: u32_at(superblock, 0)?,
            inodes_per_group: u32_at(superblock, 0x28)?,
            // Revision 0 has inodes of one size.
            inode_size: if u32_at(superblock, 0x4c)? == 0 {
                OLD_INODE_SIZE
            } else {
                u16_at(superblock, 0x58)?
            },
            descriptors_at: first_data_block.saturating_add(1).saturating_mul(block_size),
            descriptor_size: if wide { u16_at(superblock, 0xfe)? } else { OLD_DESCRIPTOR_SIZE },
        };
        Some((ext4, features))
    }

    pub(super) async fn inode(&self, device: &dyn ReadAt, number: u64) -> Result<Inode> {
        let index = number.checked_sub(1).filter(|_| number <= self.inodes.into());
        let index = index.ok_or_else(|| Error::broken("ext4 inode", 0, format!("number {number}")))?;
        let per_group = u64::from(self.inodes_per_group);
        let group = index.checked_div(per_group).unwrap_or_default();
        let in_group = index.checked_rem(per_group).unwrap_or_default();

        let size = u64::from(self.descriptor_size);
        let at = self.descriptors_at.saturating_add(group.saturating_mul(size));
        let descriptor = read(device, at..at.saturating_add(size)).await?;
        let low = u32_at(&descriptor, 0x8).unwrap_or_default();
        let high = if size >= WIDE_DESCRIPTOR { u32_at(&descriptor, 0x28).unwrap_or_default() } else { 0 };
        let table = (u64::from(high) << 32 | u64::from(low)).saturating_mul(self.block_size);

        let at = table.saturating_add(in_group.saturating_mul(self.inode_size.into()));
        let inode = read(device, at..at.saturating_add(OLD_INODE_SIZE.into())).await?;
        let short = || Error::broken("ext4 inode", at, "it is too short");
        let mode = u16_at(&inode, 0).ok_or_else(short)?;
        let flags = u32_at(&inode, 0x20).ok_or_else(short)?;
        let low = u32_at(&inode, 0x4).ok_or_else(short)?;
        let high = u32_at(&inode, 0x6c).ok_or_else(short)?;
        let map = inode.get(MAP_AT..).and_then(|map| map.first_chunk()).ok_or_else(short)?;
        let size = u64::from(high) << 32 | u64::from(low);

        let kind = Kind::of_mode(mode);
        let map_at = at.saturating_add(MAP_AT as u64);
        let stored = if flags & FLAG_EXTENTS != 0 {
            Some(ext4_extents::ranges(device, self.block_size, map, map_at, size).await?)
        } else if kind == Kind::Link && size < ext4_extents::MAP_SIZE as u64 {
            Some(std::iter::once(map_at..map_at.saturating_add(size)).collect())
        } else if size == 0 || kind == Kind::Special {
            Some(Vec::new())
        } else {
            None
        };
        Ok(Inode { kind, stored })
    }

    pub(super) fn names<'a>(&self, content: &'a [u8]) -> Result<Vec<(&'a [u8], u64)>> {
        let mut names = Vec::new();
        let block_size = usize::try_from(self.block_size).unwrap_or(usize::MAX);
        for block in content.chunks(block_size) {
            let mut rest = block;
            while rest.len() >= ENTRY_HEAD {
                let broken = |why: &str| Error::broken("ext4 directory", 0, why.to_owned());
                let inode = u32_at(rest, 0).unwrap_or_default();
                let len = match usize::from(u16_at(rest, 4).unwrap_or_default()) {
                    // 65536 does not fit the field.
                    0 | 0xffff if block_size == 1 << 16 => rest.len(),
                    len => len,
                };
                let (entry, next) = rest
                    .split_at_checked(len)
                    .filter(|_| len >= ENTRY_HEAD)
                    .ok_or_else(|| broken("an entry that does not fit its block"))?;
                let name_len = entry.get(6).copied().map_or(0, usize::from);
                let name = entry.get(ENTRY_HEAD..).and_then(|name| name.get(..name_len));
                if inode != 0 {
                    names.push((
                        name.ok_or_else(|| broken("a name that does not fit its entry"))?,
                        inode.into(),
                    ));
                }
                rest = next;
            }
        }
        Ok(names)
    }
}

/// The inode of the root directory.
pub(super) const ROOT: u64 = 2;

// The kernel's documentation, "ext4 Data Structures and Algorithms", has these numbers.
const MAGIC: u16 = 0xef53;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
const OLD_INODE_SIZE: u16 = 128;
const OLD_DESCRIPTOR_SIZE: u16 = 32;
/// A descriptor of this size has the upper halves of its block numbers.
const WIDE_DESCRIPTOR: u64 = 64;
const FLAG_EXTENTS: u32 = 0x8_0000;
const MAP_AT: usize = 0x28;
/// Inode, length of the entry, length of the name, and type.
const ENTRY_HEAD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Warm;
    use crate::filesystem::Filesystem;
    use async_trait::async_trait;
    use futures::executor::block_on;
    use std::collections::BTreeMap;

    /// A device of 2⁵⁶ bytes that is zero but for a few places.
    #[derive(Debug)]
    struct Vast(BTreeMap<u64, Vec<u8>>);

    #[async_trait]
    impl ReadAt for Vast {
        fn size(&self) -> u64 {
            1 << 56
        }

        async fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
            buf.fill(0);
            if let Some(bytes) = self.0.get(&offset) {
                buf.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = *byte);
            }
            Ok(())
        }

        fn try_read_at(&self, _: &mut [u8], _: u64) -> Result<Warm> {
            Ok(Warm::No)
        }
    }

    fn record(len: usize, fields: &[(usize, &[u8])]) -> Vec<u8> {
        let mut record = vec![0; len];
        for (at, bytes) in fields {
            record[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        record
    }

    fn superblock() -> Vec<u8> {
        record(
            1024,
            &[
                (0x0, &100_u32.to_le_bytes()),
                (0x18, &[2]),
                (0x28, &50_u32.to_le_bytes()),
                (0x38, &MAGIC.to_le_bytes()),
                (0x4c, &[1]),
                (0x58, &[0, 1]),
                (0x60, &[0xc0]),
                (0xfe, &[64]),
            ],
        )
    }

    #[test]
    fn block_numbers_have_all_their_bits() {
        let map = record(60, &[(0, &[0x0a, 0xf3, 1]), (16, &[3]), (18, &[5, 0, 7])]);
        let inode = record(
            128,
            &[(0, &[0, 0x80]), (4, &[1, 0x30]), (0x20, &FLAG_EXTENTS.to_le_bytes()), (MAP_AT, &map)],
        );
        let descriptor = record(64, &[(0x8, &[9]), (0x28, &[1])]);
        let table = (1 << 32 | 9) * 4096;
        let device = Vast(BTreeMap::from([
            (1024, superblock()),
            (4096 + 64, descriptor),
            // The twentieth inode of the second group.
            (table + 19 * 256, inode),
        ]));
        let filesystem = block_on(Filesystem::open(&device)).unwrap();
        let inode = block_on(filesystem.inode(&device, 70)).unwrap();
        let start = (5 << 32 | 7) * 4096;
        assert_eq!(inode.kind, Kind::File);
        assert_eq!(inode.stored.unwrap().first(), Some(&(start..start + 3 * 4096)));
    }

    #[test]
    fn geometry_that_cannot_be_is_refused() {
        for (at, bytes) in [(0x18, [7, 0]), (0x18, [60, 0]), (0x28, [0, 0]), (0x58, [64, 0]), (0xfe, [8, 0])]
        {
            let mut superblock = superblock();
            superblock[at..at + 2].copy_from_slice(&bytes);
            assert!(matches!(Ext4::decode(&superblock), Err(Error::Broken { .. })), "{at:#x}");
        }
        let mut superblock = superblock();
        superblock[0x60] |= 0x10;
        assert!(matches!(Ext4::decode(&superblock), Err(Error::Unsupported { .. })));
    }

    #[test]
    fn entries_that_do_not_fit_are_broken() {
        let ext4 = Ext4::decode(&superblock()).unwrap();
        let entry = |len: u16, name_len: u8| {
            record(4096, &[(0, &[12]), (4, &len.to_le_bytes()), (6, &[name_len]), (8, b"name")])
        };
        assert_eq!(ext4.names(&entry(4096, 4)).unwrap(), [(&b"name"[..], 12)]);
        for (len, name_len) in [(4097, 4), (7, 0), (0, 0), (12, 5), (8, 1)] {
            assert!(matches!(ext4.names(&entry(len, name_len)), Err(Error::Broken { .. })), "{len}");
        }
    }
}
