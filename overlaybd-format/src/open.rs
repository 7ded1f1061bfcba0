//! Opening a blob in few dependent reads.
//!
//! What has to be read of a blob depends on what was read before: the wrappers say where the jump
//! table is, the table says where the LSMT trailer is, the trailer says where the index is. Over a
//! network each such step costs a round trip, so every step reads a little more than it was asked
//! for, and steps that do not depend on each other are one *wave* of parallel reads:
//!
//! 1. the head and the tail of the blob, which for a small layer is all of it;
//! 2. the jump table and some bytes before it, where the last blocks are;
//! 3. the index, and the first block if the head does not hold it.
//!
//! Parsing is written as if all bytes were there ([`Held::get`]). Where they are not, it stops and
//! says what it needs; the wave is read and parsing starts again.

mod held;

use std::sync::Arc;

use futures::future::try_join_all;

use crate::content::Content;
use crate::lsmt::{self, Segment};
use crate::zfile::{self, JumpTable, Layout};
use crate::{Error, Limits, ReadAt, Result, tar};

use held::{Attempt, Held, Stop};

/// Opens what is inside the wrappers of `blob`.
pub(crate) async fn content(blob: Arc<dyn ReadAt>, limits: &Limits) -> Result<Content> {
    waves(&*blob, |held| parse_content(held, &blob, limits)).await
}

/// Opens a sealed layer: its content, its trailer and its index.
pub(crate) async fn layer(blob: Arc<dyn ReadAt>, limits: &Limits) -> Result<Parts> {
    waves(&*blob, |held| parse_layer(held, &blob, limits)).await
}

/// A layer as its parts.
pub(crate) type Parts = (Content, lsmt::Header, Vec<Segment>);

async fn waves<T>(blob: &dyn ReadAt, parse: impl Fn(&Held) -> Attempt<T>) -> Result<T> {
    let mut held = Held::new(blob.size());
    let mut wanted = held.ends();
    loop {
        let reads = wanted.into_iter().map(|range| async move {
            let mut bytes =
                vec![0; usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX)];
            blob.read_at(&mut bytes, range.start).await?;
            Ok::<_, Error>((range.start, bytes))
        });
        held.extend(try_join_all(reads).await?);
        match parse(&held) {
            Ok(parsed) => return Ok(parsed),
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::Need(ranges)) => wanted = ranges,
        }
    }
}

fn parse_content(held: &Held, blob: &Arc<dyn ReadAt>, limits: &Limits) -> Attempt<Content> {
    let unwrapped = tar::unwrap(held.get(held.prefix(0..held.size(), tar::HEAD))?, held.size())?;
    let head = held.get(held.prefix(unwrapped.clone(), zfile::HEADER_SIZE))?;
    if !zfile::Header::detect(head) {
        return Ok(Content::new(Arc::clone(blob), unwrapped, None));
    }
    let mut header = zfile::Header::decode(head, "ZFile header", 0)?;
    let size = unwrapped.end.saturating_sub(unwrapped.start);
    if !header.is_finished() {
        let at = size
            .checked_sub(zfile::HEADER_SIZE as u64)
            .ok_or_else(|| Error::broken("ZFile", 0, "it is shorter than its header"))?;
        let tail = held.get(unwrapped.start.saturating_add(at)..unwrapped.end)?;
        let trailer = zfile::Header::decode(tail, "ZFile trailer", at)?;
        if trailer.is_header() || !trailer.is_sealed() || !trailer.is_data() || !header.is_data() {
            let why = format!("flags {:#x} behind a header with flags {:#x}", trailer.flags, header.flags);
            return Err(Error::broken("ZFile trailer", at, why).into());
        }
        header = trailer;
    }
    let table = JumpTable::stored_at(&header, size, limits)?;
    let table = unwrapped.start.saturating_add(table.start)..unwrapped.start.saturating_add(table.end);
    let first_block = held.prefix(unwrapped.start..table.start, first_block(header.block_size));
    held.require(&[table.clone(), first_block], last_blocks(header.block_size))?;
    let bytes = held.get(table)?;
    let layout = Layout::new(&header, JumpTable::decode(&header, bytes)?);
    Ok(Content::new(Arc::clone(blob), unwrapped, Some(layout)))
}

