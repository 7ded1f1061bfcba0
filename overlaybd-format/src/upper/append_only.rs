//! A layer that only ever appends.

mod compact;
mod log;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use super::header::{FileHeader, Role};
use super::locks::{exclusive, lock, shared};
use super::mappings::{Found, Mappings};
use super::state::State;
use super::{MAX_WRITE, Storage, UpperOptions, seal, sectors_of};
use crate::lsmt::{self, BLOCK_SIZE, FIRST_DATA_SECTOR, MAX_LENGTH, SECTOR_SIZE, Segment};
use crate::{Error, Limits, Result, Uuid};

use log::Log;

/// A writable layer in two files: every write appends its bytes to the data file, and its segment
/// to the index file.
///
/// ```text
///  data    header │ bytes of write 1 │ bytes of write 2 │ …
///  index   header │ segment 1 │ segment 2 │ a discard │ …        later ones win
/// ```
///
/// Nothing is overwritten, so reads go on beside writes, and what a crash leaves is the state of the
/// device at some moment between the last flush and the crash. The price is garbage: bytes that were
/// written over stay in the file until the layer is [compacted](Self::compact).
///
/// ```
/// use overlaybd_format::{AppendOnly, FileStorage, Limits, UpperOptions};
///
/// # let directory = tempfile::tempdir()?;
/// # let (data, index) = (directory.path().join("data"), directory.path().join("index"));
/// let options = UpperOptions::new(1 << 30);
/// let layer = AppendOnly::create(FileStorage::create(&data)?, FileStorage::create(&index)?, &options)?;
/// layer.write(4096, &[7; 1024])?;
/// layer.write(4096, &[8; 512])?;
/// layer.flush()?;
/// assert_eq!(layer.garbage(), 512);
/// drop(layer);
///
/// let layer = AppendOnly::open(FileStorage::open(&data)?, FileStorage::open(&index)?, &Limits::default())?;
/// assert_eq!(layer.segments().len(), 2);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AppendOnly {
    data: Arc<dyn Storage>,
    header: Mutex<FileHeader>,
    virtual_size: AtomicU64,
    mappings: RwLock<Mappings>,
    tail: Mutex<Tail>,
    /// Taken before the tail. Whoever has it flushes.
    log: Mutex<Log>,
}

impl AppendOnly {
    /// Makes an empty layer of two empty files, on the medium when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidWrite`] for a virtual size that is no multiple of 512, [`Error::Refused`] if a file
    /// is not empty, [`Error::Io`].
    pub fn create(
        data: impl Storage + 'static,
        index: impl Storage + 'static,
        options: &UpperOptions,
    ) -> Result<Self> {
        options.check()?;
        let header = FileHeader::create(Arc::new(data), Role::Data, options)?;
        header.storage.persist()?;
        let log = Log::new(FileHeader::create(Arc::new(index), Role::Index, options)?);
        log.persist()?;
        Ok(Self::assemble(header, log, Mappings::default(), BLOCK_SIZE as u64))
    }

    /// Opens a layer that was written before, here or by the reference.
    ///
    /// What the last flush made durable is there; what was written after it may be there up to some
    /// write. Bytes in the data file that no segment points to are garbage.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if a file is no part of an append-only layer, the two are of different layers,
    /// or a segment points outside of the data; [`Error::ReadOnly`] if the layer is sealed;
    /// [`Error::Limit`], [`Error::Io`].
    pub fn open(
        data: impl Storage + 'static,
        index: impl Storage + 'static,
        limits: &Limits,
    ) -> Result<Self> {
        Self::load(Arc::new(data), Arc::new(index), limits, |data, _| Err(seal::refused(data)))
    }

    /// Opens a layer that was sealed in place as it was before: index and trailer are cut off.
    ///
    /// This is for a snapshot that a crash interrupted between sealing and making the new stack
    /// known. A layer that other stacks use by now must not be opened so.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), except that a sealed layer is none.
    pub fn unseal(
        data: impl Storage + 'static,
        index: impl Storage + 'static,
        limits: &Limits,
    ) -> Result<Self> {
        Self::load(Arc::new(data), Arc::new(index), limits, |data, end| {
            data.set_length(end)?;
            data.persist()
        })
    }

