//! Writable layers: what an image is given on top, to be changed.
//!
//! ```text
//!                    ┌───────────────────────────┐
//!   write, discard ─►│ upper: AppendOnly, Sparse │─► Storage: a file that can crash
//!                    ├───────────────────────────┤
//!             read ─►│ lowers: an Image          │   what the upper has not got
//!                    └───────────────────────────┘
//!                     WritableImage: ReadWriteAt
//! ```
//!
//! # Durability
//!
//! A write or discard is seen by every read that begins after it returned. It is *durable* when a
//! flush that began after it returned has returned: then no crash of the process or the machine
//! loses it. What was not flushed may be lost, as in the cache of a disk:
//!
//! * an [append-only](AppendOnly) layer then is as it was at some moment since the last flush;
//! * in a [sparse](Sparse) layer, each sector has what it had at the last flush or anything that was
//!   written to it since.
//!
//! Never does a sector read as something that was not written there. To close a layer cleanly is to
//! flush it; dropping it is a crash.
//!
//! # Which kind
//!
//! | | append-only | sparse |
//! | --- | --- | --- |
//! | files | data and index | one, with holes |
//! | a write | appends | overwrites in place; the first one into a block of 4 KiB takes the rest of the block from below |
//! | a discard | one entry | a hole, or zeros where a lower layer has data |
//! | garbage | until compacted | none |
//! | needs | any file system | one that keeps and reports holes of 4 KiB |
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

mod append_only;
mod file;
mod header;
mod layer;
mod locks;
mod mappings;
mod seal;
mod sparse;
mod state;
mod storage;

use std::ops::Range;
use std::sync::Arc;

use crate::lsmt::{SECTOR_SIZE, SENTINEL_START, Segment, Uuid};
use crate::{Error, Limits, Result};

pub use append_only::AppendOnly;
pub use file::FileStorage;
pub(crate) use locks::{exclusive, lock, shared};
pub(crate) use mappings::Found;
pub use sparse::Sparse;
pub(crate) use sparse::{Below, Edges};
pub use storage::{BLOCK, Storage};

/// What a new writable layer says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpperOptions {
    /// Size of the device in bytes, a multiple of 512; 0 takes that of the layers below.
    pub virtual_size: u64,
    /// Identity of the layer.
    pub uuid: Uuid,
    /// Identity of the layer below.
    pub parent_uuid: Uuid,
}

impl UpperOptions {
    /// Options for a device of `virtual_size` bytes, without identity.
    #[must_use]
    pub fn new(virtual_size: u64) -> Self {
        Self { virtual_size, uuid: Uuid::NIL, parent_uuid: Uuid::NIL }
    }

    /// Sets [`uuid`](Self::uuid) and [`parent_uuid`](Self::parent_uuid).
    #[must_use]
    pub fn with_identity(mut self, uuid: Uuid, parent_uuid: Uuid) -> Self {
        (self.uuid, self.parent_uuid) = (uuid, parent_uuid);
        self
    }

    fn check(&self) -> Result<()> {
        sectors_of(0, self.virtual_size).map(|_| ())
    }
}

/// A writable layer of either kind.
#[derive(Debug)]
pub enum Upper {
    /// Data and index.
    AppendOnly(AppendOnly),
    /// One file with holes.
    Sparse(Sparse),
}

impl From<AppendOnly> for Upper {
    fn from(layer: AppendOnly) -> Self {
        Self::AppendOnly(layer)
    }
}

impl From<Sparse> for Upper {
    fn from(layer: Sparse) -> Self {
        Self::Sparse(layer)
    }
}

impl Upper {
    /// Opens an existing layer of the kind that the header of its data file says. A sparse layer does
    /// not need `index`, which the reference leaves empty.
    ///
    /// # Errors
    ///
    /// As [`AppendOnly::open`] and [`Sparse::open`].
    pub fn open(
        data: impl Storage + 'static,
        index: impl Storage + 'static,
        limits: &Limits,
    ) -> Result<Self> {
        let data: Arc<dyn Storage> = Arc::new(data);
        if header::is_sparse(&data)? {
            Sparse::open(data, limits).map(Self::Sparse)
        } else {
            AppendOnly::open(data, index, limits).map(Self::AppendOnly)
        }
    }

