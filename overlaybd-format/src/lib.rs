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
//! * Write a layer, commit one or merge a stack: [`LayerWriter`]; wrap other content: [`ContentWriter`].
//! * Change a device: [`WritableImage`] over an [`Upper`] and an image; see [`upper`].
//! * Know what to fetch first: [`trace`] and [`FileList`].
//! * Look inside: [`Layer`], [`Content`], [`Index`], [`lsmt`], [`zfile`] and [`tar`].
//!
//! Layers are hostile input: every structure is checked against its file and [`Limits`] before it
//! is used, and bytes that the format protects are checked before they are returned.
//!
//! # Without a runtime
//!
//! The futures of this crate need no runtime: over blobs that are at hand they are ready at once, and any
//! executor drives the others. A VMM that does its own reads needs no future either. What a read is for is
//! decoded from bytes, and says which bytes to read next:
//!
//! ```
//! # use std::io::Cursor;
//! # use overlaybd_format::{Compression, LayerOptions, LayerWriter, Tar};
//! use std::ops::Range;
//! use overlaybd_format::{Index, Limits, Result, lsmt, tar, zfile};
//!
//! # let options = LayerOptions::new(1 << 20)
//! #     .with_compression(Some(Compression::default()))
//! #     .with_tar(Some(Tar::Pax));
//! # let mut writer = LayerWriter::new(Cursor::new(Vec::new()), options)?;
//! # writer.write(8192, &[7; 1024])?;
//! # let blob = writer.finish()?.into_inner();
//! let limits = Limits::default();
//! let read = |range: Range<u64>| &blob[range.start as usize..range.end as usize];
//!
//! // The tar around the ZFile.
//! let size = blob.len() as u64;
//! let inside = tar::unwrap(read(0..size.min(tar::HEAD as u64)), size)?;
//! let read = |range: Range<u64>| read(inside.start + range.start..inside.start + range.end);
//!
//! // The ZFile around the LSMT stream. One that is not compressed lacks this step.
//! let size = inside.end - inside.start;
//! let mut header = zfile::Header::decode_header(read(0..512))?;
//! if !header.is_finished() {
//!     let at = zfile::Header::trailer_range(size)?;
//!     header = zfile::Header::decode_trailer(read(at.clone()), at.start)?;
//! }
//! let table = zfile::Blocks::table_range(&header, size, &limits)?;
//! let blocks = zfile::Blocks::decode_table(&header, read(table))?;
//! let read = |range: Range<u64>| -> Result<Vec<u8>> {
//!     let mut content = vec![0; (range.end - range.start) as usize];
//!     let stored = blocks.stored(range.clone())?;
//!     blocks.decode(range.start, read(stored), &mut content)?;
//!     Ok(content)
//! };
//!
//! // The stream: its trailer says where the index is.
//! let size = blocks.content_size();
//! lsmt::Header::decode_header(&read(0..4096)?)?;
//! let at = lsmt::Header::trailer_range(size)?;
//! let trailer = lsmt::Header::decode_trailer(&read(at.clone())?, at.start)?;
//! let segments = trailer.decode_index(&read(trailer.index_range(size, &limits)?)?)?;
//!
//! // The device: a stack has the segments of each of its layers here.
//! let index = Index::merge(vec![segments], &limits)?;
//! for segment in index.lookup(0..17).filter(|segment| !segment.is_zeroed()) {
//!     assert_eq!((segment.layer(), segment.sectors()), (0, 16..17));
//!     let at = segment.stored_at() * lsmt::SECTOR_SIZE;
//!     assert_eq!(read(at..at + lsmt::SECTOR_SIZE)?, [7; 512]);
//! }
//! # Ok::<_, overlaybd_format::Error>(())
//! ```
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod blob;
mod content;
mod content_writer;
#[cfg(feature = "convert")]
pub mod convert;
mod digest;
mod erofs;
mod error;
mod extent;
mod fields;
mod file_list;
mod filesystem;
#[cfg(feature = "gzip")]
mod gzip;
mod image;
mod index;
mod index_only;
mod layer;
mod layer_writer;
mod limits;
pub mod lsmt;
#[cfg(feature = "convert")]
pub mod oci_tar;
mod open;
mod parallel;
mod read_at;
mod read_write_at;
mod sink;
pub mod tar;
pub mod trace;
pub mod upper;
mod writable_image;
pub mod zfile;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use blob::{FileBlob, MemoryBlob};
pub use content::{Compressed, Content};
pub use content_writer::{ContentWriter, Wrappers};
pub use digest::{Digest, DigestWriter};
pub use error::{Error, Result};
pub use extent::{Extent, ExtentKind};
pub use file_list::{FileList, ListedFiles};
#[cfg(feature = "gzip")]
pub use gzip::{GzipBlob, GzipIndex, GzipIndexOptions, GzipIndexer};
pub use image::Image;
pub use index::{Index, Lookup, Lookups};
pub use layer::{Layer, LayerBlob};
pub use layer_writer::{LayerOptions, LayerWriter, Source};
pub use limits::Limits;
pub use lsmt::{Segment, Uuid};
pub use parallel::try_read_parallel;
pub use read_at::{ReadAt, Warm, check_bounds};
pub use read_write_at::{ReadOnly, ReadWriteAt};
pub use tar::Tar;
pub use upper::{AppendOnly, FileStorage, Sparse, Storage, Upper, UpperOptions};
pub use writable_image::{PublishError, WritableImage};
pub use zfile::{Algorithm, Compression};

/// Runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
