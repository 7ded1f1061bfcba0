//! The index file of an append-only layer: segments in the order in which they were written, the
//! later ones over the earlier.
//!
//! Entries are appended only when the data they point to is on the medium, so whatever part of an
//! append survives a crash is true. What was being appended in a crash can be cut short or have
//! sectors missing in the middle; nobody was told that it is durable, and a prefix of it is kept.

use std::ops::Range;
use std::sync::Arc;

use crate::lsmt::{self, ENTRY_SIZE, SENTINEL, Segment};
use crate::upper::Storage;
use crate::upper::header::FileHeader;
use crate::{Error, Limits, Result};

#[derive(Debug)]
pub(super) struct Log {
    header: FileHeader,
    /// Where the next entry goes, in bytes.
    end: u64,
    /// What every append is padded to a multiple of, in entries.
    unit: usize,
}

impl Log {
    pub(super) fn new(header: FileHeader) -> Self {
        Self { header, end: lsmt::BLOCK_SIZE as u64, unit: 1 }
    }

    /// Reads the entries and gives each segment to `each`. `data` are the sectors of the data file.
    /// A torn tail is cut off, for good when this returns.
    pub(super) fn load(
        header: FileHeader,
        data: &Range<u64>,
        limits: &Limits,
        mut each: impl FnMut(Segment),
    ) -> Result<Self> {
        let mut log = Self::new(header);
        let storage = Arc::clone(&log.header.storage);
        let size = storage.length()?;
        let entries = size.saturating_sub(log.end) / ENTRY_LEN;
        if entries > limits.merged_segments {
            let (value, limit) = (entries, limits.merged_segments);
            return Err(
                Error::Limit { what: "entries of an index file", value, limit }.in_blob(storage.name())
            );
        }
        let mut buf = vec![0; READ];
        'whole: while log.end < size {
            let rest = usize::try_from(size.saturating_sub(log.end)).unwrap_or(READ).min(READ);
            let part = buf.get_mut(..rest).unwrap_or_default();
            storage.read(part, log.end)?;
            let entries = part.as_chunks::<ENTRY_SIZE>().0;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                if *entry == NEVER_WRITTEN {
                    break 'whole;
                }
                if let Some(segment) = Segment::decode(entry) {
                    check(segment, log.end, data).map_err(|error| error.in_blob(storage.name()))?;
                    each(segment);
                }
                log.end = log.end.saturating_add(ENTRY_LEN);
            }
        }
        if log.end < size {
            // Entries behind a gap must be gone before an append closes the gap.
            storage.set_length(log.end)?;
            storage.persist()?;
        }
        Ok(log)
    }

    /// Appends `segments` with `tag`. After an error the next append starts at the same place.
    pub(super) fn append(&mut self, segments: &[Segment], tag: u8) -> Result<()> {
        let mut bytes: Vec<u8> = Vec::with_capacity(segments.len().saturating_mul(ENTRY_SIZE));
        bytes.extend(segments.iter().flat_map(|segment| segment.in_layer(tag).encode()));
        let padded = segments.len().next_multiple_of(self.unit);
        bytes.extend(std::iter::repeat_n(SENTINEL, padded.saturating_sub(segments.len())).flatten());
        self.header.storage.write(&bytes, self.end)?;
        self.end = self.end.saturating_add(bytes.len() as u64);
        Ok(())
    }

    pub(super) fn persist(&self) -> Result<()> {
        self.header.storage.persist()
    }

    pub(super) fn header(&mut self) -> &mut FileHeader {
        &mut self.header
    }

    pub(super) fn unit(&self) -> usize {
        self.unit
    }

    pub(super) fn set_unit(&mut self, entries: usize) {
        self.unit = entries.max(1);
    }
}

fn check(segment: Segment, at: u64, data: &Range<u64>) -> Result<()> {
    match lsmt::fault(segment, 0, data) {
        None => Ok(()),
        Some(why) => {
            let (sectors, stored_at) = (segment.sectors(), segment.stored_at());
            let why = format!("{why} (device sectors {sectors:?}, stored at {stored_at}, data {data:?})");
            Err(Error::broken("entry of an index file", at, why))
        }
    }
}

/// What a place reads as that belongs to the file but was not written before a crash. No segment is
/// stored like this: it would be empty.
const NEVER_WRITTEN: [u8; ENTRY_SIZE] = [0; ENTRY_SIZE];
const ENTRY_LEN: u64 = ENTRY_SIZE as u64;
const READ: usize = 256 << 10;
