//! The index of a gzip blob (`gzip.meta`): places where inflating can start.
//!
//! ```text
//! 0        333                                        table
//! ┌────────┬──────────┬──────────┬───┬──────────┬──────────────────────┐
//! │ header │ window 0 │ window 1 │ … │ window n │ 29 bytes for each    │
//! └────────┴──────────┴──────────┴───┴──────────┴──────────────────────┘
//! ```
//!
//! A window is the 32 KiB of output before a checkpoint, which the blocks behind it may refer to. The
//! table is read when the index is opened, a window when it is needed.

mod checkpoint;
pub(super) mod coding;
mod header;
mod writer;

use std::sync::Arc;

use super::members::WINDOW;
use crate::{Error, Limits, ReadAt, Result};

pub(crate) use checkpoint::Checkpoint;
use header::{ENTRY_LEN, HEADER_LEN, Header, broken};
pub(super) use writer::IndexWriter;

/// Where inflating of a gzip blob can start, as written by [`GzipIndexer`](crate::GzipIndexer) or by
/// the reference tools.
///
/// The index says nothing of the blob but its size. That the two belong together is for whoever
/// stores them to know.
#[derive(Debug)]
pub struct GzipIndex {
    blob: Arc<dyn ReadAt>,
    header: Header,
    /// In ascending order, the first one at 0, no two at the same place.
    checkpoints: Vec<Checkpoint>,
}

impl GzipIndex {
    /// Reads the header and the table of the index in `blob`.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`], [`Error::Checksum`], [`Error::Unsupported`] or [`Error::Limit`] for an index
    /// that cannot be used, and whatever reading `blob` reports.
    pub async fn open(blob: impl ReadAt + 'static, limits: &Limits) -> Result<Self> {
        let blob: Arc<dyn ReadAt> = Arc::new(blob);
        if blob.size() < HEADER_LEN as u64 {
            return Err(broken("it is shorter than 333 bytes"));
        }
        let mut head = [0; HEADER_LEN];
        blob.read_at(&mut head, 0).await?;
        let header = Header::decode(&head)?;
        if header.index_size != blob.size() {
            let (said, size) = (header.index_size, blob.size());
            return Err(broken(format!("an index of {said} bytes in a blob of {size} bytes")));
        }
        if header.entries > limits.gzip_checkpoints {
            let (value, limit) = (header.entries, limits.gzip_checkpoints);
            return Err(Error::Limit { what: "checkpoints of a gzip index", value, limit });
        }
        let table_len = header.entries.saturating_mul(ENTRY_LEN as u64);
        if header.table_len > coding::max_stored(table_len) {
            let (stored, entries) = (header.table_len, header.entries);
            return Err(broken(format!("a table of {stored} bytes for {entries} entries")));
        }
        let mut table = vec![0; usize::try_from(header.table_len).unwrap_or(usize::MAX)];
        blob.read_at(&mut table, header.table_at).await?;
        let table =
            coding::decode(table, usize::try_from(table_len).unwrap_or(usize::MAX), header.compressed)
                .ok_or_else(|| broken_table(&header, "it does not decode to an entry for each checkpoint"))?;
        let checkpoints = checkpoints(&header, &table)?;
        Ok(Self { blob, header, checkpoints })
    }

    /// Size of the gzip blob that this is the index of, in bytes.
    #[must_use]
    pub fn gzip_size(&self) -> u64 {
        self.header.gzip_size
    }

    /// Size of what is in the gzip blob, in bytes. The reference counts its first member only.
    #[must_use]
    pub fn uncompressed_size(&self) -> u64 {
        self.header.uncompressed_size
    }

    /// The distance of checkpoints that the writer aimed at, in bytes of the uncompressed stream.
    #[must_use]
    pub fn span(&self) -> u32 {
        self.header.span
    }

    /// Number of places where inflating can start.
    #[must_use]
    pub fn checkpoints(&self) -> usize {
        self.checkpoints.len()
    }

    /// The last checkpoint at or before byte `offset` of the uncompressed stream.
    pub(super) fn checkpoint_before(&self, offset: u64) -> usize {
        self.checkpoints.partition_point(|found| found.uncompressed <= offset).saturating_sub(1)
    }

    pub(super) fn checkpoint(&self, number: usize) -> Option<&Checkpoint> {
        self.checkpoints.get(number)
    }

    /// Where the output of checkpoint `number` ends: at the next one or with the stream.
    pub(super) fn span_end(&self, number: usize) -> u64 {
        let next = self.checkpoint(number.saturating_add(1));
        next.map_or(self.uncompressed_size(), |next| next.uncompressed)
    }

    /// The window of `checkpoint`.
    pub(super) async fn window(&self, checkpoint: &Checkpoint) -> Result<Vec<u8>> {
        let mut stored = vec![0; usize::try_from(checkpoint.window_len).unwrap_or(usize::MAX)];
        self.blob.read_at(&mut stored, checkpoint.window_at).await?;
        coding::decode(stored, WINDOW, self.header.compressed).ok_or_else(|| {
            Error::broken("window of a gzip index", checkpoint.window_at, "it does not decode to 32768 bytes")
        })
    }
}

/// Decodes and checks the table.
fn checkpoints(header: &Header, table: &[u8]) -> Result<Vec<Checkpoint>> {
    let entries = table.as_chunks::<ENTRY_LEN>().0;
    let mut checkpoints: Vec<Checkpoint> = Vec::with_capacity(entries.len());
    for (number, checkpoint) in entries.iter().filter_map(|entry| Checkpoint::decode(entry)).enumerate() {
        let last = checkpoints.last();
        if let Some(why) = fault(header, last, &checkpoint) {
            return Err(broken_table(header, format!("{why} (entry {number}, {checkpoint:?})")));
        }
        // Of several at one place of the output, the last one has the least to inflate.
        match checkpoints.last_mut() {
            Some(last) if last.uncompressed == checkpoint.uncompressed => *last = checkpoint,
            _ => checkpoints.push(checkpoint),
        }
    }
    // Behind one at the very end there is nothing to inflate.
    checkpoints.pop_if(|last| last.uncompressed == header.uncompressed_size && last.uncompressed > 0);
    if checkpoints.is_empty() && header.uncompressed_size > 0 {
        return Err(broken_table(header, "it has no entry"));
    }
    Ok(checkpoints)
}

fn fault(header: &Header, last: Option<&Checkpoint>, checkpoint: &Checkpoint) -> Option<&'static str> {
    let Checkpoint { uncompressed, compressed, bits, window_at, window_len } = *checkpoint;
    let window_end = window_at.saturating_add(window_len.into());
    let max_window = if header.compressed { coding::max_stored(WINDOW as u64) } else { WINDOW as u64 };
    if last.is_none() && uncompressed != 0 {
        Some("the first checkpoint is not at the start")
    } else if last.is_some_and(|last| uncompressed < last.uncompressed || compressed <= last.compressed) {
        Some("the checkpoint precedes the one before it")
    } else if uncompressed > header.uncompressed_size || compressed > header.gzip_size {
        Some("the checkpoint lies beyond the end")
    } else if bits > 7 || compressed == 0 {
        Some("the checkpoint has no such bits")
    } else if window_at < HEADER_LEN as u64
        || window_end > header.table_at
        || u64::from(window_len) > max_window
    {
        Some("the window lies outside the windows")
    } else {
        None
    }
}

fn broken_table(header: &Header, why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::broken("gzip index table", header.table_at, why)
}
