//! overlaybd layer blobs as virtual block devices.
#![warn(missing_docs)]

mod blob;
mod error;
mod limits;
mod read_at;

pub use blob::{FileBlob, MemoryBlob};
pub use error::{Error, Result};
pub use limits::Limits;
pub use read_at::{ReadAt, Warm, check_bounds};

#[cfg(feature = "conformance")]
pub mod conformance {}
