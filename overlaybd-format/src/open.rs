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

/// Opens a sealed layer: its content, its trailer and its index, which points into a target of
/// `target_size` bytes too if there is one.
pub(crate) async fn layer(blob: Arc<dyn ReadAt>, target_size: Option<u64>, limits: &Limits) -> Result<Parts> {
    waves(&*blob, |held| parse_layer(held, &blob, target_size, limits)).await
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
    let mut header = zfile::Header::decode_header(head)?;
    let size = unwrapped.end.saturating_sub(unwrapped.start);
    if !header.is_finished() {
        let at = zfile::Header::trailer_range(size)?.start;
        let tail = held.get(unwrapped.start.saturating_add(at)..unwrapped.end)?;
        header = zfile::Header::decode_trailer(tail, at)?;
    }
    let table = JumpTable::stored_at(&header, size, limits)?;
    let table = unwrapped.start.saturating_add(table.start)..unwrapped.start.saturating_add(table.end);
    let first_block = held.prefix(unwrapped.start..table.start, first_block(header.block_size));
    held.require(&[table.clone(), first_block], last_blocks(header.block_size))?;
    let bytes = held.get(table)?;
    let layout = Layout::new(&header, JumpTable::decode(&header, bytes)?);
    Ok(Content::new(Arc::clone(blob), unwrapped, Some(layout)))
}

fn parse_layer(
    held: &Held,
    blob: &Arc<dyn ReadAt>,
    target_size: Option<u64>,
    limits: &Limits,
) -> Attempt<Parts> {
    let content = parse_content(held, blob, limits)?;
    let size = content.size();
    let trailer_at = lsmt::Header::trailer_range(size)?;
    let ends = [content.stored(0..lsmt::BLOCK_SIZE as u64)?, content.stored(trailer_at.clone())?];
    held.require(&ends, INDEX_GUESS)?;
    lsmt::Header::decode_header(&held.extract(&content, 0..lsmt::BLOCK_SIZE as u64)?)?;
    let trailer =
        lsmt::Header::decode_trailer(&held.extract(&content, trailer_at.clone())?, trailer_at.start)?;
    let entries = held.extract(&content, trailer.index_range(size, limits)?)?;
    let segments = match target_size {
        Some(target_size) => trailer.decode_index_with_target(&entries, size, target_size)?,
        None => trailer.decode_index(&entries)?,
    };
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

/// Bytes read ahead of a trailer, where the index is: that of four thousand segments.
const INDEX_GUESS: u64 = 64 << 10;
