//! Where the bytes of files are on a device: as much of ext4 and EROFS as that takes.
//!
//! Nothing here reads a file for its content. A path is followed through directories and links to an
//! inode, and the inode says which bytes of the device its file is stored in.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

mod erofs;
mod ext4;
mod ext4_extents;

use std::ops::Range;

use crate::fields::{u16_at, u32_at};
use crate::{Error, ReadAt, Result};

use erofs::Erofs;
use ext4::Ext4;

/// The filesystem of a device.
#[derive(Debug)]
pub(crate) enum Filesystem {
    Ext4(Ext4),
    Erofs(Erofs),
}

/// A file, directory or link.
#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) kind: Kind,
    /// Where its bytes are on the device, in the order of the file and without its holes; none if
    /// they are stored in a way that cannot be followed here.
    pub(crate) stored: Option<Vec<Range<u64>>>,
}

/// What an inode is, as far as following paths goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    Link,
    /// A device, pipe or socket, which has no bytes.
    Special,
}

impl Filesystem {
    /// Looks at the superblock of `device`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for another filesystem, or one with features that move what is looked for
    /// here; [`Error::Broken`]; whatever reading reports.
    pub(crate) async fn open(device: &dyn ReadAt) -> Result<Self> {
        let superblock = read(device, SUPERBLOCK).await?;
        if Ext4::detect(&superblock) {
            Ext4::decode(&superblock).map(Self::Ext4)
        } else if Erofs::detect(&superblock) {
            Erofs::decode(&superblock).map(Self::Erofs)
        } else {
            let value = u32_at(&superblock, 0).unwrap_or_default().into();
            Err(Error::Unsupported { what: "filesystem, with the magic", value })
        }
    }

    /// The number of the root directory.
    pub(crate) fn root(&self) -> u64 {
        match self {
            Self::Ext4(_) => ext4::ROOT,
            Self::Erofs(erofs) => erofs.root,
        }
    }

    /// The inode `number` of `device`.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] or [`Error::Limit`]; whatever reading reports.
    pub(crate) async fn inode(&self, device: &dyn ReadAt, number: u64) -> Result<Inode> {
        match self {
            Self::Ext4(ext4) => ext4.inode(device, number).await,
            Self::Erofs(erofs) => erofs.inode(device, number).await,
        }
    }

    /// The names in a directory of which `content` is all there is, with the numbers of their inodes.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`].
    pub(crate) fn names<'a>(&self, content: &'a [u8]) -> Result<Vec<(&'a [u8], u64)>> {
        match self {
            Self::Ext4(ext4) => ext4.names(content),
            Self::Erofs(erofs) => erofs.names(content),
        }
    }
}

impl Kind {
    /// The kind in the type bits of a mode, inode(7).
    fn of_mode(mode: u16) -> Self {
        match mode & 0xf000 {
            0x4000 => Self::Directory,
            0x8000 => Self::File,
            0xa000 => Self::Link,
            _ => Self::Special,
        }
    }
}

/// Reads a structure that a filesystem says is in `range`.
async fn read(device: &dyn ReadAt, range: Range<u64>) -> Result<Vec<u8>> {
    let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
    crate::check_bounds(device.size(), range.start, len)?;
    let mut bytes = vec![0; len];
    device.read_at(&mut bytes, range.start).await?;
    Ok(bytes)
}

/// Both filesystems have their superblock in this place.
const SUPERBLOCK: Range<u64> = 1024..2048;
/// Ranges of one file: the reference asks the kernel for no more than 8192.
const MOST_RANGES: usize = 1 << 16;