    fn load(
        data: Arc<dyn Storage>,
        index: Arc<dyn Storage>,
        limits: &Limits,
        on_sealed: impl FnOnce(&Arc<dyn Storage>, u64) -> Result<()>,
    ) -> Result<Self> {
        let mut header = FileHeader::open(Arc::clone(&data), Role::Data)?;
        let index_header = FileHeader::open(index, Role::Index)?;
        let (uuid, virtual_size) = (index_header.record().uuid, index_header.record().virtual_size);
        if header.record().uuid != uuid {
            let why = format!("UUID {uuid}, that of the data file is {}", header.record().uuid);
            let name = Arc::clone(index_header.storage.name());
            return Err(Error::broken("header of an index file", 0, why).in_blob(&name));
        }

        let data_sectors = FIRST_DATA_SECTOR..data.length()? / SECTOR_SIZE;
        let mut mappings = Mappings::default();
        let mut mapped = FIRST_DATA_SECTOR;
        let log = Log::load(index_header, &data_sectors, limits, |segment| {
            let stored = if segment.is_zeroed() { 0 } else { segment.len() };
            mapped = mapped.max(segment.stored_at().saturating_add(stored));
            mappings.insert(segment);
        })?;
        if let Some(end) = seal::sealed_at(&data, header.record(), mapped.saturating_mul(SECTOR_SIZE))? {
            on_sealed(&data, end)?;
        }
        if header.record().virtual_size != virtual_size {
            // A resize that was interrupted before the index file, which decides, had the new size.
            header.set_virtual_size(virtual_size)?;
        }
        // No entry points into a sector that is not whole.
        let end = data_sectors.end.saturating_mul(SECTOR_SIZE);
        Ok(Self::assemble(header, log, mappings, end))
    }

    fn assemble(header: FileHeader, log: Log, mappings: Mappings, end: u64) -> Self {
        Self {
            data: Arc::clone(&header.storage),
            virtual_size: AtomicU64::new(header.record().virtual_size),
            header: Mutex::new(header),
            mappings: RwLock::new(mappings),
            tail: Mutex::new(Tail { end, ..Tail::default() }),
            log: Mutex::new(log),
        }
    }

