//! What an index-only layer needs of a tar.
//!
//! The sectors of a file are sectors of the tar, where its content starts at one: all of an ordinary file, the last
//! sector with the padding behind it. The pieces of a sparse file may start and end anywhere; the sectors that are
//! not wholly of one piece are held, to be stored in the layer.

use std::io::Read;

use super::apply::LayerEntry;
use super::tree::{Budget, attribute_bytes};
use crate::lsmt::SECTOR_SIZE;
use crate::oci_tar::{ContentRange, EntryKind, TarEntry, TarReader};
use crate::{Limits, Result};

/// The entries of a tar, with the places of their contents.
///
/// Reading one needs nothing of other layers, so the layers of an image can be read at the same time.
#[derive(Debug)]
pub struct TarIndex {
    pub(super) entries: Vec<LayerEntry>,
    /// Where the contents are, in the order of the entries, by their numbers.
    pub(super) contents: Vec<(usize, Vec<Piece>)>,
}

/// A part of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Whole sectors of the tar.
    InTar { offset: u64, len: u64, at: u64 },
    /// Bytes that the tar has elsewhere than in sectors of their own.
    Held { offset: u64, bytes: Vec<u8> },
}

impl TarIndex {
    /// Reads a tar up to the end of its archive, where `tar` is left.
    ///
    /// # Errors
    ///
    /// As [`TarReader::next_entry`]; [`Error::Limit`](crate::Error::Limit) for more than
    /// [`Limits::files`] or [`Limits::file_bytes`].
    pub fn read(tar: impl Read, limits: &Limits) -> Result<Self> {
        let mut reader = TarReader::new(tar, limits);
        let mut budget = Budget::new(limits);
        let mut index = Self { entries: Vec::new(), contents: Vec::new() };
        while let Some(mut entry) = reader.next_entry()? {
            budget.charge(1, size(&entry))?;
            if let EntryKind::File { size, content } = &mut entry.kind
                && !content.is_empty()
            {
                let pieces = pieces(&mut reader, *size, &std::mem::take(content), &mut budget)?;
                index.contents.push((index.entries.len(), pieces));
            }
            index.entries.push(LayerEntry { entry, at: reader.entry_at() });
        }
        Ok(index)
    }
}

/// What of an entry is held, in bytes.
pub(super) fn size(entry: &TarEntry) -> u64 {
    let kind = match &entry.kind {
        EntryKind::HardLink { target } | EntryKind::Symlink { target } => target.len(),
        EntryKind::File { content, .. } => content.len().saturating_mul(size_of::<ContentRange>()),
        _ => 0,
    };
    let xattrs = entry.xattrs.iter().map(|(name, value)| attribute_bytes(name, value));
    xattrs.fold(entry.path.len().saturating_add(kind), usize::saturating_add) as u64
}

fn pieces<R: Read>(
    reader: &mut TarReader<R>,
    size: u64,
    content: &[ContentRange],
    budget: &mut Budget,
) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut held = Vec::new();
    for range in content {
        let end = range.offset.saturating_add(range.len);
        let sectors = sectors(range, end == size);
        let in_tar = sectors.end.saturating_sub(sectors.start);
        if in_tar > 0 {
            let at = range.at.saturating_add(sectors.start.saturating_sub(range.offset));
            pieces.push(Piece::InTar { offset: sectors.start, len: in_tar, at });
        }
        for (start, end) in [(range.offset, sectors.start.min(end)), (sectors.end.max(range.offset), end)] {
            let len = end.saturating_sub(start);
            if len > 0 {
                budget.charge(0, len)?;
                held.push((start, len, range.at.saturating_add(start.saturating_sub(range.offset))));
            }
        }
    }
    for (offset, len, at) in held {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        reader.skip_content_to(at)?;
        reader.read_content(&mut bytes)?;
        pieces.push(Piece::Held { offset, bytes });
    }
    Ok(pieces)
}

/// The sectors of a file that are sectors of the tar as well, in bytes of the file; if there are none, the end of
/// the piece, twice. What is behind the last byte of a file is padding there and nothing here.
fn sectors(range: &ContentRange, is_last: bool) -> std::ops::Range<u64> {
    let end = range.offset.saturating_add(range.len);
    let rest = end % SECTOR_SIZE;
    let start = range.offset.checked_next_multiple_of(SECTOR_SIZE).unwrap_or(u64::MAX);
    let to = end.saturating_sub(rest).saturating_add(if is_last && rest > 0 { SECTOR_SIZE } else { 0 });
    if range.at % SECTOR_SIZE == range.offset % SECTOR_SIZE && start < to { start..to } else { end..end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_of_a_piece() {
        let sectors = |offset, len, at, is_last| {
            let sectors = sectors(&ContentRange { offset, len, at }, is_last);
            (sectors.start, sectors.end)
        };
        assert_eq!(sectors(0, 1000, 512, true), (0, 1024), "the last sector with its padding");
        assert_eq!(sectors(0, 1000, 512, false), (0, 512));
        assert_eq!(sectors(512, 512, 1536, false), (512, 1024));
        assert_eq!(sectors(100, 2000, 612, false), (512, 2048));
        assert_eq!(sectors(100, 500, 612, false), (600, 600));
        assert_eq!(sectors(0, 1000, 513, true), (1000, 1000), "not at a sector of the tar");
        assert_eq!(sectors(512, 9, 512, true), (512, 1024));
    }
}
