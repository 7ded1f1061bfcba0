//! LSMT streams put together by hand, valid or not.

// Each test binary uses a part of this.
#![allow(dead_code)]

/// One index entry, in sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) stored_at: u64,
    pub(crate) zeroed: bool,
}

/// A sealed stream with `data` between header and index, and `entries` as they are.
pub(crate) fn stream(virtual_size: u64, data: &[u8], entries: &[Entry]) -> Vec<u8> {
    assert_eq!(data.len() % 512, 0);
    let mut out = record(0b111, 0, 0, virtual_size);
    out.extend(data);
    let index_offset = out.len() as u64;
    for entry in entries {
        out.extend((entry.start | entry.len << 50).to_le_bytes());
        out.extend((entry.stored_at | u64::from(entry.zeroed) << 55).to_le_bytes());
    }
    out.extend(record(0b110, index_offset, entries.len() as u64, virtual_size));
    out
}

/// A header or trailer.
fn record(flags: u32, index_offset: u64, entries: u64, virtual_size: u64) -> Vec<u8> {
    let mut out =
        b"LSMT\0\x01\x02\0\x65\x7e\x63\xd2\x94\x44\x08\x4c\xa2\xd2\xc8\xec\x4f\xcf\xae\x8a".to_vec();
    out.extend(390_u32.to_le_bytes());
    out.extend(flags.to_le_bytes());
    out.extend(index_offset.to_le_bytes());
    out.extend(entries.to_le_bytes());
    out.extend(virtual_size.to_le_bytes());
    out.resize(4096, 0);
    out
}