    /// Stores `bytes` at byte `offset` of the device. Both ends lie on sectors. The virtual size does
    /// not bound it.
    ///
    /// A read that begins after this returns sees the bytes. They are durable after a
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidWrite`], [`Error::ReadOnly`] if the layer is sealed, [`Error::Io`]. After an error
    /// each sector of the range reads as before or as written.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut start = sectors_of(offset, bytes.len() as u64)?.start;
        let mut tail = lock(&self.tail);
        tail.state.check()?;
        for part in bytes.chunks(MAX_WRITE) {
            let len = part.len() as u64 / SECTOR_SIZE;
            let segment = tail.segment(start, len, false)?;
            self.data.write(part, tail.end)?;
            tail.end = tail.end.saturating_add(part.len() as u64);
            self.map(&mut tail, segment);
            start = start.saturating_add(len);
        }
        Ok(())
    }

    /// Makes `len` bytes at byte `offset` of the device read as zeros, whatever lower layers hold.
    /// Both ends lie on sectors.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let sectors = sectors_of(offset, len)?;
        let mut tail = lock(&self.tail);
        tail.state.check()?;
        let mut start = sectors.start;
        while start < sectors.end {
            let len = sectors.end.saturating_sub(start).min(MAX_LENGTH);
            let segment = tail.segment(start, len, true)?;
            self.map(&mut tail, segment);
            start = start.saturating_add(len);
        }
        Ok(())
    }

    /// Makes durable all writes and discards that returned before this was called.
    ///
    /// The data reaches the medium first, then the segments that point to it. Calls from several
    /// threads share the work: one flushes, and those that came meanwhile are served by the next,
    /// together.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]. If the medium failed to sync, what was written since the last flush may be lost,
    /// and the layer takes no more writes until it is opened again.
    pub fn flush(&self) -> Result<()> {
        let wanted = lock(&self.tail).mapped;
        let mut log = lock(&self.log);
        let (segments, mapped, tag) = {
            let mut tail = lock(&self.tail);
            tail.state.check_flush()?;
            if tail.durable >= wanted {
                return Ok(());
            }
            (std::mem::take(&mut tail.pending), tail.mapped, tail.tag)
        };
        self.data.persist().map_err(|error| lock(&self.tail).state.fail(error))?;
        if let Err(error) = log.append(&segments, tag) {
            // The segments go first again, and to the same place of the file.
            lock(&self.tail).pending.splice(0..0, segments);
            return Err(error);
        }
        log.persist().map_err(|error| lock(&self.tail).state.fail(error))?;
        lock(&self.tail).durable = mapped;
        Ok(())
    }

    /// Seals the layer in place: afterwards the data file is a layer of its own, which
    /// [`Layer`](crate::Layer) reads, garbage included, and this value takes no more writes.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`] if the layer is sealed, [`Error::Io`]; the layer is open then.
    pub fn seal(&self) -> Result<()> {
        lock(&self.tail).state.seal()?;
        let sealed = self.flush().and_then(|()| {
            let header = lock(&self.header).record().clone();
            let end = lock(&self.tail).end;
            seal::seal(&self.data, &header, end, shared(&self.mappings).iter())
        });
        sealed.or_else(|error| self.open_again().and(Err(error)))
    }

    /// Whether what was flushed can be relied on; an error if the medium failed to sync.
    pub(crate) fn check(&self) -> Result<()> {
        lock(&self.tail).state.check_flush()
    }

    pub(crate) fn fail(&self, error: Error) -> Error {
        lock(&self.tail).state.fail(error)
    }

    /// Takes back a [`seal`](Self::seal).
    pub(crate) fn open_again(&self) -> Result<()> {
        let mut tail = lock(&self.tail);
        let cut = self.data.set_length(tail.end).and_then(|()| self.data.persist());
        cut.map_err(|error| tail.state.fail(error))?;
        tail.state.open();
        Ok(())
    }

    /// Bytes of the data file that nothing reads any more.
    #[must_use]
    pub fn garbage(&self) -> u64 {
        let end = lock(&self.tail).end.saturating_sub(BLOCK_SIZE as u64);
        end.saturating_sub(shared(&self.mappings).stored().saturating_mul(SECTOR_SIZE))
    }

    /// What the layer maps, in ascending order.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        shared(&self.mappings).iter().collect()
    }

    /// Size of the device in bytes; 0 if the layer leaves it to the layers below.
    #[must_use]
    pub fn virtual_size(&self) -> u64 {
        self.virtual_size.load(Ordering::Relaxed)
    }

    /// The identity of the layer and of the one below.
    #[must_use]
    pub fn identity(&self) -> (Uuid, Uuid) {
        let header = lock(&self.header);
        (header.record().uuid, header.record().parent_uuid)
    }

    /// Pads what each flush appends to the index file to a multiple of `bytes`, so that no sector of
    /// it is written twice. The reference does so with 4096, and readers drop the padding; by
    /// default there is none.
    pub fn set_index_unit(&self, bytes: usize) {
        lock(&self.log).set_unit(bytes / lsmt::ENTRY_SIZE);
    }

    fn index_unit(&self) -> usize {
        lock(&self.log).unit().saturating_mul(lsmt::ENTRY_SIZE)
    }

    pub(crate) fn set_virtual_size(&self, size: u64) -> Result<()> {
        let mut log = lock(&self.log);
        lock(&self.tail).state.check()?;
        let resized =
            lock(&self.header).set_virtual_size(size).and_then(|()| log.header().set_virtual_size(size));
        resized.map_err(|error| lock(&self.tail).state.fail(error))?;
        self.virtual_size.store(size, Ordering::Relaxed);
        Ok(())
    }

    /// Has segments written with the number of layers below, as the reference does.
    pub(crate) fn stack_on(&self, layers: u8) {
        lock(&self.tail).tag = layers;
    }

    pub(crate) fn find(&self, at: u64, end: u64) -> Found {
        shared(&self.mappings).find(at, end)
    }

    pub(crate) fn data(&self) -> &Arc<dyn Storage> {
        &self.data
    }

    /// The header of the data file, and where its data ends.
    pub(crate) fn extent(&self) -> (lsmt::Header, u64) {
        let record = lock(&self.header).record().clone();
        (record, lock(&self.tail).end)
    }

    fn map(&self, tail: &mut Tail, segment: Segment) {
        exclusive(&self.mappings).insert(segment);
        tail.pending.push(segment);
        tail.mapped = tail.mapped.saturating_add(1);
    }
}

/// Where the layer grows.
#[derive(Debug, Default)]
struct Tail {
    state: State,
    /// Where the next bytes go in the data file.
    end: u64,
    /// Segments that are not in the index file yet.
    pending: Vec<Segment>,
    /// Segments mapped, and how many of them are durable.
    mapped: u64,
    durable: u64,
    tag: u8,
}

impl Tail {
    fn segment(&self, start: u64, len: u64, zeroed: bool) -> Result<Segment> {
        Segment::new(start, len, self.end / SECTOR_SIZE, zeroed).ok_or(Error::InvalidWrite {
            offset: start.saturating_mul(SECTOR_SIZE),
            len: len.saturating_mul(SECTOR_SIZE),
            why: "the data file is as large as the format allows",
        })
    }
}
