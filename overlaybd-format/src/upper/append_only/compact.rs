//! Copying what is live of an append-only layer, so that its garbage can go.

use super::AppendOnly;
use crate::Result;
use crate::lsmt::{SECTOR_SIZE, Segment};
use crate::upper::locks::{lock, shared};
use crate::upper::{MAX_WRITE, Storage, UpperOptions};

impl AppendOnly {
    /// Writes what is live into two empty files, in the order of the device and durable when this
    /// returns, and gives the new layer. The old one is as it was.
    ///
    /// Nothing may be written meanwhile; [`WritableImage::compact`](crate::WritableImage::compact)
    /// compacts a layer in use.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`](crate::Error::Refused) if a file is not empty, [`Error::Io`](crate::Error::Io).
    pub fn compact(&self, data: impl Storage + 'static, index: impl Storage + 'static) -> Result<Self> {
        let compacted = self.copy_live(data, index)?.0;
        compacted.flush()?;
        Ok(compacted)
    }

    /// Copies what is live now, and tells where the data ended: what is written meanwhile is stored
    /// behind it.
    pub(crate) fn copy_live(
        &self,
        data: impl Storage + 'static,
        index: impl Storage + 'static,
    ) -> Result<(Self, u64)> {
        self.check()?;
        // Taken before the segments, so that a write in between is copied twice and not missed.
        let (header, end) = self.extent();
        let options = UpperOptions::new(self.virtual_size()).with_identity(header.uuid, header.parent_uuid);
        let copy = Self::create(data, index, &options)?;
        copy.set_index_unit(self.index_unit());
        copy.stack_on(lock(&self.tail).tag);
        copy.take_over(self, 0)?;
        Ok((copy, end))
    }

    /// Copies the segments of `from` that are stored at or behind byte `end` of its data file.
    pub(crate) fn take_over(&self, from: &Self, end: u64) -> Result<()> {
        let segments: Vec<Segment> = shared(&from.mappings)
            .iter()
            .filter(|segment| segment.stored_at().saturating_mul(SECTOR_SIZE) >= end)
            .collect();
        let mut run = Run { from, to: self, start: 0, bytes: Vec::new() };
        for segment in segments {
            if segment.is_zeroed() {
                run.write()?;
                self.discard(
                    segment.start().saturating_mul(SECTOR_SIZE),
                    segment.len().saturating_mul(SECTOR_SIZE),
                )?;
            } else {
                run.add(segment)?;
            }
        }
        run.write()
    }
}

/// Segments that follow one another on the device, copied as one write: their garbage is what kept
/// them apart.
struct Run<'a> {
    from: &'a AppendOnly,
    to: &'a AppendOnly,
    /// Where `bytes` go, in bytes of the device.
    start: u64,
    bytes: Vec<u8>,
}

impl Run<'_> {
    fn add(&mut self, segment: Segment) -> Result<()> {
        let at = segment.start().saturating_mul(SECTOR_SIZE);
        let len = usize::try_from(segment.len().saturating_mul(SECTOR_SIZE)).unwrap_or(usize::MAX);
        let follows = self.start.saturating_add(self.bytes.len() as u64) == at;
        if !follows || self.bytes.len().saturating_add(len) > MAX_WRITE {
            self.write()?;
            self.start = at;
        }
        let held = self.bytes.len();
        self.bytes.resize(held.saturating_add(len), 0);
        let room = self.bytes.get_mut(held..).unwrap_or_default();
        self.from.data().read(room, segment.stored_at().saturating_mul(SECTOR_SIZE))
    }

    fn write(&mut self) -> Result<()> {
        self.to.write(self.start, &self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}
