//! Cutting a read of the device into pieces that come from one place each.

use crate::Index;
use crate::index::Lookup;
use crate::lsmt::{SECTOR_SIZE, Segment};

/// The pieces of a read, in ascending order, each with its part of the buffer.
pub(super) struct Pieces<'a> {
    lookup: Lookup<'a>,
    pending: Option<Segment>,
    rest: &'a mut [u8],
    at: u64,
}

/// Where the bytes of a piece come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A hole or a discarded range.
    Zeros,
    /// The content of layer `layer`, from byte `at` on.
    Stored { layer: usize, at: u64 },
}

impl<'a> Pieces<'a> {
    pub(super) fn new(index: &'a Index, buf: &'a mut [u8], offset: u64) -> Self {
        let end = offset.saturating_add(buf.len() as u64);
        let lookup = index.lookup(offset / SECTOR_SIZE..end.div_ceil(SECTOR_SIZE));
        Self { lookup, pending: None, rest: buf, at: offset }
    }

    /// Takes the part of the buffer up to byte `end` of the device, or all that is left.
    fn take(&mut self, end: u64) -> &'a mut [u8] {
        let len = usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX).min(self.rest.len());
        let (part, rest) = std::mem::take(&mut self.rest).split_at_mut(len);
        self.rest = rest;
        self.at = self.at.saturating_add(len as u64);
        part
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = (Source, &'a mut [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(segment) = self.pending.take().or_else(|| self.lookup.next()) else {
            return Some((Source::Zeros, self.take(u64::MAX)));
        };
        let start = segment.start().saturating_mul(SECTOR_SIZE);
        if start > self.at {
            self.pending = Some(segment);
            return Some((Source::Zeros, self.take(start)));
        }
        let at =
            segment.stored_at().saturating_mul(SECTOR_SIZE).saturating_add(self.at.saturating_sub(start));
        let part = self.take(segment.end().saturating_mul(SECTOR_SIZE));
        Some(if segment.is_zeroed() {
            (Source::Zeros, part)
        } else {
            (Source::Stored { layer: segment.layer(), at }, part)
        })
    }
}
