//! The record at both ends of an LSMT stream.

use std::ops::Range;

use crate::fields::Fields;
use crate::lsmt::segment::SECTOR_SIZE;
use crate::lsmt::uuid::{self, Uuid};
use crate::{Error, Result};

/// The header or trailer of an LSMT stream; one record, told apart by its flags.
///
/// ```text
///   0  magic, 24 bytes      48  virtual size, bytes       132  version 1, sub-version 1
///  24  390, the used size   56  UUID, 37 characters       134  user tag, 256 bytes
///  28  flags                93  parent UUID, likewise     390  zeros up to 4096
///  32  index offset, bytes
///  40  index entries
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The flags as stored.
    pub flags: u32,
    /// Where the index starts, in bytes of the stream. Only a trailer has it.
    pub index_offset: u64,
    /// Number of 16-byte index entries, padding included. Only a trailer has it.
    pub index_entries: u64,
    /// Size of the device in bytes; 0 if the layer leaves it to the layers below.
    pub virtual_size: u64,
    /// Identity of this layer.
    pub uuid: Uuid,
    /// Identity of the layer below.
    pub parent_uuid: Uuid,
    /// The commit message, without its trailing NULs.
    pub user_tag: Vec<u8>,
}

impl Header {
    /// Decodes the record from its 4096 bytes, which stand at byte `at` of the stream.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if the bytes are too few or do not start with the LSMT magic. Unknown flags
    /// and what stands in unused bytes are not looked at: writers of the field left garbage there.
    pub fn decode(bytes: &[u8], what: &'static str, at: u64) -> Result<Self> {
        let broken = |why: &'static str| Error::broken(what, at, why);
        if !bytes.starts_with(&MAGIC) {
            return Err(broken("it does not start with the LSMT magic"));
        }
        Self::fields(bytes).ok_or_else(|| broken("it is shorter than 4096 bytes"))
    }

    /// Decodes the record at the front of a stream, which is the first 4096 bytes of it.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode), and [`Error::Broken`] if it is not the header of a data file.
    pub fn decode_header(bytes: &[u8]) -> Result<Self> {
        let header = Self::decode(bytes, "LSMT header", 0)?;
        if !header.is_header() || !header.is_data() {
            return Err(Error::broken("LSMT header", 0, format!("flags {:#x}", header.flags)));
        }
        Ok(header)
    }

    /// Where the trailer of a stream of `size` bytes is.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if the stream cannot hold header and trailer.
    pub fn trailer_range(size: u64) -> Result<Range<u64>> {
        let record = BLOCK_SIZE as u64;
        match size.checked_sub(record) {
            Some(at) if at >= record => Ok(at..size),
            _ => Err(Error::broken("LSMT stream", 0, format!("{size} bytes cannot hold header and trailer"))),
        }
    }

    /// Decodes the record at the end of a sealed stream, which is the 4096 bytes from byte `at` on.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode), and [`Error::Broken`] if it is not the trailer of a sealed data file
    /// or has a size that is no multiple of a sector.
    pub fn decode_trailer(bytes: &[u8], at: u64) -> Result<Self> {
        let trailer = Self::decode(bytes, "LSMT trailer", at)?;
        if trailer.is_header() || !trailer.is_data() || !trailer.is_sealed() {
            return Err(Error::broken("LSMT trailer", at, format!("flags {:#x}", trailer.flags)));
        }
        if !trailer.virtual_size.is_multiple_of(SECTOR_SIZE) {
            let why = format!("a virtual size of {} bytes, no multiple of a sector", trailer.virtual_size);
            return Err(Error::broken("LSMT trailer", at, why));
        }
        Ok(trailer)
    }

