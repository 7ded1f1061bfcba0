//! The index of a sealed layer: from stored entries to segments that can be trusted.

use std::ops::Range;

use crate::index_only::target_sector;
use crate::lsmt::header::{BLOCK_SIZE, Header};
use crate::lsmt::segment::{SECTOR_SIZE, Segment};
use crate::lsmt::tags::{TargetSectors, Untagged, tag};
use crate::{Error, Limits, Result};

impl Header {
    /// Where the index is, by a trailer of a stream of `size` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if it does not lie between header and trailer or leaves a gap before the latter;
    /// [`Error::Limit`].
    pub fn index_range(&self, size: u64, limits: &Limits) -> Result<Range<u64>> {
        let Self { index_offset, index_entries, .. } = *self;
        if index_entries > limits.layer_segments {
            let (value, limit) = (index_entries, limits.layer_segments);
            return Err(Error::Limit { what: "index entries of a layer", value, limit });
        }
        let trailer_at = size.saturating_sub(BLOCK_SIZE as u64);
        let end = index_entries.checked_mul(ENTRY_SIZE as u64).and_then(|len| index_offset.checked_add(len));
        match end {
            Some(end) if end <= trailer_at && trailer_at.saturating_sub(end) < INDEX_PADDING => {
                Ok(index_offset..end)
            }
            _ => {
                let why = format!("an index of {index_entries} entries at {index_offset}");
                Err(Error::broken("LSMT trailer", trailer_at, why))
            }
        }
    }

    /// Decodes the index from its bytes, those of [`index_range`](Self::index_range), by a trailer.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] naming the entry that breaks a rule: entries ascend without overlap, none is
    /// empty, and each points between header and index. [`Error::MissingTarget`] for the index of an
    /// index-only layer.
    pub fn decode_index(&self, bytes: &[u8]) -> Result<Vec<Segment>> {
        decode(bytes, self.index_offset, data_sectors(self.index_offset), None)
    }

    /// Decodes the index of an index-only layer, whose stream has `size` bytes and whose target has
    /// `target_size`. The segments point into both as one: the target begins where the stream ends,
    /// rounded up to a sector.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`], as [`decode_index`](Self::decode_index), and for entries that point outside the
    /// target.
    pub fn decode_index_with_target(
        &self,
        bytes: &[u8],
        size: u64,
        target_size: u64,
    ) -> Result<Vec<Segment>> {
        let target = TargetSectors { start: target_sector(size), len: target_size / SECTOR_SIZE };
        decode(bytes, self.index_offset, data_sectors(self.index_offset), Some(target))
    }
}

/// Decodes the entries in `bytes`, which stand at byte `at` of the stream, and checks what a reader
/// relies on: ascending order without overlap, no empty segment, and every mapping inside `data`, the
/// sectors of the stream between header and index, or inside the target of an index-only layer.
///
/// # Errors
///
/// [`Error::Broken`] naming the entry that breaks a rule; [`Error::MissingTarget`] for the index of an
/// index-only layer without a target.
pub(super) fn decode(
    bytes: &[u8],
    at: u64,
    data: Range<u64>,
    target: Option<TargetSectors>,
) -> Result<Vec<Segment>> {
    let mut segments: Vec<Segment> = Vec::with_capacity(bytes.len() / ENTRY_SIZE);
    let mut free_from = 0;
    let mut untagged = Untagged::default();
    for (number, entry) in bytes.as_chunks::<ENTRY_SIZE>().0.iter().enumerate() {
        let Some(segment) = Segment::decode(entry) else { continue };
        let tag = tag(entry);
        let placed = match target {
            Some(target) => target.place(segment, tag, free_from, &data),
            None if untagged.is_broken_by(segment, tag) => return Err(Error::MissingTarget),
            None => fault(segment, free_from, &data).map_or(Ok(segment), Err),
        };
        let placed = placed.map_err(|why| {
            let at = at.saturating_add((number as u64).saturating_mul(ENTRY_SIZE as u64));
            let found = segment.stored_at();
            let sectors = segment.sectors();
            let why = format!(
                "{why} (number {number}, device sectors {sectors:?}, stored at sector {found}, data sectors {data:?})"
            );
            Error::broken("LSMT index entry", at, why)
        })?;
        free_from = placed.end();
        segments.push(placed);
    }
    segments.shrink_to_fit();
    Ok(segments)
}

/// Why `segment` cannot be an entry of an index whose entries before it end at `free_from`.
pub(crate) fn fault(segment: Segment, free_from: u64, data: &Range<u64>) -> Option<&'static str> {
    let stored_at = segment.stored_at();
    let stored_end = stored_at.saturating_add(segment.len());
    let inside = if segment.is_zeroed() {
        data.start <= stored_at && stored_at <= data.end
    } else {
        data.start <= stored_at && stored_end <= data.end
    };
    if segment.is_empty() {
        Some("the segment is empty")
    } else if segment.start() < free_from {
        Some("the segment overlaps or precedes the one before it")
    } else if !inside {
        Some(OUTSIDE)
    } else {
        None
    }
}

/// No writer leaves this many bytes between index and trailer; a wider gap means that the trailer
/// has lost entries.
const INDEX_PADDING: u64 = 4096;
pub(super) const OUTSIDE: &str = "the segment points outside the data";

/// Bytes of an index entry.
pub(crate) const ENTRY_SIZE: usize = 16;

/// The sectors of a stream that may hold data, if its index starts at byte `index_offset`.
const fn data_sectors(index_offset: u64) -> Range<u64> {
    FIRST_DATA_SECTOR..index_offset / SECTOR_SIZE
}

/// The sector after the header.
pub(crate) const FIRST_DATA_SECTOR: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsmt::segment::SENTINEL;

    fn entries(list: &[(u64, u64, u64, bool)]) -> Vec<u8> {
        list.iter()
            .flat_map(|&(start, len, at, zeroed)| Segment::new(start, len, at, zeroed).unwrap().encode())
            .collect()
    }

    #[test]
    fn padding_is_dropped_wherever_it_stands() {
        let mut bytes = entries(&[(0, 8, 8, false), (16, 8, 16, false)]);
        bytes.splice(16..16, SENTINEL);
        assert_eq!(decode(&bytes, 0, 8..24, None).unwrap().len(), 2);
    }

    #[test]
    fn each_rule_has_its_fault() {
        for (list, why) in [
            (vec![(0, 0, 8, false)], "empty"),
            (vec![(0, 8, 8, false), (7, 8, 16, false)], "overlaps"),
            (vec![(8, 8, 8, false), (0, 8, 16, false)], "overlaps"),
            (vec![(0, 8, 7, false)], "outside the data"),
            (vec![(0, 8, 17, false)], "outside the data"),
            (vec![(0, 8, 25, true)], "outside the data"),
        ] {
            let error = decode(&entries(&list), 4096, 8..24, None).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(
            decode(&entries(&[(0, 8, 24, true)]), 0, 8..24, None).is_ok(),
            "a zeroed mapping may point at the end"
        );
    }
}
