//! Which filesystem a device has.

use anyhow::{Result, bail};
use overlaybd_format::ReadAt;

/// A filesystem of container images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filesystem {
    /// ext4, as full mode has it.
    Ext4,
    /// EROFS.
    Erofs,
}

impl Filesystem {
    /// Looks at the superblock, which both have in the same place.
    ///
    /// # Errors
    ///
    /// If it is neither, or cannot be read.
    pub async fn of(device: &dyn ReadAt) -> Result<Self> {
        if device.size() < SUPERBLOCK + LEN as u64 {
            bail!("a device of {} bytes has no filesystem", device.size());
        }
        let mut superblock = [0; LEN];
        device.read_at(&mut superblock, SUPERBLOCK).await?;
        if superblock.starts_with(&EROFS_MAGIC) {
            Ok(Self::Erofs)
        } else if superblock.ends_with(&EXT4_MAGIC) {
            Ok(Self::Ext4)
        } else {
            bail!("the device has neither ext4 nor EROFS on it")
        }
    }

    /// As `mount` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Erofs => "erofs",
        }
    }

    /// The options to mount it with. The journal of ext4 is not replayed, which would be a write.
    pub(super) fn options(self) -> &'static str {
        match self {
            Self::Ext4 => "ro,noload",
            Self::Erofs => "ro",
        }
    }
}

/// Both leave the first KiB to boot loaders.
const SUPERBLOCK: u64 = 1024;
/// Up to the end of the magic of ext4, which is its field `s_magic`.
const LEN: usize = 0x3a;
const EXT4_MAGIC: [u8; 2] = 0xef53_u16.to_le_bytes();
const EROFS_MAGIC: [u8; 4] = 0xe0f5_e1e2_u32.to_le_bytes();

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use overlaybd_format::MemoryBlob;

    use super::*;

    #[test]
    fn filesystems_are_told_by_their_magic() {
        let of = |at: usize, magic: &[u8]| {
            let mut bytes = vec![0; 4096];
            bytes[at..at + magic.len()].copy_from_slice(magic);
            block_on(Filesystem::of(&MemoryBlob::new(bytes)))
        };
        assert_eq!(of(1080, &[0x53, 0xef]).unwrap(), Filesystem::Ext4);
        assert_eq!(of(1024, &[0xe2, 0xe1, 0xf5, 0xe0]).unwrap(), Filesystem::Erofs);
        assert!(of(0, &[0x53, 0xef]).unwrap_err().to_string().contains("neither ext4 nor EROFS"));
        let error = block_on(Filesystem::of(&MemoryBlob::new(vec![0; 1081]))).unwrap_err();
        assert!(error.to_string().contains("1081 bytes"), "{error}");
    }
}
