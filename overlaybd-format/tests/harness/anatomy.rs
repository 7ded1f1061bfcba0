//! Where the parts of a blob are, found without the code under test.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::ops::Range;

/// A part of a blob that its own rule protects, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Region {
    TarHeader,
    TarPadding,
    ZFileHeader,
    ZFileBlocks,
    ZFileJumpTable,
    ZFileTrailer,
    LsmtHeader,
    LsmtData,
    LsmtIndex,
    LsmtTrailer,
}

/// A blob taken apart.
#[derive(Debug)]
pub(crate) struct Anatomy {
    /// All parts, in bytes of the blob.
    pub(crate) regions: Vec<(Region, Range<usize>)>,
    /// Set if the blob is compressed.
    pub(crate) zfile: Option<Blocks>,
}

/// The blocks of a ZFile.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// Uncompressed size of a block.
    pub(crate) size: usize,
    /// Where each block is stored, in bytes of the blob.
    pub(crate) stored: Vec<Range<usize>>,
    /// Whether each has a checksum.
    pub(crate) checked: bool,
    /// Whether the header has the final values, so that the trailer is not needed.
    pub(crate) finished: bool,
}

/// One index entry of a plain LSMT stream, in sectors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) stored_at: u64,
    pub(crate) zeroed: bool,
}

impl Anatomy {
    pub(crate) fn of(blob: &[u8]) -> Self {
        let content = tar_content(blob).unwrap_or(0..blob.len());
        let mut regions =
            vec![(Region::TarHeader, 0..content.start), (Region::TarPadding, content.end..blob.len())];
        let zfile = blob[content.clone()].starts_with(b"ZFile\0").then(|| {
            let trailer = content.end - 512;
            let jump_table = content.start + usize_at(blob, trailer + 40);
            let blocks = content.start + 512;
            let table_end = jump_table + 4 * usize_at(blob, trailer + 48);
            regions.extend([
                (Region::ZFileHeader, content.start..blocks),
                (Region::ZFileBlocks, blocks..jump_table),
                (Region::ZFileJumpTable, jump_table..table_end),
                (Region::ZFileTrailer, trailer..content.end),
            ]);
            Blocks {
                size: u32::from_le_bytes(blob[trailer + 72..][..4].try_into().unwrap()) as usize,
                stored: blob[jump_table..table_end]
                    .chunks_exact(4)
                    .scan(blocks, |at, entry| {
                        let start = *at;
                        *at += u32::from_le_bytes(entry.try_into().unwrap()) as usize;
                        Some(start..*at)
                    })
                    .collect(),
                checked: blob[trailer + 88] != 0,
                finished: blob[content.start + 32] & 8 != 0,
            }
        });
        if zfile.is_none() {
            let trailer = content.end - 4096;
            let index = content.start + usize_at(blob, trailer + 32);
            regions.extend([
                (Region::LsmtHeader, content.start..content.start + 4096),
                (Region::LsmtData, content.start + 4096..index),
                (Region::LsmtIndex, index..trailer),
                (Region::LsmtTrailer, trailer..content.end),
            ]);
        }
        regions.retain(|(_, range)| !range.is_empty());
        Self { regions, zfile }
    }

    /// Where `region` starts.
    pub(crate) fn start_of(&self, region: Region) -> usize {
        self.regions.iter().find(|(found, _)| *found == region).unwrap().1.start
    }
}

/// The index of the plain LSMT stream `bytes`, padding left out; none if it is something else.
pub(crate) fn lsmt_entries(bytes: &[u8]) -> Option<Vec<Entry>> {
    let trailer = bytes.len().checked_sub(4096).filter(|_| bytes.starts_with(b"LSMT\0"))?;
    let index = usize_at(bytes, trailer + 32);
    let entries = bytes[index..].chunks_exact(16).take(usize_at(bytes, trailer + 40)).map(|entry| {
        let (first, second) = (u64_at(entry, 0), u64_at(entry, 8));
        Entry {
            start: first & ((1 << 50) - 1),
            len: first >> 50,
            stored_at: second & ((1 << 55) - 1),
            zeroed: second >> 55 & 1 != 0,
        }
    });
    Some(entries.filter(|entry| entry.start != (1 << 50) - 1).collect())
}

/// The content of a tar of one file: after one header, or after a pax header with one data block.
fn tar_content(blob: &[u8]) -> Option<Range<usize>> {
    if blob.get(257..262)? != b"ustar" {
        return None;
    }
    if blob[156] != b'x' {
        let size = std::str::from_utf8(&blob[124..135]).unwrap();
        return Some(512..512 + usize::from_str_radix(size.trim(), 8).unwrap());
    }
    let record = std::str::from_utf8(blob[512..1024].split(|&byte| byte == b'\n').next().unwrap()).unwrap();
    let size: usize = record.split_once("size=").unwrap().1.parse().unwrap();
    Some(1536..1536 + size)
}

fn usize_at(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64_at(bytes, at)).unwrap()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}