fn parse_layer(held: &Held, blob: &Arc<dyn ReadAt>, limits: &Limits) -> Attempt<Parts> {
    let content = parse_content(held, blob, limits)?;
    let size = content.size();
    let trailer_at =
        size.checked_sub(lsmt::BLOCK_SIZE as u64).filter(|&at| at >= lsmt::BLOCK_SIZE as u64).ok_or_else(
            || Error::broken("LSMT layer", 0, format!("{size} bytes cannot hold header and trailer")),
        )?;

    let ends = [content.stored(0..lsmt::BLOCK_SIZE as u64)?, content.stored(trailer_at..size)?];
    held.require(&ends, INDEX_GUESS)?;
    let header =
        lsmt::Header::decode(&held.extract(&content, 0..lsmt::BLOCK_SIZE as u64)?, "LSMT header", 0)?;
    if !header.is_header() || !header.is_data() {
        return Err(Error::broken("LSMT header", 0, format!("flags {:#x}", header.flags)).into());
    }
    let trailer =
        lsmt::Header::decode(&held.extract(&content, trailer_at..size)?, "LSMT trailer", trailer_at)?;
    if trailer.is_header() || !trailer.is_data() || !trailer.is_sealed() {
        return Err(Error::broken("LSMT trailer", trailer_at, format!("flags {:#x}", trailer.flags)).into());
    }
    if !trailer.virtual_size.is_multiple_of(lsmt::SECTOR_SIZE) {
        let why = format!("a virtual size of {} bytes, no multiple of a sector", trailer.virtual_size);
        return Err(Error::broken("LSMT trailer", trailer_at, why).into());
    }

    let lsmt::Header { index_offset, index_entries, .. } = trailer;
    if index_entries > limits.layer_segments {
        let (value, limit) = (index_entries, limits.layer_segments);
        return Err(Error::Limit { what: "index entries of a layer", value, limit }.into());
    }
    let index = index_entries
        .checked_mul(lsmt::ENTRY_SIZE as u64)
        .and_then(|len| index_offset.checked_add(len))
        .filter(|&end| end <= trailer_at && trailer_at.saturating_sub(end) < INDEX_PADDING)
        .map(|end| index_offset..end)
        .ok_or_else(|| {
            let why = format!("an index of {index_entries} entries at {index_offset}");
            Error::broken("LSMT trailer", trailer_at, why)
        })?;
    let entries = held.extract(&content, index)?;
    let segments = lsmt::decode(&entries, index_offset, lsmt::data_sectors(index_offset))?;
    Ok((content, trailer, segments))
}

/// Bytes that surely hold the header and the first block of a ZFile, where the LSMT header is.
fn first_block(block_size: u32) -> usize {
    let stored = block_size.saturating_add(block_size / 128).saturating_add(64);
    zfile::HEADER_SIZE.saturating_add(stored as usize)
}

/// Bytes that surely hold the last two blocks of a ZFile, where the LSMT trailer is, and the end of
/// an index before them.
fn last_blocks(block_size: u32) -> u64 {
    let stored = u64::from(block_size).saturating_add(u64::from(block_size) / 128).saturating_add(64);
    INDEX_GUESS.saturating_add(stored.saturating_mul(2))
}

/// No writer leaves this many bytes between index and trailer; a wider gap means that the trailer
/// has lost entries.
const INDEX_PADDING: u64 = 4096;
/// Bytes read ahead of a trailer, where the index is: that of four thousand segments.
const INDEX_GUESS: u64 = 64 << 10;
