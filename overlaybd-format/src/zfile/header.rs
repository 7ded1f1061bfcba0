//! The record at both ends of a ZFile.

use std::ops::Range;

use crate::fields::Fields;
use crate::zfile::checksum::raw_crc32c;
use crate::{Error, Result};

/// The header or trailer of a ZFile; one record, told apart by its flags.
///
/// ```text
///   0  magic, 24 bytes   32  flags, 64 bits      64  CRC of the jump table   84  dictionary size
///  24  96, the used size 40  jump table offset   72  block size              88  block CRCs present
///  28  digest            48  number of blocks    76  algorithm               89  zeros up to 512
///                        56  content size        77  level, dictionary flag
/// ```
///
/// Writers of the field left garbage in unused bytes and in flags above bit 4, so only the named
/// fields are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The low 32 bits of the flags as stored.
    pub flags: u32,
    /// Where the jump table starts, in bytes of the file. Final only in a trailer or a
    /// [finished](Self::is_finished) header, like the three fields below.
    pub index_offset: u64,
    /// Number of blocks, each an entry of four bytes in the jump table.
    pub blocks: u64,
    /// Size of the uncompressed content in bytes.
    pub content_size: u64,
    /// Checksum of the jump table, if [`has_digest`](Self::has_digest).
    pub index_crc: u32,
    /// Uncompressed bytes in a block; the last one may be shorter.
    pub block_size: u32,
    /// The codec.
    pub algorithm: Algorithm,
    /// Bytes between the header and the first block; no writer uses them.
    pub dictionary_size: u32,
    /// Whether each block ends with a CRC of its compressed bytes.
    pub block_crcs: bool,
}

/// A codec of ZFile blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Algorithm {
    /// LZ4 blocks, without frame or size prefix.
    #[default]
    Lz4,
    /// One Zstandard frame a block.
    Zstd,
}

impl Header {
    /// Decodes the record from its 512 bytes, which stand at byte `at` of the file.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] for foreign or too few bytes, a zero or odd block size or a dictionary;
    /// [`Error::Checksum`] if the record carries a digest that does not match;
    /// [`Error::Unsupported`] for another codec, for LZ4 if it is not built in, or for a block size over
    /// 64 KiB.
    pub fn decode(bytes: &[u8], what: &'static str, at: u64) -> Result<Self> {
        if !bytes.starts_with(&MAGIC) {
            return Err(Error::broken(what, at, "it does not start with the ZFile magic"));
        }
        let short = || Error::broken(what, at, "it is shorter than 512 bytes");
        let record = bytes.first_chunk::<BLOCK_SIZE>().ok_or_else(short)?;
        let raw = Raw::read(record).ok_or_else(short)?;
        if raw.flags & FLAG_DIGEST != 0 {
            let computed = digest(record);
            if computed != raw.digest {
                return Err(Error::Checksum { what, at, stored: raw.digest, computed });
            }
        }
        let algorithm = match raw.algorithm {
            1 if cfg!(any(feature = "lz4-c", feature = "lz4-flex")) => Algorithm::Lz4,
            2 => Algorithm::Zstd,
            other => return Err(Error::Unsupported { what: "ZFile algorithm", value: other.into() }),
        };
        if raw.block_size == 0 || !raw.block_size.is_power_of_two() {
            return Err(Error::broken(what, at, format!("a block size of {} bytes", raw.block_size)));
        }
        if raw.block_size > MAX_BLOCK_SIZE {
            return Err(Error::Unsupported { what: "ZFile block size", value: raw.block_size.into() });
        }
        if raw.dictionary_size != 0 {
            return Err(Error::Unsupported {
                what: "ZFile dictionary size",
                value: raw.dictionary_size.into(),
            });
        }
        Ok(Self {
            flags: raw.flags,
            index_offset: raw.index_offset,
            blocks: raw.blocks,
            content_size: raw.content_size,
            index_crc: raw.index_crc,
            block_size: raw.block_size,
            algorithm,
            dictionary_size: raw.dictionary_size,
            block_crcs: raw.block_crcs != 0,
        })
    }

