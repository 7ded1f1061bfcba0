//! Writing a ZFile from front to back.

use std::io::Write;

use crate::Result;
use crate::sink::Sink;
use crate::zfile::Compression;
use crate::zfile::checksum::raw_crc32c;
use crate::zfile::header::{self, BLOCK_SIZE, Header};
use crate::zfile::jump_table::ENTRY_SIZE;
use crate::zfile::workers::{Batch, Workers};

/// Takes content of any cut and writes blocks, each with its CRC.
///
/// What it holds is a few batches and the jump table, four bytes a block.
pub(crate) struct Writer<W> {
    sink: Sink<W>,
    workers: Workers,
    /// What is known of the final record.
    header: Header,
    table: Vec<u8>,
    /// The batch that is being filled, and one whose buffers can be used again.
    batch: Batch,
    spare: Option<Batch>,
}

impl<W: Write> Writer<W> {
    /// Writes the preliminary header to `sink`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`](crate::Error::Unsupported) for a block size or level that cannot be
    /// written, [`Error::Io`](crate::Error::Io).
    pub(crate) fn new(mut sink: Sink<W>, compression: &Compression) -> Result<Self> {
        let workers = Workers::new(compression)?;
        let header = Header {
            flags: header::FLAG_HEADER | header::FLAG_DATA | header::FLAG_DIGEST,
            index_offset: 0,
            blocks: 0,
            content_size: 0,
            index_crc: 0,
            block_size: compression.block_size,
            algorithm: compression.algorithm,
            dictionary_size: 0,
            block_crcs: true,
        };
        sink.append(&header.encode())?;
        let header = Header { index_offset: BLOCK_SIZE as u64, ..header };
        Ok(Self { sink, workers, header, table: Vec::new(), batch: Batch::default(), spare: None })
    }

    /// Appends `bytes` to the content.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = BATCH.saturating_sub(self.batch.content.len()).min(bytes.len());
            let (part, rest) = bytes.split_at(room);
            self.batch.content.extend_from_slice(part);
            bytes = rest;
            if self.batch.content.len() == BATCH {
                self.send()?;
            }
        }
        Ok(())
    }

    /// Writes what is left, the jump table and the trailer. The second value is the final header,
    /// which belongs at the front if the sink can go back there.
    pub(crate) fn finish(mut self) -> Result<(Sink<W>, [u8; BLOCK_SIZE])> {
        self.send()?;
        while let Some(batch) = self.workers.receive()? {
            self.write(batch)?;
        }
        let header = Header {
            flags: header::FLAG_HEADER | header::FLAG_DATA | header::FLAG_FINISHED | header::FLAG_DIGEST,
            index_crc: raw_crc32c(0, &self.table),
            ..self.header
        };
        let trailer =
            Header { flags: header::FLAG_DATA | header::FLAG_SEALED | header::FLAG_DIGEST, ..header.clone() };
        self.sink.append(&self.table)?;
        self.sink.append(&trailer.encode())?;
        Ok((self.sink, header.encode()))
    }

    /// Has the batch compressed, and writes one that is.
    fn send(&mut self) -> Result<()> {
        let next = self.spare.take().unwrap_or_default();
        let batch = std::mem::replace(&mut self.batch, next);
        match self.workers.send(batch)? {
            Some(done) => self.write(done),
            None => Ok(()),
        }
    }

    fn write(&mut self, mut batch: Batch) -> Result<()> {
        let Batch { content, stored } = &mut batch;
        self.sink.append(stored.bytes())?;
        self.table.extend_from_slice(stored.lengths());
        let header = &mut self.header;
        header.index_offset = header.index_offset.saturating_add(stored.bytes().len() as u64);
        header.blocks = (self.table.len() / ENTRY_SIZE) as u64;
        header.content_size = header.content_size.saturating_add(content.len() as u64);
        content.clear();
        stored.clear();
        self.spare = Some(batch);
        Ok(())
    }
}

/// Content that is compressed at once, in bytes: whole blocks of every size, small enough to stay in
/// the cache of a processor and large enough that handing it over costs little beside compressing it.
const BATCH: usize = 128 << 10;
