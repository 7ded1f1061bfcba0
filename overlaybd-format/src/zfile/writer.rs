//! Writing a ZFile from front to back.

use std::io::Write;

use crate::zfile::checksum::{BLOCK_STATE, raw_crc32c};
use crate::zfile::encoder::Encoder;
use crate::zfile::header::{self, Algorithm, BLOCK_SIZE, Header};
use crate::{Error, Result};

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// The codec.
    pub algorithm: Algorithm,
    /// Uncompressed bytes in a block: 4, 8, 16 or 32 KiB. Larger blocks compress better and make
    /// small reads dearer.
    pub block_size: u32,
}

impl Default for Compression {
    /// LZ4 in blocks of 4 KiB, as the reference tools write.
    fn default() -> Self {
        Self { algorithm: Algorithm::Lz4, block_size: 4096 }
    }
}

/// Takes content of any cut and writes blocks, each with its CRC.
pub(crate) struct Writer<W> {
    sink: W,
    header: Header,
    encoder: Encoder,
    block: Vec<u8>,
    encoded: Vec<u8>,
    table: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes the preliminary header to `sink`.
    pub(crate) fn new(mut sink: W, compression: Compression) -> Result<Self> {
        let Compression { algorithm, block_size } = compression;
        if !block_size.is_power_of_two() || !BLOCK_SIZES.contains(&block_size) {
            return Err(Error::Unsupported { what: "ZFile block size to write", value: block_size.into() });
        }
        let header = Header {
            flags: header::FLAG_HEADER | header::FLAG_DATA | header::FLAG_DIGEST,
            index_offset: 0,
            blocks: 0,
            content_size: 0,
            index_crc: 0,
            block_size,
            algorithm,
            dictionary_size: 0,
            block_crcs: true,
        };
        sink.write_all(&header.encode()).map_err(|e| Error::write_io(0, BLOCK_SIZE, e))?;
        let encoder = Encoder::new(algorithm).map_err(|e| Error::write_io(0, 0, e))?;
        let header = Header { index_offset: BLOCK_SIZE as u64, ..header };
        Ok(Self { sink, header, encoder, block: Vec::new(), encoded: Vec::new(), table: Vec::new() })
    }

    /// Appends `bytes` to the content.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        let block_size = self.header.block_size as usize;
        while !bytes.is_empty() {
            if self.block.is_empty() && bytes.len() >= block_size {
                let (block, rest) = bytes.split_at(block_size);
                self.put_block(block)?;
                bytes = rest;
                continue;
            }
            let room = block_size.saturating_sub(self.block.len()).min(bytes.len());
            let (part, rest) = bytes.split_at(room);
            self.block.extend(part);
            bytes = rest;
            if self.block.len() == block_size {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes what is left, the jump table and the trailer. The second value is the final header,
    /// which belongs at the front if the sink can go back there.
    pub(crate) fn finish(mut self) -> Result<(W, [u8; BLOCK_SIZE])> {
        self.flush()?;
        let table = std::mem::take(&mut self.table);
        let index_offset = self.header.index_offset;
        let header = Header {
            flags: header::FLAG_HEADER | header::FLAG_DATA | header::FLAG_FINISHED | header::FLAG_DIGEST,
            index_crc: raw_crc32c(0, &table),
            ..self.header
        };
        let trailer =
            Header { flags: header::FLAG_DATA | header::FLAG_SEALED | header::FLAG_DIGEST, ..header.clone() };
        let mut sink = self.sink;
        sink.write_all(&table)
            .and_then(|()| sink.write_all(&trailer.encode()))
            .map_err(|e| Error::write_io(index_offset, table.len(), e))?;
        Ok((sink, header.encode()))
    }

    fn flush(&mut self) -> Result<()> {
        let mut block = std::mem::take(&mut self.block);
        if !block.is_empty() {
            self.put_block(&block)?;
            block.clear();
        }
        self.block = block;
        Ok(())
    }

    fn put_block(&mut self, block: &[u8]) -> Result<()> {
        let at = self.header.index_offset;
        let failed = |e| Error::write_io(at, block.len(), e);
        self.encoded.clear();
        self.encoder.encode(block, &mut self.encoded).map_err(failed)?;
        let crc = raw_crc32c(BLOCK_STATE, &self.encoded);
        self.encoded.extend(crc.to_le_bytes());
        self.sink.write_all(&self.encoded).map_err(failed)?;
        let length = u32::try_from(self.encoded.len()).unwrap_or(u32::MAX);
        self.table.extend(length.to_le_bytes());
        self.header.index_offset = at.saturating_add(length.into());
        self.header.blocks = self.header.blocks.saturating_add(1);
        self.header.content_size = self.header.content_size.saturating_add(block.len() as u64);
        Ok(())
    }
}

/// Above 32 KiB an incompressible block would be stored in more bytes than the reference can read.
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 4096..=32 << 10;
