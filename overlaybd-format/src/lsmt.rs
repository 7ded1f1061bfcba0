//! LSMT: a layer as sorted segments of a device, and where the bytes of each segment are.
//!
//! ```text
//! 0        4096                      index offset                   size - 4096
//! ┌────────┬─────────────────────────┬──────────────────────────────┬─────────┐
//! │ header │ data, 512-byte sectors  │ index, 16 bytes per segment  │ trailer │
//! └────────┴─────────────────────────┴──────────────────────────────┴─────────┘
//! ```
//!
//! Header and trailer are the same record with other flags; the trailer carries what counts. An
//! LSMT stream has no checksum of its own: integrity comes from the ZFile around it and from the
//! digest of the blob.

mod header;
mod segment;
mod segments;
mod tags;
mod uuid;
pub(crate) mod writer;

pub use header::Header;
pub use segment::{SECTOR_SIZE, Segment};

pub(crate) use segment::{MAX_LENGTH, SENTINEL, SENTINEL_START};
pub use uuid::Uuid;

pub(crate) use header::{BLOCK_SIZE, FLAG_DATA, FLAG_HEADER, FLAG_SEALED, FLAG_SPARSE, USER_TAG_LEN};
pub(crate) use segments::{ENTRY_SIZE, FIRST_DATA_SECTOR, fault};
