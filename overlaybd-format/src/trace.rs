//! Traces: what a start reads, kept so that a later start can fetch it before it is asked for.
//!
//! ```text
//! 0       4   8              16         20  24         48         72
//! ┌───────┬───┬──────────────┬──────────┬───┬──────────┬──────────┬───
//! │ magic │ – │ 24 × records │ checksum │ – │ record 0 │ record 1 │ …
//! └───────┴───┴──────────────┴──────────┴───┴──────────┴──────────┴───
//! record   op 1 │ – 3 │ layer 4 │ length 8 │ offset 8
//! ```
//!
//! A record names bytes of a layer's *content*, the LSMT stream inside the wrappers, so a trace holds
//! for a layer whatever it is wrapped in. Behind the stream of an index-only layer, from the next whole
//! sector on, is its target; the reference records nothing there and passes over it. The file is the memory of a C++ program: bytes without
//! meaning hold anything, and those of the records are under the checksum all the same.
//!
//! * [`Recorder`] watches the reads of a device and keeps what they touched first.
//! * [`Trace::of`] makes a trace of it, [`Trace::encode`] the file; [`Trace::decode`] reads it.
//! * [`Trace::merge`] makes one trace of several.
//! * [`Trace::blob_ranges`] gives the bytes of the blobs to fetch, for a replay.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

mod merge;
mod pages;
mod range_set;
mod recorder;
mod replay;

use std::ops::Range;

use crate::fields::Fields;
use crate::zfile::raw_crc32c;
use crate::{Error, Limits, Result};

pub use recorder::Recorder;
pub use replay::BlobRange;

/// What was read of the layers of a stack, in the order in which it was read.
///
/// ```
/// use std::io::Cursor;
/// use std::sync::Arc;
/// use overlaybd_format::trace::{Recorder, Trace};
/// use overlaybd_format::{Image, LayerBlob, LayerOptions, LayerWriter, Limits, MemoryBlob, ReadAt};
///
/// # futures::executor::block_on(async {
/// # let mut writer = LayerWriter::new(Cursor::new(Vec::new()), LayerOptions::new(1 << 20))?;
/// # writer.write(8192, &[7; 65536])?;
/// # let blob = MemoryBlob::new(writer.finish()?.into_inner());
/// # let layers = vec![LayerBlob::new("a layer", blob)];
/// let limits = Limits::default();
/// let image = Arc::new(Image::open(layers, &limits).await?);
///
/// // Record: read through the recorder, then write the trace.
/// let device = Recorder::new(Arc::clone(&image), &limits);
/// device.read_at(&mut [0; 512], 18_000).await?;
/// let file = Trace::of(&image, &device.ranges(), &limits)?.encode();
///
/// // Replay: fetch these ranges first.
/// let ranges = Trace::decode(&file, &limits)?.blob_ranges(&image)?;
/// assert_eq!((ranges[0].layer, ranges[0].range.clone()), (0, 12_288..16_384));
/// # Ok::<_, overlaybd_format::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// What was read, first things first.
    pub records: Vec<Record>,
}

/// One read or write of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What was done. A replay reads, so it passes over writes.
    pub op: Op,
    /// The layer, counted from the bottom, from 0. One that the stack does not have is passed over.
    pub layer: u32,
    /// The bytes of the layer's [content](crate::Layer::content).
    pub content: Range<u64>,
}

/// What a [`Record`] tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A read.
    Read,
    /// A write. The format has a letter for it; nothing in the field records one.
    Write,
}

