//! From the pieces of a download to chunks.

use std::collections::VecDeque;
use std::mem;

use bytes::Bytes;

use crate::flight::Landing;
use crate::stats::Meter;

/// Cuts the pieces of a download into chunks, each in a buffer of its own, so that no chunk keeps a
/// larger buffer alive.
pub(crate) struct Assembly {
    /// Where the next piece belongs.
    at: u64,
    landings: VecDeque<Landing>,
    /// The bytes of the first landing that have arrived.
    partial: Vec<u8>,
}

impl Assembly {
    /// Waits for the chunks of `landings`, in ascending order, the first one's offset being where the download
    /// starts.
    pub(crate) fn new(landings: Vec<Landing>) -> Self {
        let at = landings.first().map_or(0, |landing| landing.key.offset);
        Self { at, landings: landings.into(), partial: Vec::new() }
    }

    /// What is not complete.
    pub(crate) fn into_rest(self) -> impl Iterator<Item = Landing> {
        self.landings.into_iter()
    }

    /// Takes bytes off the front of `piece`; gives the next chunk once it is complete. Bytes between two
    /// chunks are counted and let go: somebody else brings them, or they are here.
    pub(crate) fn fill(&mut self, piece: &mut Bytes, meter: &Meter) -> Option<(Landing, Bytes)> {
        let key = &self.landings.front()?.key;
        let len = key.len as usize;
        let gap = self.take(piece, key.offset.saturating_sub(self.at));
        meter.counts.bytes_in_gaps.add(gap.len() as u64);
        let wanted = len.saturating_sub(self.partial.len());
        self.partial.reserve_exact(wanted);
        let part = self.take(piece, wanted as u64);
        self.partial.extend_from_slice(&part);
        if self.partial.len() < len {
            return None;
        }
        let chunk = Bytes::from(mem::take(&mut self.partial));
        Some((self.landings.pop_front()?, chunk))
    }

    fn take(&mut self, piece: &mut Bytes, most: u64) -> Bytes {
        let part = piece.split_to(usize::try_from(most).unwrap_or(usize::MAX).min(piece.len()));
        self.at = self.at.saturating_add(part.len() as u64);
        part
    }
}