    /// Decodes the record at the front of a ZFile, which is its first 512 bytes. Unless it
    /// [is finished](Self::is_finished), the sizes are in the trailer only.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode), and [`Error::Broken`] if it is not the header of a data file.
    pub fn decode_header(bytes: &[u8]) -> Result<Self> {
        let header = Self::decode(bytes, "ZFile header", 0)?;
        if !header.is_header() || !header.is_data() && !header.is_finished() {
            return Err(Error::broken("ZFile header", 0, format!("flags {:#x}", header.flags)));
        }
        Ok(header)
    }

    /// Where the trailer of a ZFile of `size` bytes is.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if the file cannot hold one.
    pub fn trailer_range(size: u64) -> Result<Range<u64>> {
        let at = size.checked_sub(BLOCK_SIZE as u64);
        at.map(|at| at..size).ok_or_else(|| Error::broken("ZFile", 0, "it is shorter than its header"))
    }

    /// Decodes the record at the end of a ZFile, which is the 512 bytes from byte `at` on.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode), and [`Error::Broken`] if it is not the trailer of a sealed data file.
    pub fn decode_trailer(bytes: &[u8], at: u64) -> Result<Self> {
        let trailer = Self::decode(bytes, "ZFile trailer", at)?;
        if trailer.is_header() || !trailer.is_data() || !trailer.is_sealed() {
            return Err(Error::broken("ZFile trailer", at, format!("flags {:#x}", trailer.flags)));
        }
        Ok(trailer)
    }

    /// Whether `bytes` start like a ZFile header. A match with a wrong digest is still a ZFile, a
    /// broken one.
    #[must_use]
    pub fn detect(bytes: &[u8]) -> bool {
        let flags =
            bytes.get(FLAGS_AT).and_then(|field| field.first_chunk()).copied().map(u32::from_le_bytes);
        bytes.starts_with(&MAGIC) && flags.is_some_and(|flags| flags & FLAG_HEADER != 0)
    }

    /// The record's 512 bytes, with their digest.
    #[must_use]
    pub fn encode(&self) -> [u8; BLOCK_SIZE] {
        let mut out = Vec::with_capacity(BLOCK_SIZE);
        out.extend(MAGIC);
        out.extend(USED_SIZE.to_le_bytes());
        out.extend([0; 4]);
        out.extend(u64::from(self.flags).to_le_bytes());
        out.extend(self.index_offset.to_le_bytes());
        out.extend(self.blocks.to_le_bytes());
        out.extend(self.content_size.to_le_bytes());
        out.extend(self.index_crc.to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.block_size.to_le_bytes());
        let algorithm = match self.algorithm {
            Algorithm::Lz4 => 1,
            Algorithm::Zstd => 2,
        };
        out.extend([algorithm, 0, 0, 0, 0, 0, 0, 0]);
        out.extend(self.dictionary_size.to_le_bytes());
        out.push(u8::from(self.block_crcs));
        let mut record = [0; BLOCK_SIZE];
        record.iter_mut().zip(out).for_each(|(slot, byte)| *slot = byte);
        let digest = digest(&record).to_le_bytes();
        record.iter_mut().skip(DIGEST_AT.start).zip(digest).for_each(|(slot, byte)| *slot = byte);
        record
    }

    /// Whether the record says that it stands at the front.
    #[must_use]
    pub fn is_header(&self) -> bool {
        self.flags & FLAG_HEADER != 0
    }

    /// Whether the record belongs to a data file.
    #[must_use]
    pub fn is_data(&self) -> bool {
        self.flags & FLAG_DATA != 0
    }

    /// Whether the record is sealed; required of a trailer.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.flags & FLAG_SEALED != 0
    }

    /// Whether a header was written again with the final values, so that no trailer need be read.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.flags & FLAG_FINISHED != 0
    }

    /// Whether the digest and the checksum of the jump table mean anything.
    #[must_use]
    pub fn has_digest(&self) -> bool {
        self.flags & FLAG_DIGEST != 0
    }
}

