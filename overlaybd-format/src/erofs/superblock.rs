//! The superblock, 128 bytes at byte 1024 of the device.
//!
//! ```text
//!  0  magic, 4          12  log2 of the block size, 1    36  blocks, 4           80  incompatible features, 4
//!  4  checksum, 4       14  number of the root, 2        40  metadata block, 4   90  log2 of directory blocks, 1
//!  8  features, 4       16  inodes, 8                    48  UUID, 16
//! ```

use crate::fields::{u16_at, u32_at, u64_at};
use crate::{Error, Result};

/// The geometry of an EROFS filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Bytes of a block, a power of two.
    pub(crate) block_size: u64,
    /// Where inode 0 is, in blocks.
    pub(crate) meta_block: u32,
    /// The number of the root directory.
    pub(crate) root: u16,
    /// Blocks of the device that are used.
    pub(crate) blocks: u32,
    /// Number of inodes.
    pub(crate) inodes: u64,
}

impl Superblock {
    pub(crate) fn detect(superblock: &[u8]) -> bool {
        u32_at(superblock, 0) == Some(MAGIC)
    }

    /// # Errors
    ///
    /// [`Error::Broken`]; [`Error::Unsupported`] for features that move what is looked for here.
    pub(crate) fn decode(superblock: &[u8]) -> Result<Self> {
        let broken = |why: String| Error::broken("EROFS superblock", SUPERBLOCK_AT, why);
        let short = || broken("it is too short".to_owned());
        let features = u32_at(superblock, 80).ok_or_else(short)?;
        if features & !KNOWN_FEATURES != 0 {
            let value = u64::from(features & !KNOWN_FEATURES);
            return Err(Error::Unsupported { what: "EROFS features", value });
        }
        let shift = superblock.get(12).copied().ok_or_else(short)?;
        let directory_shift = superblock.get(90).copied().ok_or_else(short)?;
        if !(9..=16).contains(&shift) || directory_shift != 0 {
            return Err(broken(format!(
                "blocks of 2^{shift} bytes, directory blocks 2^{directory_shift} times larger"
            )));
        }
        Ok(Self {
            block_size: 1 << shift,
            meta_block: u32_at(superblock, 40).ok_or_else(short)?,
            root: u16_at(superblock, 14).ok_or_else(short)?,
            blocks: u32_at(superblock, 36).ok_or_else(short)?,
            inodes: u64_at(superblock, 16).ok_or_else(short)?,
        })
    }
}

#[cfg(feature = "convert")]
impl Superblock {
    /// The superblock without its checksum.
    pub(crate) fn encode(&self, uuid: crate::Uuid) -> [u8; SUPERBLOCK_LEN] {
        super::record(&[
            (0, &MAGIC.to_le_bytes()),
            (8, &(HAS_CHECKSUM | HAS_MTIME).to_le_bytes()),
            (12, &[u8::try_from(self.block_size.trailing_zeros()).unwrap_or_default()]),
            (14, &self.root.to_le_bytes()),
            (16, &self.inodes.to_le_bytes()),
            (36, &self.blocks.to_le_bytes()),
            (40, &self.meta_block.to_le_bytes()),
            (48, uuid.as_bytes()),
        ])
    }

    /// Puts the checksum into `block`, the first block of the device from the superblock on.
    pub(crate) fn seal(block: &mut [u8]) {
        let checksum = checksum(block);
        if let Some(field) = block.get_mut(CHECKSUM) {
            field.copy_from_slice(&checksum.to_le_bytes());
        }
    }

    /// Checks `block`, the first block of the device from the superblock on, if it has a checksum.
    ///
    /// # Errors
    ///
    /// [`Error::Checksum`].
    pub(crate) fn verify(block: &[u8]) -> Result<()> {
        let (stored, features) = (u32_at(block, 4).unwrap_or(0), u32_at(block, 8).unwrap_or(0));
        let computed = checksum(block);
        if features & HAS_CHECKSUM != 0 && stored != computed {
            let what = "EROFS superblock";
            return Err(Error::Checksum { what, at: SUPERBLOCK_AT, stored, computed });
        }
        Ok(())
    }
}

/// CRC-32C without the final inversion, its own field being zero.
#[cfg(feature = "convert")]
fn checksum(block: &[u8]) -> u32 {
    let (head, rest) = (block.get(..CHECKSUM.start), block.get(CHECKSUM.end..));
    let crc = crc32c::crc32c(head.unwrap_or_default());
    !crc32c::crc32c_append(crc32c::crc32c_append(crc, &[0; 4]), rest.unwrap_or_default())
}

// The kernel's fs/erofs/erofs_fs.h and its documentation of EROFS have these numbers.
const MAGIC: u32 = 0xe0f5_e1e2;
/// Where the superblock is, in bytes of the device; it leaves room for a boot sector.
pub(crate) const SUPERBLOCK_AT: u64 = 1024;
#[cfg(feature = "convert")]
pub(crate) const SUPERBLOCK_LEN: usize = 128;
#[cfg(feature = "convert")]
const CHECKSUM: std::ops::Range<usize> = 4..8;
#[cfg(feature = "convert")]
const HAS_CHECKSUM: u32 = 1;
/// The time of an inode is that of its content.
#[cfg(feature = "convert")]
const HAS_MTIME: u32 = 2;
/// Features that say no more than that some files may be compressed, deduplicated, chunked or on
/// further devices, or how attributes are named. Those above move inodes or widen block numbers.
const KNOWN_FEATURES: u32 = 0x7f;
