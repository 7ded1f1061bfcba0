//! A layer that is written in place.

mod below;
mod change;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use super::header::{FileHeader, Role};
use super::locks::{lock, shared};
use super::mappings::{Found, Mappings};
use super::state::State;
use super::{BLOCK, Storage, UpperOptions, seal};
use crate::lsmt::{BLOCK_SIZE, FIRST_DATA_SECTOR, MAX_LENGTH, SECTOR_SIZE, Segment};
use crate::{Error, Limits, Result, Uuid};

pub(crate) use below::{Below, Edges};

/// A writable layer in one file with holes: byte *x* of the device is byte 4096 + *x* of the file,
/// and a hole says nothing of its sectors.
///
/// ```text
///  file    header │ data │ hole │ data │ hole            size: 4096 + virtual size
///  device         │ data │ below│ data │ below
/// ```
///
/// The holes are the only index, and there are none smaller than a block of 4 KiB. So a block is in
/// the layer as a whole or not at all: the first write into a part of one also stores what lower
/// layers have of the rest, and a discard leaves a hole only where lower layers read as zeros
/// anyway, and zeros otherwise. Readers that know nothing of this see the right bytes.
///
/// ```
/// use overlaybd_format::{FileStorage, Limits, Sparse, UpperOptions};
///
/// # if cfg!(not(target_os = "linux")) {
/// #     return Ok(());
/// # }
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("data");
/// let layer = Sparse::create(FileStorage::create(&path)?, &UpperOptions::new(1 << 30))?;
/// layer.write(4096, &[7; 512])?;
/// layer.flush()?;
/// drop(layer);
///
/// let layer = Sparse::open(FileStorage::open(&path)?, &Limits::default())?;
/// assert_eq!(layer.segments()[0].sectors(), 8..16);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Sparse {
    data: Arc<dyn Storage>,
    header: Mutex<FileHeader>,
    virtual_size: AtomicU64,
    mappings: RwLock<Mappings>,
    /// Held by whoever changes the file.
    state: Mutex<State>,
    /// Held by whoever syncs the file: a medium reports an error to one caller only.
    sync: Mutex<()>,
}

impl Sparse {
    /// Makes an empty layer of an empty file, on the medium when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if the file does not keep holes of [`BLOCK`] bytes; [`Error::InvalidWrite`]
    /// for a virtual size that is no multiple of 512; [`Error::Refused`] if the file is not empty;
    /// [`Error::Io`].
    pub fn create(data: impl Storage + 'static, options: &UpperOptions) -> Result<Self> {
        options.check()?;
        let data: Arc<dyn Storage> = Arc::new(data);
        let header = FileHeader::create(Arc::clone(&data), Role::Sparse, options)?;
        check_holes(&data)?;
        data.set_length(FIRST_BYTE.saturating_add(options.virtual_size))?;
        data.persist()?;
        Ok(Self::assemble(header, Mappings::default()))
    }

    /// Opens a layer that was written before, here or by the reference.
    ///
    /// The reference keeps no record of discards and of which part of a block it wrote: after it has
    /// written, discarded ranges show the layers below, and the rest of a block hides them.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if the file is no sparse layer or shorter than its virtual size;
    /// [`Error::ReadOnly`] if the layer is sealed; [`Error::Limit`] for too many runs of data;
    /// [`Error::Io`].
    pub fn open(data: impl Storage + 'static, limits: &Limits) -> Result<Self> {
        Self::load(Arc::new(data), limits, |data, _| Err(seal::refused(data)))
    }

