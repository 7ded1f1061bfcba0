//! Directories: blocks of entries, each with the names of its entries behind them.
//!
//! ```text
//!  ┌ inode, 8 │ name at, 2 │ type, 1 │ –, 1 ┐ … ┌ names, one after the other ┐ zeros to the end of the block
//! ```
//!
//! The names of a directory ascend by their bytes, `.` and `..` among them.

use crate::fields::{u16_at, u64_at};
use crate::{Error, Result};

/// An entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a [u8],
    /// The number of the inode.
    pub(crate) inode: u64,
}

/// The entries in all of a directory's content, in blocks of `block_size` bytes.
///
/// # Errors
///
/// [`Error::Broken`].
pub(crate) fn decode(content: &[u8], block_size: u64) -> Result<Vec<Entry<'_>>> {
    let broken = |why: &str| Error::broken("EROFS directory", 0, why.to_owned());
    let mut found = Vec::new();
    for block in content.chunks(usize::try_from(block_size).unwrap_or(usize::MAX)) {
        // The names stand behind the entries, so the first one says how many entries there are.
        let first = u16_at(block, NAME_AT).map_or(0, usize::from);
        let entries =
            block.get(..first).filter(|_| first > 0).map(|entries| entries.as_chunks::<ENTRY_SIZE>().0);
        let entries = entries.ok_or_else(|| broken("names outside their block"))?;
        for (number, entry) in entries.iter().enumerate() {
            let start = u16_at(entry, NAME_AT).map_or(0, usize::from);
            let next = entries.get(number.saturating_add(1)).and_then(|next| u16_at(next, NAME_AT));
            let end = next.map_or(block.len(), usize::from);
            let name = block.get(start..end).ok_or_else(|| broken("names out of order"))?;
            // The last name ends at a NUL or with the block.
            let len = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
            let name = name.get(..len).unwrap_or_default();
            found.push(Entry { name, inode: u64_at(entry, 0).unwrap_or_default() });
        }
    }
    Ok(found)
}

/// A directory that is being written: names are added in ascending order.
#[cfg(feature = "convert")]
#[derive(Debug, Default)]
pub(crate) struct Writer {
    content: Vec<u8>,
    /// Entries and names of the last block.
    entries: Vec<(u64, u8, usize)>,
    names: Vec<u8>,
}

#[cfg(feature = "convert")]
impl Writer {
    /// Adds an entry for the inode `inode`, whose type is that of `mode`.
    pub(crate) fn push(&mut self, name: &[u8], inode: u64, mode: u16) {
        let entries = self.entries.len().saturating_add(1).saturating_mul(ENTRY_SIZE);
        if entries.saturating_add(self.names.len()).saturating_add(name.len()) > BLOCK {
            self.end_block();
            self.content.resize(self.content.len().next_multiple_of(BLOCK), 0);
        }
        let kind = match mode & 0xf000 {
            0x8000 => 1,
            0x4000 => 2,
            0x2000 => 3,
            0x6000 => 4,
            0x1000 => 5,
            0xa000 => 7,
            _ => 0,
        };
        self.entries.push((inode, kind, self.names.len()));
        self.names.extend_from_slice(name);
    }

    /// All of the content.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.end_block();
        self.content
    }

    fn end_block(&mut self) {
        let names_at = self.entries.len().saturating_mul(ENTRY_SIZE);
        for (inode, kind, name) in self.entries.drain(..) {
            let name = u16::try_from(names_at.saturating_add(name)).unwrap_or(u16::MAX);
            let entry: [u8; ENTRY_SIZE] = super::record(&[
                (0, &inode.to_le_bytes()),
                (NAME_AT, &name.to_le_bytes()),
                (KIND_AT, &[kind]),
            ]);
            self.content.extend(entry);
        }
        self.content.append(&mut self.names);
    }
}

/// Bytes that a directory with `names`, in ascending order, takes.
#[cfg(feature = "convert")]
pub(crate) fn size<'a>(names: impl Iterator<Item = &'a [u8]>) -> u64 {
    let (mut whole, mut last) = (0_u64, 0_usize);
    for name in names {
        let entry = name.len().saturating_add(ENTRY_SIZE);
        if last.saturating_add(entry) > BLOCK {
            whole = whole.saturating_add(BLOCK as u64);
            last = 0;
        }
        last = last.saturating_add(entry);
    }
    whole.saturating_add(last as u64)
}

/// Bytes of a block that is written.
#[cfg(feature = "convert")]
const BLOCK: usize = 4096;
const ENTRY_SIZE: usize = 12;
/// The places of a name's offset and of the type in an entry.
const NAME_AT: usize = 8;
#[cfg(feature = "convert")]
const KIND_AT: usize = 10;
