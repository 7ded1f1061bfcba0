//! Sealing in place: an index and a trailer behind the data make a writable file a layer that
//! anything can read, without copying a byte of it.

use std::sync::Arc;

use super::Storage;
use crate::lsmt::{self, BLOCK_SIZE, ENTRY_SIZE, SECTOR_SIZE, SENTINEL, Segment};
use crate::{Error, Result};

/// Writes index and trailer from byte `at` on. The index is on the medium before the trailer says
/// that there is one, so a crash leaves the file open or sealed.
pub(super) fn seal(
    storage: &Arc<dyn Storage>,
    header: &lsmt::Header,
    at: u64,
    segments: impl Iterator<Item = Segment>,
) -> Result<()> {
    let mut entries = 0u64;
    let mut end = at;
    let mut part = Vec::with_capacity(PART);
    for segment in segments {
        part.extend(segment.encode());
        entries = entries.saturating_add(1);
        if part.len() >= PART {
            storage.write(&part, end)?;
            end = end.saturating_add(part.len() as u64);
            part.clear();
        }
    }
    while !(part.len() as u64).is_multiple_of(SECTOR_SIZE) {
        part.extend(SENTINEL);
    }
    storage.write(&part, end)?;
    end = end.saturating_add(part.len() as u64);
    storage.persist()?;

    let flags = lsmt::FLAG_DATA | lsmt::FLAG_SEALED | header.flags & lsmt::FLAG_SPARSE;
    let trailer = lsmt::Header {
        flags,
        index_offset: at,
        index_entries: entries,
        user_tag: Vec::new(),
        ..header.clone()
    };
    storage.write(&trailer.encode(), end)?;
    storage.set_length(end.saturating_add(BLOCK_SIZE as u64))?;
    storage.persist()
}

/// Where the index of `storage` starts if the file was sealed in place: it ends with a trailer of
/// the layer of `header`, whose index fills what is between it and the data, which ends at or before
/// byte `data_end`.
///
/// A device can hold the bytes of a layer, so a trailer within the data means nothing.
pub(super) fn sealed_at(
    storage: &Arc<dyn Storage>,
    header: &lsmt::Header,
    data_end: u64,
) -> Result<Option<u64>> {
    let size = storage.length()?;
    let Some(trailer_at) = size.checked_sub(BLOCK_SIZE as u64).filter(|&at| at >= data_end) else {
        return Ok(None);
    };
    let mut bytes = vec![0; BLOCK_SIZE];
    storage.read(&mut bytes, trailer_at)?;
    let Ok(trailer) = lsmt::Header::decode(&bytes, "LSMT trailer", trailer_at) else { return Ok(None) };
    let index_end = trailer
        .index_entries
        .checked_mul(ENTRY_SIZE as u64)
        .and_then(|len| trailer.index_offset.checked_add(len))
        .and_then(|end| end.checked_next_multiple_of(SECTOR_SIZE));
    let sealed = !trailer.is_header()
        && trailer.is_data()
        && trailer.is_sealed()
        && trailer.uuid == header.uuid
        && trailer.index_offset >= data_end
        && index_end == Some(trailer_at);
    Ok(sealed.then_some(trailer.index_offset))
}

/// The error for a layer that is to be written on and was sealed.
pub(super) fn refused(storage: &Arc<dyn Storage>) -> Error {
    Error::ReadOnly { what: "a sealed layer" }.in_blob(storage.name())
}

/// Bytes of an index that are encoded at a time.
const PART: usize = 64 << 10;