    /// Opens a layer that was sealed in place as it was before: index and trailer are cut off. See
    /// [`AppendOnly::unseal`](super::AppendOnly::unseal).
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), except that a sealed layer is none.
    pub fn unseal(data: impl Storage + 'static, limits: &Limits) -> Result<Self> {
        Self::load(Arc::new(data), limits, |data, end| {
            data.set_length(end)?;
            data.persist()
        })
    }

    fn load(
        data: Arc<dyn Storage>,
        limits: &Limits,
        on_sealed: impl FnOnce(&Arc<dyn Storage>, u64) -> Result<()>,
    ) -> Result<Self> {
        let header = FileHeader::open(Arc::clone(&data), Role::Sparse)?;
        let virtual_size = header.record().virtual_size;
        let device_end = FIRST_BYTE.saturating_add(virtual_size);
        if let Some(end) = seal::sealed_at(&data, header.record(), device_end)? {
            on_sealed(&data, end)?;
        }
        let size = data.length()?;
        if size < device_end {
            let why = format!("the file ends at {size}, its device at {device_end}");
            return Err(Error::broken("sparse layer", 0, why).in_blob(data.name()));
        }
        let mut end = size.next_multiple_of(SECTOR_SIZE);
        if virtual_size != 0 {
            // Behind the last block is what an interrupted seal left, or a device that was larger.
            end = end.min(device_end.next_multiple_of(BLOCK));
        }
        if size != end {
            data.set_length(end)?;
        }

        let mut mappings = Mappings::default();
        let mut at = FIRST_BYTE;
        while let Some(run) = data.data_after(at)? {
            let sectors = run.start.saturating_sub(FIRST_BYTE) / SECTOR_SIZE
                ..run.end.saturating_sub(FIRST_BYTE).div_ceil(SECTOR_SIZE);
            map(&mut mappings, sectors);
            if mappings.len() as u64 > limits.merged_segments {
                let (value, limit) = (mappings.len() as u64, limits.merged_segments);
                let error = Error::Limit { what: "segments of a sparse layer", value, limit };
                return Err(error.in_blob(data.name()));
            }
            at = run.end;
        }
        Ok(Self::assemble(header, mappings))
    }

    fn assemble(header: FileHeader, mappings: Mappings) -> Self {
        Self {
            data: Arc::clone(&header.storage),
            virtual_size: AtomicU64::new(header.record().virtual_size),
            header: Mutex::new(header),
            mappings: RwLock::new(mappings),
            state: Mutex::default(),
            sync: Mutex::default(),
        }
    }

    /// Stores `bytes` at byte `offset` of the device, which has no layers below. Both ends lie on
    /// sectors. The virtual size does not bound it.
    ///
    /// # Errors
    ///
    /// As [`AppendOnly::write`](super::AppendOnly::write).
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.write_over(offset, bytes, &Edges::default())
    }

    /// Makes `len` bytes at byte `offset` of the device, which has no layers below, read as zeros.
    /// Both ends lie on sectors.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.discard_over(offset, len, &Below::default())
    }

    /// Makes durable all writes and discards that returned before this was called.
    ///
    /// # Errors
    ///
    /// As [`AppendOnly::flush`](super::AppendOnly::flush).
    pub fn flush(&self) -> Result<()> {
        let _sync = lock(&self.sync);
        lock(&self.state).check_flush()?;
        self.data.persist().map_err(|error| lock(&self.state).fail(error))
    }

    /// Seals the layer in place; see [`AppendOnly::seal`](super::AppendOnly::seal).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn seal(&self) -> Result<()> {
        lock(&self.state).seal()?;
        let sealed = self.flush().and_then(|()| {
            // A block of its own, so that no hole is filled before there is an index.
            let at = self.data.length()?.next_multiple_of(BLOCK);
            let header = lock(&self.header).record().clone();
            let sealed = seal::seal(&self.data, &header, at, shared(&self.mappings).iter());
            sealed.map_err(|error| self.cut(at).err().unwrap_or(error))
        });
        if sealed.is_err() {
            lock(&self.state).open();
        }
        sealed
    }

    /// Whether what was flushed can be relied on; an error if the medium failed to sync.
    pub(crate) fn check(&self) -> Result<()> {
        lock(&self.state).check_flush()
    }

    pub(crate) fn fail(&self, error: Error) -> Error {
        lock(&self.state).fail(error)
    }

    /// Takes back a [`seal`](Self::seal).
    pub(crate) fn open_again(&self) -> Result<()> {
        let header = lock(&self.header).record().clone();
        if let Some(at) = seal::sealed_at(&self.data, &header, FIRST_BYTE)? {
            self.cut(at)?;
        }
        lock(&self.state).open();
        Ok(())
    }

    fn cut(&self, at: u64) -> Result<()> {
        let cut = self.data.set_length(at).and_then(|()| self.data.persist());
        cut.map_err(|error| lock(&self.state).fail(error))
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

    /// Resizes the device. A larger file is on the medium before the header tells of it; a file that
    /// is too large is cut when it is opened.
    pub(crate) fn set_virtual_size(&self, size: u64) -> Result<()> {
        let mut state = lock(&self.state);
        state.check()?;
        let resize = || {
            let end = FIRST_BYTE.saturating_add(size);
            if self.data.length()? < end {
                self.data.set_length(end)?;
                self.data.persist()?;
            }
            lock(&self.header).set_virtual_size(size)
        };
        resize().map_err(|error| state.fail(error))?;
        self.virtual_size.store(size, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn find(&self, at: u64, end: u64) -> Found {
        shared(&self.mappings).find(at, end)
    }

    pub(crate) fn data(&self) -> &Arc<dyn Storage> {
        &self.data
    }
}

/// Fails if the file, which has but a header, does not tell its holes from its data.
fn check_holes(data: &Arc<dyn Storage>) -> Result<()> {
    data.set_length(FIRST_BYTE.saturating_add(BLOCK))?;
    match data.next_data(FIRST_BYTE) {
        Ok(None) => Ok(()),
        _ => {
            let what = "file system: it keeps no holes of this many bytes";
            Err(Error::Unsupported { what, value: BLOCK }.in_blob(data.name()))
        }
    }
}

/// Maps `sectors` to their place in the file.
fn map(mappings: &mut Mappings, sectors: Range<u64>) {
    let mut start = sectors.start;
    while start < sectors.end {
        let len = sectors.end.saturating_sub(start).min(MAX_LENGTH);
        if let Some(segment) = Segment::data(start, len, start.saturating_add(FIRST_DATA_SECTOR)) {
            mappings.insert(segment);
        }
        start = start.saturating_add(len);
    }
}

/// Where the device starts in the file.
const FIRST_BYTE: u64 = BLOCK_SIZE as u64;
