//! Writing a committed layer from sorted segments.

use std::fmt;
use std::io::{Seek, SeekFrom, Write};

use crate::lsmt::writer::IndexWriter;
use crate::lsmt::{self, Uuid};
use crate::zfile::writer::{Compression, Writer};
use crate::{Error, Result, tar};

/// What a layer says of itself and how it is wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerOptions {
    /// Size of the device in bytes, a multiple of 512; 0 leaves it to the layers below.
    pub virtual_size: u64,
    /// Identity of the layer.
    pub uuid: Uuid,
    /// Identity of the layer below.
    pub parent_uuid: Uuid,
    /// Commit message, at most 256 bytes.
    pub user_tag: Vec<u8>,
    /// How the layer is compressed, if it is.
    pub compression: Option<Compression>,
    /// Whether the layer is wrapped in a tar, as registries expect it.
    pub tar: bool,
}

impl LayerOptions {
    /// Options for a device of `virtual_size` bytes: no identity, no wrapper.
    #[must_use]
    pub fn new(virtual_size: u64) -> Self {
        Self {
            virtual_size,
            uuid: Uuid::NIL,
            parent_uuid: Uuid::NIL,
            user_tag: Vec::new(),
            compression: None,
            tar: false,
        }
    }

    /// Sets [`uuid`](Self::uuid) and [`parent_uuid`](Self::parent_uuid).
    #[must_use]
    pub fn with_identity(mut self, uuid: Uuid, parent_uuid: Uuid) -> Self {
        (self.uuid, self.parent_uuid) = (uuid, parent_uuid);
        self
    }

    /// Sets [`user_tag`](Self::user_tag).
    #[must_use]
    pub fn with_user_tag(mut self, tag: impl Into<Vec<u8>>) -> Self {
        self.user_tag = tag.into();
        self
    }

    /// Sets [`compression`](Self::compression).
    #[must_use]
    pub fn with_compression(mut self, compression: Option<Compression>) -> Self {
        self.compression = compression;
        self
    }

    /// Sets [`tar`](Self::tar).
    #[must_use]
    pub fn with_tar(mut self, tar: bool) -> Self {
        self.tar = tar;
        self
    }
}

/// Writes the segments of one layer in ascending order, each byte once, in one pass over the sink
/// except for the headers, which are completed at the end.
///
/// A sink that is abandoned before [`finish`](Self::finish) holds nothing that opens as a layer.
///
/// See [`Layer`](crate::Layer) for an example.
pub struct LayerWriter<W: Write + Seek> {
    body: Body<W>,
    /// Where the blob starts in the sink, in bytes.
    blob_at: u64,
    /// Bytes of the LSMT stream written so far.
    position: u64,
    index: IndexWriter,
    options: LayerOptions,
}

impl<W: Write + Seek> LayerWriter<W> {
    /// Begins a layer at the current position of `sink`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a block size, [`Error::Limit`] for a user tag and
    /// [`Error::InvalidWrite`] for a virtual size that cannot be written; [`Error::Io`].
    pub fn new(mut sink: W, options: LayerOptions) -> Result<Self> {
        let (tag, limit) = (options.user_tag.len(), lsmt::USER_TAG_LEN);
        if tag > limit {
            return Err(Error::Limit { what: "bytes in a user tag", value: tag as u64, limit: limit as u64 });
        }
        if !options.virtual_size.is_multiple_of(lsmt::SECTOR_SIZE) {
            let why = "the virtual size is no multiple of a sector";
            return Err(Error::InvalidWrite { offset: 0, len: options.virtual_size, why });
        }
        let blob_at = sink.stream_position().map_err(|e| Error::write_io(0, 0, e))?;
        if options.tar {
            let room = [0; tar::CONTENT_AT as usize];
            sink.write_all(&room).map_err(|e| Error::write_io(0, room.len(), e))?;
        }
        let body = match options.compression {
            Some(compression) => Body::ZFile(Box::new(Writer::new(sink, compression)?)),
            None => Body::Plain(sink),
        };
        let mut writer = Self { body, blob_at, position: 0, index: IndexWriter::default(), options };
        let flags = lsmt::FLAG_HEADER | lsmt::FLAG_DATA | lsmt::FLAG_SEALED;
        writer.append(&writer.record(flags, 0, 0).encode())?;
        Ok(writer)
    }

    /// Stores `bytes` at byte `offset` of the device. Both ends lie on sectors, behind all that was
    /// written before.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidWrite`] or [`Error::Io`]; the layer cannot be finished after the latter.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.check(offset, bytes.len() as u64)?;
        self.index.data(offset, bytes.len() as u64, self.position / lsmt::SECTOR_SIZE)?;
        self.append(bytes)
    }

    /// Makes `len` bytes at byte `offset` of the device read as zeros, whatever lower layers hold.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn zero(&mut self, offset: u64, len: u64) -> Result<()> {
        self.check(offset, len)?;
        self.index.zeroed(offset, len, self.position / lsmt::SECTOR_SIZE)
    }

    /// Writes the index, completes the headers and returns the sink, positioned behind the layer.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<W> {
        let index = self.index.encode();
        let entries = (index.len() / lsmt::ENTRY_SIZE) as u64;
        let trailer = self.record(lsmt::FLAG_DATA | lsmt::FLAG_SEALED, self.position, entries);
        self.append(&index)?;
        self.append(&trailer.encode())?;
        let position = self.position;
        let (mut sink, header) = match self.body {
            Body::Plain(sink) => (sink, None),
            Body::ZFile(writer) => writer.finish().map(|(sink, header)| (sink, Some(header)))?,
        };
        complete(&mut sink, self.blob_at, self.options.tar, header.as_ref().map(<[u8; 512]>::as_slice))
            .map_err(|e| Error::write_io(position, 0, e))?;
        Ok(sink)
    }

    fn check(&self, offset: u64, len: u64) -> Result<()> {
        let size = self.options.virtual_size;
        if size != 0 && offset.checked_add(len).is_none_or(|end| end > size) {
            return Err(Error::InvalidWrite { offset, len, why: "it ends beyond the device" });
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.body {
            Body::Plain(sink) => {
                sink.write_all(bytes).map_err(|e| Error::write_io(self.position, bytes.len(), e))?;
            }
            Body::ZFile(writer) => writer.write(bytes)?,
        }
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

impl<W: Write + Seek> fmt::Debug for LayerWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerWriter")
            .field("options", &self.options)
            .field("position", &self.position)
            .finish()
    }
}

enum Body<W> {
    Plain(W),
    ZFile(Box<Writer<W>>),
}

/// Writes what could not be known in front: the tar headers and the final ZFile header.
fn complete<W: Write + Seek>(
    sink: &mut W,
    blob_at: u64,
    tar: bool,
    zfile_header: Option<&[u8]>,
) -> std::io::Result<()> {
    let content_at = blob_at.saturating_add(if tar { tar::CONTENT_AT } else { 0 });
    let mut end = sink.stream_position()?;
    if tar {
        let content_size = end.saturating_sub(content_at);
        let padding = content_size.next_multiple_of(512).saturating_sub(content_size) as usize;
        sink.write_all(&vec![0; padding.saturating_add(tar::FOOTER_SIZE)])?;
        end = sink.stream_position()?;
        sink.seek(SeekFrom::Start(blob_at))?;
        sink.write_all(&tar::pax_headers(content_size))?;
    }
    if let Some(header) = zfile_header {
        sink.seek(SeekFrom::Start(content_at))?;
        sink.write_all(header)?;
    }
    sink.seek(SeekFrom::Start(end))?;
    sink.flush()
}
