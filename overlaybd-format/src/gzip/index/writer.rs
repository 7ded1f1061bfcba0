//! Putting a gzip index together.

use super::header::{ENTRY_LEN, HEADER_LEN, Header};
use super::{Checkpoint, coding};
use crate::gzip::members::WINDOW;

/// A gzip index under construction.
#[derive(Debug, Default)]
pub(crate) struct IndexWriter {
    entries: Vec<Entry>,
    /// Bytes of all windows.
    windows_len: u64,
}

#[derive(Debug)]
struct Entry {
    uncompressed: u64,
    compressed: u64,
    bits: u8,
    /// The stored form of the window; none if nothing of it is needed.
    window: Option<Vec<u8>>,
}

impl IndexWriter {
    /// Adds a checkpoint behind all others.
    pub(crate) fn push(&mut self, uncompressed: u64, compressed: u64, bits: u8, window: Option<&[u8]>) {
        let window = window.map(coding::encode);
        self.windows_len = self.windows_len.saturating_add(window.as_ref().map_or(0, |w| w.len() as u64));
        self.entries.push(Entry { uncompressed, compressed, bits, window });
    }

    /// About how many bytes the index takes.
    pub(crate) fn len(&self) -> u64 {
        let table = (self.entries.len() as u64).saturating_mul(STORED_ENTRY);
        self.windows_len.saturating_add(table)
    }

    /// Leaves out checkpoints that are nearer than `span` to the one before.
    pub(crate) fn thin_out(&mut self, span: u64) {
        let mut next = 0;
        self.entries.retain(|entry| {
            let keep = entry.uncompressed >= next;
            if keep {
                next = entry.uncompressed.saturating_add(span);
            }
            keep
        });
        self.windows_len =
            self.entries.iter().filter_map(|e| e.window.as_ref()).map(|w| w.len() as u64).sum();
    }

    /// The bytes of the index of a gzip blob of `gzip_size` bytes.
    pub(crate) fn finish(self, span: u32, gzip_size: u64, uncompressed_size: u64) -> Vec<u8> {
        let mut out = vec![0; HEADER_LEN];
        let mut table = Vec::with_capacity(self.entries.len().saturating_mul(ENTRY_LEN));
        // One window of zeros serves all checkpoints that need none.
        let mut zeros = None;
        let entries = self.entries.len() as u64;
        for Entry { uncompressed, compressed, bits, window } in self.entries {
            let (window_at, window_len) = match window {
                Some(stored) => append(&mut out, &stored),
                None => *zeros.get_or_insert_with(|| append(&mut out, &coding::encode(&[0; WINDOW]))),
            };
            table.extend(Checkpoint { uncompressed, compressed, bits, window_at, window_len }.encode());
        }
        let table_at = out.len() as u64;
        out.extend(coding::encode(&table));
        let index_size = out.len() as u64;
        let header = Header {
            compressed: true,
            span,
            entries,
            gzip_size,
            index_size,
            uncompressed_size,
            table_at,
            table_len: index_size.saturating_sub(table_at),
        };
        out.splice(..HEADER_LEN, header.encode());
        out
    }
}

/// Appends a window; gives its place and length.
fn append(out: &mut Vec<u8>, stored: &[u8]) -> (u64, u32) {
    let place = (out.len() as u64, u32::try_from(stored.len()).unwrap_or(u32::MAX));
    out.extend(stored);
    place
}

/// About how many bytes an entry takes in the compressed table.
const STORED_ENTRY: u64 = 16;