/// The fields as stored, before any of them is judged.
struct Raw {
    digest: u32,
    flags: u32,
    index_offset: u64,
    blocks: u64,
    content_size: u64,
    index_crc: u32,
    block_size: u32,
    algorithm: u8,
    dictionary_size: u32,
    block_crcs: u8,
}

impl Raw {
    fn read(record: &[u8; BLOCK_SIZE]) -> Option<Self> {
        let mut fields = Fields::new(record);
        fields.skip(DIGEST_AT.start)?;
        let digest = fields.u32()?;
        let flags = fields.u32()?;
        fields.skip(4)?;
        let index_offset = fields.u64()?;
        let blocks = fields.u64()?;
        let content_size = fields.u64()?;
        let index_crc = fields.u32()?;
        fields.skip(4)?;
        let block_size = fields.u32()?;
        let algorithm = fields.u8()?;
        fields.skip(7)?;
        let dictionary_size = fields.u32()?;
        let block_crcs = fields.u8()?;
        Some(Self {
            digest,
            flags,
            index_offset,
            blocks,
            content_size,
            index_crc,
            block_size,
            algorithm,
            dictionary_size,
            block_crcs,
        })
    }
}

/// The checksum of the record with its own field taken as zero.
fn digest(record: &[u8; BLOCK_SIZE]) -> u32 {
    let mut cleared = *record;
    cleared.iter_mut().take(DIGEST_AT.end).skip(DIGEST_AT.start).for_each(|byte| *byte = 0);
    raw_crc32c(0, &cleared)
}

/// Size of a header or trailer, in bytes.
pub(crate) const BLOCK_SIZE: usize = 512;
/// The largest block that the reference reads, in bytes.
pub(crate) const MAX_BLOCK_SIZE: u32 = 64 << 10;
pub(crate) const FLAG_HEADER: u32 = 1 << 0;
pub(crate) const FLAG_DATA: u32 = 1 << 1;
pub(crate) const FLAG_SEALED: u32 = 1 << 2;
pub(crate) const FLAG_FINISHED: u32 = 1 << 3;
pub(crate) const FLAG_DIGEST: u32 = 1 << 4;

const MAGIC: [u8; 24] = *b"ZFile\x00\x01\x00tuji.yyf@Alibaba";
const USED_SIZE: u32 = 96;
const DIGEST_AT: Range<usize> = 28..32;
const FLAGS_AT: std::ops::RangeFrom<usize> = 32..;

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            flags: FLAG_HEADER | FLAG_DATA | FLAG_FINISHED | FLAG_DIGEST,
            index_offset: 1000,
            blocks: 3,
            content_size: 12000,
            index_crc: 7,
            block_size: 4096,
            algorithm: Algorithm::Zstd,
            dictionary_size: 0,
            block_crcs: true,
        }
    }

    #[test]
    fn a_record_survives_the_round_trip() {
        assert_eq!(Header::decode(&header().encode(), "ZFile header", 0).unwrap(), header());
        assert!(Header::detect(&header().encode()));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_seen_while_there_is_a_digest() {
        let good = header().encode();
        for at in 0..BLOCK_SIZE {
            let mut bytes = good;
            bytes[at] ^= 4;
            let decoded = Header::decode(&bytes, "ZFile header", 0);
            assert!(decoded.is_err(), "byte {at}: {decoded:?}");
        }
    }

    #[test]
    fn garbage_in_unused_bytes_is_ignored_without_a_digest() {
        let mut bytes = Header { flags: FLAG_HEADER, ..header() }.encode();
        bytes[28..32].fill(0xaa);
        bytes[36..40].fill(0xaa);
        bytes[96..].fill(0xaa);
        assert_eq!(Header::decode(&bytes, "ZFile header", 0).unwrap().content_size, 12000);
    }
}