impl Trace {
    /// Whether `bytes` start like a trace file.
    #[must_use]
    pub fn detect(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Decodes a trace file, which is all of `bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if it is no trace, is shorter or longer than it says, or has a record that is
    /// neither read nor write or that ends beyond 2⁶³ bytes; [`Error::Checksum`]; [`Error::Limit`] for
    /// more records than [`Limits::trace_records`].
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let broken = |why: String| Error::broken("trace header", 0, why);
        if !Self::detect(bytes) {
            return Err(broken("it does not start with the trace magic".to_owned()));
        }
        let (header, records) = bytes
            .split_first_chunk::<HEADER_SIZE>()
            .ok_or_else(|| broken(format!("{} bytes cannot hold it", bytes.len())))?;
        let (data_size, stored) =
            header_fields(header).ok_or_else(|| broken("it is shorter than 24 bytes".to_owned()))?;
        let (records, rest) = records.as_chunks::<RECORD_SIZE>();
        let found = bytes.len().saturating_sub(HEADER_SIZE) as u64;
        if data_size != found || !rest.is_empty() {
            return Err(broken(format!("{data_size} bytes of records, but {found} follow")));
        }
        let (value, limit) = (records.len() as u64, limits.trace_records as u64);
        if value > limit {
            return Err(Error::Limit { what: "records in a trace", value, limit });
        }
        let computed = raw_crc32c(0, records.as_flattened());
        if stored != computed {
            return Err(Error::Checksum { what: "trace", at: 0, stored, computed });
        }
        let records = records.iter().zip((HEADER_SIZE as u64..).step_by(RECORD_SIZE));
        Ok(Self { records: records.map(|(record, at)| Record::decode(record, at)).collect::<Result<_>>()? })
    }

    /// The trace file. What the format leaves open is zero, so that equal traces are equal files.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let records: Vec<u8> = self.records.iter().flat_map(Record::encode).collect();
        let mut out = Vec::with_capacity(HEADER_SIZE.saturating_add(records.len()));
        out.extend(MAGIC);
        out.extend([0; 4]);
        out.extend((records.len() as u64).to_le_bytes());
        out.extend(raw_crc32c(0, &records).to_le_bytes());
        out.extend([0; 4]);
        out.extend(records);
        out
    }
}

impl Record {
    /// A read of bytes `content` of the content of layer `layer`.
    #[must_use]
    pub fn read(layer: u32, content: Range<u64>) -> Self {
        Self { op: Op::Read, layer, content }
    }

    /// Decodes the record that stands at byte `at` of the file.
    fn decode(record: &[u8; RECORD_SIZE], at: u64) -> Result<Self> {
        let broken = |why: String| Error::broken("trace record", at, why);
        let (op, layer, len, offset) =
            record_fields(record).ok_or_else(|| broken("it is shorter than 24 bytes".to_owned()))?;
        let op = match op {
            READ => Op::Read,
            WRITE => Op::Write,
            other => return Err(broken(format!("operation {other:#04x}"))),
        };
        // Offsets are signed where the format comes from.
        match offset.checked_add(len).filter(|&end| end <= i64::MAX.cast_unsigned()) {
            Some(end) => Ok(Self { op, layer, content: offset..end }),
            None => Err(broken(format!("{len} bytes at {offset}"))),
        }
    }

    fn encode(&self) -> [u8; RECORD_SIZE] {
        let op = match self.op {
            Op::Read => READ,
            Op::Write => WRITE,
        };
        let len = self.content.end.saturating_sub(self.content.start);
        let mut record = [0; RECORD_SIZE];
        let fields = [&[op, 0, 0, 0][..], &self.layer.to_le_bytes(), &len.to_le_bytes()];
        let bytes = fields.into_iter().flatten().copied().chain(self.content.start.to_le_bytes());
        record.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = byte);
        record
    }
}

/// Bytes of records and their checksum.
fn header_fields(header: &[u8; HEADER_SIZE]) -> Option<(u64, u32)> {
    let mut fields = Fields::new(header);
    fields.skip(8)?;
    Some((fields.u64()?, fields.u32()?))
}

/// Operation, layer, length and offset.
fn record_fields(record: &[u8; RECORD_SIZE]) -> Option<(u8, u32, u64, u64)> {
    let mut fields = Fields::new(record);
    let op = fields.u8()?;
    fields.skip(3)?;
    Some((op, fields.u32()?, fields.u64()?, fields.u64()?))
}

const MAGIC: [u8; 4] = 0xC2EF_1820_u32.to_le_bytes();
const HEADER_SIZE: usize = 24;
const RECORD_SIZE: usize = 24;
const READ: u8 = b'R';
const WRITE: u8 = b'W';

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> Trace {
        let write = Record { op: Op::Write, layer: 0, content: 5..5 };
        Trace { records: vec![Record::read(0, 0..4096), Record::read(254, 1 << 40..(1 << 40) + 1), write] }
    }

    fn decode(bytes: &[u8]) -> Result<Trace> {
        Trace::decode(bytes, &Limits::default())
    }

    /// Sets the checksum right after a change to a record.
    fn signed(mut file: Vec<u8>) -> Vec<u8> {
        let checksum = raw_crc32c(0, &file[24..]);
        file[16..20].copy_from_slice(&checksum.to_le_bytes());
        file
    }

    #[test]
    fn traces_survive_the_round_trip() {
        assert_eq!(decode(&trace().encode()).unwrap(), trace());
        assert_eq!(decode(&Trace::default().encode()).unwrap(), Trace::default());
    }

    #[test]
    fn garbage_between_the_fields_is_covered_but_means_nothing() {
        let mut file = trace().encode();
        file[4..8].fill(0xaa);
        file[20..24].fill(0xaa);
        assert_eq!(decode(&file).unwrap(), trace());
        file[25..28].fill(0xaa);
        assert!(matches!(decode(&file), Err(Error::Checksum { .. })));
        assert_eq!(decode(&signed(file)).unwrap(), trace());
    }

    #[test]
    fn files_that_are_not_as_long_as_they_say_are_broken() {
        let file = trace().encode();
        for len in (0..file.len()).chain([file.len() + 1, file.len() + 24]) {
            let mut file = file.clone();
            file.resize(len, 0);
            assert!(matches!(decode(&file), Err(Error::Broken { .. })), "{len}");
        }
    }

    #[test]
    fn records_that_cannot_be_are_broken() {
        for (at, bytes) in [(24, vec![b'X']), (40, vec![0xff; 8]), (32, vec![0xff; 8]), (39, vec![0x80])] {
            let mut file = trace().encode();
            file[at..at + bytes.len()].copy_from_slice(&bytes);
            let error = decode(&signed(file)).unwrap_err();
            assert!(matches!(error, Error::Broken { what: "trace record", at: 24, .. }), "{error}");
        }
    }

    #[test]
    fn more_records_than_the_limit_are_refused() {
        let limits = Limits { trace_records: 2, ..Limits::default() };
        let decoded = Trace::decode(&trace().encode(), &limits);
        assert!(matches!(decoded, Err(Error::Limit { value: 3, limit: 2, .. })));
    }
}
