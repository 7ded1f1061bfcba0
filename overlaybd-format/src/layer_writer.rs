//! Writing a committed layer from its segments.

mod copy;
mod options;
pub(crate) mod zeros;

use std::fmt;
use std::io::{Seek, Write};

use crate::content_writer::ContentWriter;
use crate::lsmt;
use crate::lsmt::writer::IndexWriter;
use crate::{Error, Result};

pub use copy::Source;
pub use options::LayerOptions;

/// Writes the segments of one layer, each byte once, in one pass over the sink except for what is in front
/// of a ZFile and a tar, which is completed at the end.
///
/// Data is stored in the order in which it comes. That is best the order of the device, as a reader has
/// fewer and longer segments then; what is known last may come last, wherever it belongs.
///
/// A sink that is abandoned before [`finish`](Self::finish) holds nothing that opens as a layer.
///
/// See [`Layer`](crate::Layer) for an example, and [`copy_image`](Self::copy_image) for one that
/// commits what is there already.
pub struct LayerWriter<W> {
    content: ContentWriter<W>,
    /// Bytes of the LSMT stream written so far.
    position: u64,
    index: IndexWriter,
    options: LayerOptions,
    /// Whether a copy was begun and has not come to its end, so that segments are missing.
    copying: bool,
}

impl<W: Write> LayerWriter<W> {
    /// Begins a layer at the current position of `sink`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a block size or a level, [`Error::Limit`] for a user tag and
    /// [`Error::InvalidWrite`] for a virtual size that cannot be written; [`Error::Io`].
    pub fn new(sink: W, options: LayerOptions) -> Result<Self>
    where
        W: Seek,
    {
        check(&options)?;
        Self::begin(ContentWriter::new(sink, options.wrappers)?, options)
    }

    /// Begins a layer that is written once from front to back; see [`ContentWriter::streaming`].
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); [`Error::InvalidWrite`] for a tar.
    pub fn streaming(sink: W, options: LayerOptions) -> Result<Self> {
        check(&options)?;
        Self::begin(ContentWriter::streaming(sink, options.wrappers)?, options)
    }

    fn begin(content: ContentWriter<W>, options: LayerOptions) -> Result<Self> {
        let index = IndexWriter::default();
        let mut writer = Self { content, position: 0, index, options, copying: false };
        let flags = lsmt::FLAG_HEADER | lsmt::FLAG_DATA | lsmt::FLAG_SEALED;
        writer.append(&writer.record(flags, 0, 0).encode())?;
        Ok(writer)
    }

    /// Stores `bytes` at byte `offset` of the device. Both ends lie on sectors, and nothing was written
    /// between them before.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidWrite`], for some overlaps only at the end; [`Error::Io`] and [`Error::Limit`], after which the layer cannot be
    /// finished.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.check(offset, bytes.len() as u64)?;
        self.data(offset, bytes, 0)
    }

    /// Makes `len` bytes at byte `offset` of the device read as zeros, whatever lower layers hold.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn zero(&mut self, offset: u64, len: u64) -> Result<()> {
        self.check(offset, len)?;
        self.index.zeroed(offset, len, self.position / lsmt::SECTOR_SIZE, 0)
    }

    /// Maps `len` bytes at byte `offset` of the device to byte `at` of the target of an
    /// [index-only](LayerOptions::index_only) layer, the uncompressed tar that it points into. All three
    /// are multiples of 512.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn target(&mut self, offset: u64, len: u64, at: u64) -> Result<()> {
        self.check(offset, len)?;
        if !self.options.index_only {
            return Err(Error::InvalidWrite { offset, len, why: "only an index-only layer has a target" });
        }
        if !at.is_multiple_of(lsmt::SECTOR_SIZE) {
            return Err(Error::InvalidWrite {
                offset,
                len,
                why: "it does not start at a sector of the target",
            });
        }
        self.index.target(offset, len, at / lsmt::SECTOR_SIZE)
    }

    /// Writes the index, completes what is in front and returns the sink, positioned behind the layer.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::InvalidWrite`] if segments overlap, if the layer is too large for the form of
    /// its tar, if a copy has failed or was dropped, or if an index-only layer has nothing but segments of its target.
    pub fn finish(mut self) -> Result<W> {
        self.check_complete()?;
        if self.options.index_only && self.index.is_all_target() {
            // The reference takes the smallest tag of an index for that of the layer's own data.
            let why = "an index-only layer needs a segment that is not in its target";
            return Err(Error::InvalidWrite { offset: self.position, len: 0, why });
        }
        let index = if self.options.index_only { self.index.encode_unpadded() } else { self.index.encode() }?;
        let entries = (index.len() / lsmt::ENTRY_SIZE) as u64;
        let trailer = self.record(lsmt::FLAG_DATA | lsmt::FLAG_SEALED, self.position, entries);
        self.append(&index)?;
        self.append(&trailer.encode())?;
        self.content.finish()
    }

    #[cfg(feature = "convert")]
    pub(crate) fn options(&self) -> &LayerOptions {
        &self.options
    }

    fn check(&self, offset: u64, len: u64) -> Result<()> {
        let size = self.options.virtual_size;
        if size != 0 && offset.checked_add(len).is_none_or(|end| end > size) {
            return Err(Error::InvalidWrite { offset, len, why: "it ends beyond the device" });
        }
        Ok(())
    }

    fn check_complete(&self) -> Result<()> {
        if self.copying {
            let why = "a copy into the layer has not come to its end";
            return Err(Error::InvalidWrite { offset: self.position, len: 0, why });
        }
        Ok(())
    }

    /// Stores `bytes`, or what of them is not zeros, with the entry tag `tag`.
    fn data(&mut self, offset: u64, bytes: &[u8], tag: u8) -> Result<()> {
        let mut at = offset;
        for run in zeros::runs(offset, bytes, self.options.zeroed_pages) {
            let (len, stored_at) = (run.bytes.len() as u64, self.position / lsmt::SECTOR_SIZE);
            if run.zeroed {
                self.index.zeroed(at, len, stored_at, tag)?;
            } else {
                self.index.data(at, len, stored_at, tag)?;
                self.append(run.bytes)?;
            }
            at = at.saturating_add(len);
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.content.append(bytes)?;
        self.position = self.position.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn record(&self, flags: u32, index_offset: u64, index_entries: u64) -> lsmt::Header {
        lsmt::Header {
            flags,
            index_offset,
            index_entries,
            virtual_size: self.options.virtual_size,
            uuid: self.options.uuid,
            parent_uuid: self.options.parent_uuid,
            user_tag: self.options.user_tag.clone(),
        }
    }
}

impl<W> fmt::Debug for LayerWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerWriter")
            .field("options", &self.options)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

fn check(options: &LayerOptions) -> Result<()> {
    let (tag, limit) = (options.user_tag.len(), lsmt::USER_TAG_LEN);
    if tag > limit {
        return Err(Error::Limit { what: "bytes in a user tag", value: tag as u64, limit: limit as u64 });
    }
    if !options.virtual_size.is_multiple_of(lsmt::SECTOR_SIZE) {
        let why = "the virtual size is no multiple of a sector";
        return Err(Error::InvalidWrite { offset: 0, len: options.virtual_size, why });
    }
    Ok(())
}
