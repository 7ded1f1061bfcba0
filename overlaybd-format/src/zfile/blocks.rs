//! The blocks of a ZFile for those who do their own reads.

use std::ops::Range;

use crate::read_at::check_bounds;
use crate::zfile::{Header, JumpTable, Layout, Scratch};
use crate::{Limits, Result};

/// Where the blocks of a ZFile are and what they decode to. No I/O: the caller reads what is named.
///
/// The [crate documentation](crate#without-a-runtime) has an example.
#[derive(Debug, Clone)]
pub struct Blocks(Layout);

impl Blocks {
    /// Where the jump table of a ZFile of `size` bytes is, by the record that has the sizes.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`](crate::Error::Broken) if it does not fit between header and trailer or if the
    /// number of blocks contradicts the content size; [`Error::Limit`](crate::Error::Limit).
    pub fn table_range(header: &Header, size: u64, limits: &Limits) -> Result<Range<u64>> {
        JumpTable::stored_at(header, size, limits)
    }

    /// Decodes the jump table from its bytes, those of [`table_range`](Self::table_range).
    ///
    /// # Errors
    ///
    /// [`Error::Checksum`](crate::Error::Checksum), or [`Error::Broken`](crate::Error::Broken) if a block
    /// has an impossible length or the blocks do not fill the space between header and table.
    pub fn decode_table(header: &Header, table: &[u8]) -> Result<Self> {
        JumpTable::decode(header, table).map(|table| Self(Layout::new(header, table)))
    }

    /// Size of the content in bytes.
    #[must_use]
    pub fn content_size(&self) -> u64 {
        self.0.content_size
    }

    /// The bytes of the ZFile that hold the blocks under `content`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`](crate::Error::OutOfBounds) if the range is not inside the content.
    pub fn stored(&self, content: Range<u64>) -> Result<Range<u64>> {
        let len = usize::try_from(content.end.saturating_sub(content.start)).unwrap_or(usize::MAX);
        check_bounds(self.content_size(), content.start, len)?;
        self.0.stored(content.start..content.end.max(content.start))
    }

    /// Fills `out` with the content from byte `offset` on. `stored` are the bytes that
    /// [`stored`](Self::stored) names for it. Each block is checked before it is decoded.
    ///
    /// # Errors
    ///
    /// [`Error::Checksum`](crate::Error::Checksum) or [`Error::Broken`](crate::Error::Broken) for a damaged
    /// block; [`Error::OutOfBounds`](crate::Error::OutOfBounds) if the range is not inside the content or
    /// `stored` is too short.
    pub fn decode(&self, offset: u64, stored: &[u8], out: &mut [u8]) -> Result<()> {
        let stored_at = self.stored(offset..offset.saturating_add(out.len() as u64))?.start;
        Scratch::with(|scratch| self.0.decode(scratch, offset, stored, stored_at, out))
    }
}