    /// Opens a layer that was sealed in place as it was before; see [`AppendOnly::unseal`].
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), except that a sealed layer is none.
    pub fn unseal(
        data: impl Storage + 'static,
        index: impl Storage + 'static,
        limits: &Limits,
    ) -> Result<Self> {
        let data: Arc<dyn Storage> = Arc::new(data);
        if header::is_sparse(&data)? {
            Sparse::unseal(data, limits).map(Self::Sparse)
        } else {
            AppendOnly::unseal(data, index, limits).map(Self::AppendOnly)
        }
    }

    /// Stores `bytes` at byte `offset` of a device without layers below; see [`AppendOnly::write`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.write_over(offset, bytes, &Edges::default())
    }

    /// Discards `len` bytes at byte `offset` of a device without layers below; see
    /// [`AppendOnly::discard`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.discard_over(offset, len, &Below::default())
    }

    /// Makes durable all writes and discards that returned before; see [`AppendOnly::flush`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn flush(&self) -> Result<()> {
        match self {
            Self::AppendOnly(layer) => layer.flush(),
            Self::Sparse(layer) => layer.flush(),
        }
    }

    /// Seals the layer in place; see [`AppendOnly::seal`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn seal(&self) -> Result<()> {
        match self {
            Self::AppendOnly(layer) => layer.seal(),
            Self::Sparse(layer) => layer.seal(),
        }
    }

    /// What the layer maps, in ascending order, into its data file.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        match self {
            Self::AppendOnly(layer) => layer.segments(),
            Self::Sparse(layer) => layer.segments(),
        }
    }

    /// Size of the device in bytes; 0 if the layer leaves it to the layers below.
    #[must_use]
    pub fn virtual_size(&self) -> u64 {
        match self {
            Self::AppendOnly(layer) => layer.virtual_size(),
            Self::Sparse(layer) => layer.virtual_size(),
        }
    }

    /// The identity of the layer and of the one below.
    #[must_use]
    pub fn identity(&self) -> (Uuid, Uuid) {
        match self {
            Self::AppendOnly(layer) => layer.identity(),
            Self::Sparse(layer) => layer.identity(),
        }
    }

    /// Resizes the device: the layer says so in its headers, on the medium when this returns. What it
    /// maps stays; [`WritableImage::resize`](crate::WritableImage::resize) discards what is cut off.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidWrite`] for a size that is no multiple of 512, [`Error::ReadOnly`] if the layer is
    /// sealed, [`Error::Io`]; the layer takes no more writes after the latter.
    pub fn set_virtual_size(&self, size: u64) -> Result<()> {
        sectors_of(0, size)?;
        match self {
            Self::AppendOnly(layer) => layer.set_virtual_size(size),
            Self::Sparse(layer) => layer.set_virtual_size(size),
        }
    }

    /// Takes back a [`seal`](Self::seal).
    pub(crate) fn open_again(&self) -> Result<()> {
        match self {
            Self::AppendOnly(layer) => layer.open_again(),
            Self::Sparse(layer) => layer.open_again(),
        }
    }

    /// Whether what was flushed can be relied on; an error if the medium failed to sync.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::AppendOnly(layer) => layer.check(),
            Self::Sparse(layer) => layer.check(),
        }
    }

    /// Ends writing to the layer until it is opened again: whoever tries gets `error`, which is
    /// returned.
    pub(crate) fn fail(&self, error: Error) -> Error {
        match self {
            Self::AppendOnly(layer) => layer.fail(error),
            Self::Sparse(layer) => layer.fail(error),
        }
    }

    /// Tells the layer how many are below.
    pub(crate) fn stack_on(&self, layers: u8) {
        if let Self::AppendOnly(layer) = self {
            layer.stack_on(layers);
        }
    }

    /// The blocks whose content in the layers below a write or discard of `sectors` needs, in sectors.
    pub(crate) fn edges(&self, sectors: Range<u64>) -> Vec<Range<u64>> {
        match self {
            Self::AppendOnly(_) => Vec::new(),
            Self::Sparse(layer) => layer.edges(sectors),
        }
    }

    /// A write on top of layers that have `edges`.
    pub(crate) fn write_over(&self, offset: u64, bytes: &[u8], edges: &Edges) -> Result<()> {
        match self {
            Self::AppendOnly(layer) => layer.write(offset, bytes),
            Self::Sparse(layer) => layer.write_over(offset, bytes, edges),
        }
    }

    /// A discard on top of layers that have `below`.
    pub(crate) fn discard_over(&self, offset: u64, len: u64, below: &Below) -> Result<()> {
        match self {
            Self::AppendOnly(layer) => layer.discard(offset, len),
            Self::Sparse(layer) => layer.discard_over(offset, len, below),
        }
    }

    /// What the layer says of sector `at`, for at most the sectors before `end`.
    pub(crate) fn find(&self, at: u64, end: u64) -> Found {
        match self {
            Self::AppendOnly(layer) => layer.find(at, end),
            Self::Sparse(layer) => layer.find(at, end),
        }
    }

    /// The file that the segments point into.
    pub(crate) fn data(&self) -> &Arc<dyn Storage> {
        match self {
            Self::AppendOnly(layer) => layer.data(),
            Self::Sparse(layer) => layer.data(),
        }
    }
}

/// `len` bytes at byte `offset` of a device, in sectors.
pub(crate) fn sectors_of(offset: u64, len: u64) -> Result<Range<u64>> {
    let refuse = |why| Err(Error::InvalidWrite { offset, len, why });
    if !offset.is_multiple_of(SECTOR_SIZE) || !len.is_multiple_of(SECTOR_SIZE) {
        return refuse("it does not start and end at a sector");
    }
    match offset.checked_add(len).map(|end| end / SECTOR_SIZE) {
        Some(end) if end < SENTINEL_START => Ok(offset / SECTOR_SIZE..end),
        _ => refuse("it is beyond the last sector that the format can number"),
    }
}

/// The longest write that is one segment, in bytes; the reference cuts here, too.
const MAX_WRITE: usize = 4 << 20;
