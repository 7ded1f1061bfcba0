//! The record at the front of a gzip index.

use crate::fields::Fields;
use crate::zfile::checksum::raw_crc32c;
use crate::{Error, Result};

/// The header of a gzip index: 333 packed bytes.
///
/// ```text
///   0  magic, 8 bytes          17  window, 32768            57  256 zeros
///   8  version 1, minor 0      21  entry size, 29          313  where the table is, bytes
///  10  window coding           25  number of entries       321  its stored length
///  11  level of the coding     33  size of the gzip blob   329  checksum of bytes 0 to 328
///  12  flags                   41  size of the index
///  13  span, bytes             49  size of what is in the gzip
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Whether windows and the table are compressed.
    pub(super) compressed: bool,
    pub(super) span: u32,
    pub(super) entries: u64,
    pub(super) gzip_size: u64,
    pub(super) index_size: u64,
    pub(super) uncompressed_size: u64,
    pub(super) table_at: u64,
    pub(super) table_len: u64,
}

impl Header {
    pub(super) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self> {
        let (covered, stored) = bytes.split_last_chunk::<4>().map_or((&[][..], [0; 4]), |(c, s)| (c, *s));
        if !covered.starts_with(MAGIC) {
            return Err(broken("it does not start with the magic of a gzip index"));
        }
        let (stored, computed) = (u32::from_le_bytes(stored), raw_crc32c(0, covered));
        if stored != computed {
            return Err(Error::Checksum { what: WHAT, at: 0, stored, computed });
        }
        let header = Self::fields(covered).unwrap_or_else(|| Err(broken("it is too short")))?;
        header.check()?;
        Ok(header)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend(MAGIC);
        out.extend([0, VERSION, MINOR_VERSION, u8::from(self.compressed), LEVEL, 0]);
        out.extend(self.span.to_le_bytes());
        out.extend(WINDOW_SIZE.to_le_bytes());
        out.extend(ENTRY_SIZE.to_le_bytes());
        for size in [self.entries, self.gzip_size, self.index_size, self.uncompressed_size] {
            out.extend(size.to_le_bytes());
        }
        out.extend([0; RESERVED]);
        out.extend(self.table_at.to_le_bytes());
        out.extend(self.table_len.to_le_bytes());
        out.extend(raw_crc32c(0, &out).to_le_bytes());
        out
    }

    fn fields(bytes: &[u8]) -> Option<Result<Self>> {
        let mut fields = Fields::new(bytes);
        fields.skip(MAGIC.len().saturating_add(1))?;
        let version = fields.u8()?;
        fields.skip(1)?;
        let coding = fields.u8()?;
        fields.skip(2)?;
        let span = fields.u32()?;
        let window = fields.u32()?;
        let entry_len = fields.u32()?;
        for (what, value, known) in [
            ("gzip index version", version.into(), VERSION.into()),
            ("window size of a gzip index", window.into(), WINDOW_SIZE.into()),
            ("entry size of a gzip index", entry_len.into(), ENTRY_SIZE.into()),
            ("window coding of a gzip index", coding.into(), u64::from(coding.min(1))),
        ] {
            if value != known {
                return Some(Err(Error::Unsupported { what, value }));
            }
        }
        let [entries, gzip_size, index_size, uncompressed_size] =
            [fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?];
        fields.skip(RESERVED)?;
        let (table_at, table_len) = (fields.u64()?, fields.u64()?);
        Some(Ok(Self {
            compressed: coding == 1,
            span,
            entries,
            gzip_size,
            index_size,
            uncompressed_size,
            table_at,
            table_len,
        }))
    }

    /// What must hold whatever the index belongs to.
    fn check(&self) -> Result<()> {
        let end = self.table_at.checked_add(self.table_len);
        if self.table_at < HEADER_LEN as u64 || end != Some(self.index_size) {
            let Self { table_at, table_len, index_size, .. } = self;
            return Err(broken(format!(
                "a table of {table_len} bytes at {table_at} does not end an index of {index_size} bytes"
            )));
        }
        if i64::try_from(self.uncompressed_size).is_err() {
            return Err(broken("the size of the content is negative"));
        }
        Ok(())
    }
}

pub(super) fn broken(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::broken(WHAT, 0, why)
}

/// Bytes of the header.
pub(super) const HEADER_LEN: usize = 333;
/// Bytes of an entry of the table.
pub(super) const ENTRY_LEN: usize = ENTRY_SIZE as usize;

const WHAT: &str = "gzip index header";
/// The reference compares these seven bytes and writes a NUL behind them.
const MAGIC: &[u8] = b"ddgzidx";
const ENTRY_SIZE: u32 = 29;
const WINDOW_SIZE: u32 = 32 << 10;
const VERSION: u8 = 1;
const MINOR_VERSION: u8 = 0;
/// The level that the reference compresses windows with by default.
pub(super) const LEVEL: u8 = 6;
const RESERVED: usize = 256;
