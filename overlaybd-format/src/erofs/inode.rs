//! Inodes: 32 bytes, or 64 where owners, sizes or times need them.
//!
//! ```text
//!                     compact  extended
//!  format, layout       0, 2     0, 2      place: the first block, the device number, or how chunks are made
//!  attributes           2, 2     2, 2
//!  mode                 4, 2     4, 2
//!  links                6, 2    44, 4
//!  size                 8, 4     8, 8
//!  place               16, 4    16, 4
//!  owner, group        24, 2+2  24, 4+4
//!  time                   –     32, 8+4
//! ```

use crate::fields::{u16_at, u32_at, u64_at};

/// An inode as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InodeRecord {
    pub(crate) layout: Layout,
    /// How many words of attributes follow; see [`attributes_len`].
    pub(crate) attributes: u16,
    /// Type and permissions, inode(7).
    pub(crate) mode: u16,
    /// Of the content, in bytes.
    pub(crate) size: u64,
    pub(crate) place: u32,
    /// What only a reader of whole files asks for.
    #[cfg(feature = "convert")]
    pub(crate) more: More,
    /// Bytes of the record itself.
    pub(crate) len: u64,
}

/// How the content of an inode is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// In consecutive blocks.
    Plain,
    /// Likewise, but for what does not fill a block, which is behind the inode.
    Inline,
    /// In chunks of some blocks each, named by a table behind the inode.
    Chunks,
    /// Compressed.
    Other,
}

/// Fields that compact inodes have in part.
#[cfg(feature = "convert")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct More {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
    pub(crate) links: u32,
}

impl InodeRecord {
    /// Whether the inode that starts with `record` has [`EXTENDED`] bytes, not [`COMPACT`].
    pub(crate) fn is_extended(record: &[u8]) -> bool {
        record.first().is_some_and(|format| format & 1 != 0)
    }

    /// Decodes a whole record; none if it is too short.
    pub(crate) fn decode(record: &[u8]) -> Option<Self> {
        let extended = Self::is_extended(record);
        let layout = match u16_at(record, 0)? >> 1 & 7 {
            0 => Layout::Plain,
            2 => Layout::Inline,
            4 => Layout::Chunks,
            _ => Layout::Other,
        };
        Some(Self {
            layout,
            attributes: u16_at(record, 2)?,
            mode: u16_at(record, 4)?,
            size: if extended { u64_at(record, 8)? } else { u32_at(record, 8)?.into() },
            place: u32_at(record, 16)?,
            #[cfg(feature = "convert")]
            more: More::decode(record, extended)?,
            len: if extended { EXTENDED } else { COMPACT },
        })
    }

    /// Bytes of the attributes behind the inode.
    pub(crate) fn attributes_len(&self) -> u64 {
        match u64::from(self.attributes) {
            0 => 0,
            // A header of 12 bytes, and 4 for each further count.
            count => count.saturating_sub(1).saturating_mul(4).saturating_add(12),
        }
    }
}

#[cfg(feature = "convert")]
impl InodeRecord {
    /// The record in its extended form, of an inode with the number `number`.
    pub(crate) fn encode(&self, number: u64) -> [u8; 64] {
        let layout: u16 = if self.layout == Layout::Inline { 2 } else { 0 };
        // Only there for systems whose inode numbers have 32 bits.
        let [number @ .., _, _, _, _] = number.to_le_bytes();
        super::record(&[
            (0, &(layout << 1 | 1).to_le_bytes()),
            (2, &self.attributes.to_le_bytes()),
            (4, &self.mode.to_le_bytes()),
            (8, &self.size.to_le_bytes()),
            (16, &self.place.to_le_bytes()),
            (20, &number),
            (24, &self.more.uid.to_le_bytes()),
            (28, &self.more.gid.to_le_bytes()),
            (32, &self.more.seconds.to_le_bytes()),
            (40, &self.more.nanoseconds.to_le_bytes()),
            (44, &self.more.links.to_le_bytes()),
        ])
    }
}

#[cfg(feature = "convert")]
impl More {
    fn decode(record: &[u8], extended: bool) -> Option<Self> {
        Some(if extended {
            Self {
                uid: u32_at(record, 24)?,
                gid: u32_at(record, 28)?,
                seconds: u64_at(record, 32)?.cast_signed(),
                nanoseconds: u32_at(record, 40)?,
                links: u32_at(record, 44)?,
            }
        } else {
            Self {
                uid: u16_at(record, 24)?.into(),
                gid: u16_at(record, 26)?.into(),
                seconds: 0,
                nanoseconds: 0,
                links: u16_at(record, 6)?.into(),
            }
        })
    }
}

/// Bytes of a record, and the unit that inode numbers count.
pub(crate) const COMPACT: u64 = 32;
pub(crate) const EXTENDED: u64 = 64;
