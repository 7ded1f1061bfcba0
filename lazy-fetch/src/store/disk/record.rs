//! The record of a map file: one chunk that is in the data file, or is no longer.
//!
//! ```text
//!  0        8        12          16              20
//!  | offset | length | chunk CRC | record CRC    |   little-endian; length 0: the chunk is gone
//! ```
//!
//! The record CRC starts with the blob id, so that a map under another blob's name vouches for
//! nothing. A torn or foreign record is skipped; records have one length, so that the next one is
//! found.

use std::collections::BTreeMap;

use crate::BlobId;

/// One line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) offset: u64,
    pub(super) len: u32,
    pub(super) crc: u32,
}

impl Record {
    /// Bytes of a record.
    pub(super) const LEN: usize = 20;

    /// A record that takes an earlier one back.
    pub(super) fn gone(offset: u64) -> Self {
        Self { offset, len: 0, crc: 0 }
    }

    pub(super) fn encode(self, blob: &BlobId) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let fields = self.offset.to_le_bytes().into_iter().chain(self.len.to_le_bytes());
        let fields: Vec<u8> = fields.chain(self.crc.to_le_bytes()).collect();
        let check = check(blob, &fields).to_le_bytes();
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().chain(check)) {
            *to = from;
        }
        bytes
    }

    fn decode(blob: &BlobId, bytes: &[u8; Self::LEN]) -> Option<Self> {
        let (offset, rest) = bytes.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (crc, stored) = rest.split_first_chunk()?;
        let fields = bytes.get(..16)?;
        let stored: &[u8; 4] = stored.first_chunk()?;
        (u32::from_le_bytes(*stored) == check(blob, fields)).then(|| Self {
            offset: u64::from_le_bytes(*offset),
            len: u32::from_le_bytes(*len),
            crc: u32::from_le_bytes(*crc),
        })
    }

    /// The chunks that a log leaves, in ascending order, as far as a data file of `data_len` bytes
    /// can hold them.
    pub(super) fn replay(blob: &BlobId, log: &[u8], data_len: u64) -> Vec<Self> {
        let mut live = BTreeMap::new();
        for record in log.as_chunks().0.iter().filter_map(|bytes| Self::decode(blob, bytes)) {
            if record.len == 0 {
                live.remove(&record.offset);
            } else {
                live.insert(record.offset, record);
            }
        }
        live.into_values()
            .filter(|r| {
                r.len <= MAX_LEN && r.offset.checked_add(u64::from(r.len)).is_some_and(|end| end <= data_len)
            })
            .collect()
    }
}

fn check(blob: &BlobId, fields: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(blob.as_str().as_bytes());
    hasher.update(fields);
    hasher.finalize()
}

/// The largest chunk, in bytes; a record of more was not written here.
const MAX_LEN: u32 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(id: &str) -> BlobId {
        BlobId::new(id).unwrap()
    }

    fn log(records: &[Record]) -> Vec<u8> {
        records.iter().flat_map(|r| r.encode(&blob("a"))).collect()
    }

    const FIRST: Record = Record { offset: 0, len: 10, crc: 1 };
    const SECOND: Record = Record { offset: 10, len: 10, crc: 2 };

    #[test]
    fn a_log_gives_back_what_was_not_taken_back() {
        let log = log(&[FIRST, SECOND, Record::gone(0)]);
        assert_eq!(Record::replay(&blob("a"), &log, 20), [SECOND]);
    }

    #[test]
    fn every_flipped_bit_loses_that_record_and_no_other() {
        let log = log(&[FIRST, SECOND]);
        for bit in 0..Record::LEN * 8 {
            let mut log = log.clone();
            log[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::replay(&blob("a"), &log, 20), [SECOND], "bit {bit}");
        }
    }

    #[test]
    fn a_torn_end_and_a_foreign_map_vouch_for_nothing() {
        let log = log(&[FIRST, SECOND]);
        for len in 20..40 {
            assert_eq!(Record::replay(&blob("a"), &log[..len], 20), [FIRST]);
        }
        assert_eq!(Record::replay(&blob("b"), &log, 20), []);
    }

    #[test]
    fn a_record_beyond_the_data_is_skipped() {
        let end = Record { offset: u64::MAX, len: 10, crc: 1 };
        assert_eq!(Record::replay(&blob("a"), &log(&[FIRST, SECOND, end]), 19), [FIRST]);
    }
}
