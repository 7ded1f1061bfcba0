//! overlaybd layer blobs as virtual block devices.
//!
//! overlaybd (DADI) stores each layer of a container image as a block-level difference. This crate
//! turns the bytes of such blobs into a device, without a runtime, a network or a cache of its own:
//!
//! ```text
//!  blob: any ReadAt            Content                 Layer                  Image: ReadAt
//! ┌───────────────────┐   ┌───────────────────┐   ┌──────────────┐   ┌──────────────────────────┐
//! │ tar ⊃ ZFile ⊃ LSMT│ ─►│ wrappers taken off│ ─►│ sorted index │ ─►│ merged index of the stack│
//! └───────────────────┘   └───────────────────┘   └──────────────┘   └──────────────────────────┘
//! ```
//!
//! * Read a device: [`Image::open`] over [`LayerBlob`]s; any [`ReadAt`] can be the blob.
//! * Write a layer: [`LayerWriter`].
//! * Know what to fetch first: [`trace`] and [`FileList`].
//! * Look inside: [`Layer`], [`Content`], [`Index`], [`lsmt`] and [`zfile`].
//!
//! Layers are hostile input: every structure is checked against its file and [`Limits`] before it
//! is used, and bytes that the format protects are checked before they are returned.
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod blob;
mod content;
mod error;
mod extent;
mod fields;
mod file_list;
mod filesystem;
mod image;
mod index;
mod layer;
mod layer_writer;
mod limits;
pub mod lsmt;
mod open;
mod parallel;
mod read_at;
mod tar;
pub mod trace;
pub mod zfile;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use blob::{FileBlob, MemoryBlob};
pub use content::{Compressed, Content};
pub use error::{Error, Result};
pub use extent::{Extent, ExtentKind};
pub use file_list::{FileList, ListedFiles};
pub use image::Image;
pub use index::{Index, Lookup};
pub use layer::{Layer, LayerBlob};
pub use layer_writer::{LayerOptions, LayerWriter};
pub use limits::Limits;
pub use lsmt::{Segment, Uuid};
pub use parallel::try_read_parallel;
pub use read_at::{ReadAt, Warm, check_bounds};
pub use zfile::Algorithm;
pub use zfile::writer::Compression;

/// Runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