    /// Whether `bytes` start like an LSMT stream.
    #[must_use]
    pub fn detect(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// The record's 4096 bytes. A tag of more than 256 bytes is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BLOCK_SIZE);
        out.extend(MAGIC);
        out.extend(USED_SIZE.to_le_bytes());
        out.extend(self.flags.to_le_bytes());
        out.extend(self.index_offset.to_le_bytes());
        out.extend(self.index_entries.to_le_bytes());
        out.extend(self.virtual_size.to_le_bytes());
        out.extend(self.uuid.to_field());
        out.extend(self.parent_uuid.to_field());
        out.extend([0, 0, VERSION, SUB_VERSION]);
        out.extend(self.user_tag.iter().take(USER_TAG_LEN));
        out.resize(BLOCK_SIZE, 0);
        out
    }

    /// Whether the record says that it stands at the front.
    #[must_use]
    pub fn is_header(&self) -> bool {
        self.flags & FLAG_HEADER != 0
    }

    /// Whether the record belongs to a data file, as opposed to the index file of a writable layer.
    #[must_use]
    pub fn is_data(&self) -> bool {
        self.flags & FLAG_DATA != 0
    }

    /// Whether the layer is sealed. Required of a trailer only: sealing in place leaves the header.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.flags & FLAG_SEALED != 0
    }

    /// Whether the layer was a sparse writable file.
    #[must_use]
    pub fn is_sparse(&self) -> bool {
        self.flags & FLAG_SPARSE != 0
    }

    fn fields(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes.get(..BLOCK_SIZE)?);
        fields.skip(MAGIC.len())?;
        fields.skip(size_of::<u32>())?;
        let flags = fields.u32()?;
        let index_offset = fields.u64()?;
        let index_entries = fields.u64()?;
        let virtual_size = fields.u64()?;
        let uuid = Uuid::from_field(fields.array::<{ uuid::FIELD_LEN }>()?);
        let parent_uuid = Uuid::from_field(fields.array::<{ uuid::FIELD_LEN }>()?);
        fields.skip(4)?;
        let tag = fields.array::<USER_TAG_LEN>()?;
        let used = tag.iter().rposition(|&byte| byte != 0).map_or(0, |last| last.saturating_add(1));
        let user_tag = tag.get(..used)?.to_vec();
        Some(Self { flags, index_offset, index_entries, virtual_size, uuid, parent_uuid, user_tag })
    }
}

/// Size of a header or trailer, in bytes.
pub(crate) const BLOCK_SIZE: usize = 4096;
pub(crate) const FLAG_HEADER: u32 = 1 << 0;
pub(crate) const FLAG_DATA: u32 = 1 << 1;
pub(crate) const FLAG_SEALED: u32 = 1 << 2;
pub(crate) const FLAG_SPARSE: u32 = 1 << 4;

const MAGIC: [u8; 24] =
    *b"LSMT\x00\x01\x02\x00\x65\x7E\x63\xD2\x94\x44\x08\x4C\xA2\xD2\xC8\xEC\x4F\xCF\xAE\x8A";
const USED_SIZE: u32 = 390;
const VERSION: u8 = 1;
const SUB_VERSION: u8 = 1;
/// Bytes of a commit message.
pub(crate) const USER_TAG_LEN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_round_trip() {
        let header = Header {
            flags: FLAG_DATA | FLAG_SEALED,
            index_offset: 8192,
            index_entries: 256,
            virtual_size: 1 << 30,
            uuid: Uuid::from_bytes([7; 16]),
            parent_uuid: Uuid::NIL,
            user_tag: b"hello, user tag".to_vec(),
        };
        let bytes = header.encode();
        assert_eq!(bytes.len(), BLOCK_SIZE);
        assert_eq!(Header::decode(&bytes, "LSMT trailer", 0).unwrap(), header);
        assert_eq!(bytes[132..134], [1, 1]);
    }

    #[test]
    fn short_and_foreign_bytes_are_broken() {
        let whole = Header::fields(&[0; BLOCK_SIZE]).unwrap().encode();
        assert!(matches!(Header::decode(&whole[..4095], "LSMT header", 0), Err(Error::Broken { .. })));
        assert!(matches!(Header::decode(&[0; 4096], "LSMT header", 0), Err(Error::Broken { .. })));
    }
}
