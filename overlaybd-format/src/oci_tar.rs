//! The tar stream of an OCI layer, entry by entry, with the place of every byte of content.
//!
//! ```text
//!  ┌ records for the next entry ┐
//!  │ pax header │ long name │ … │ header │ content, padded │ … │ 1024 zeros │
//! ```
//!
//! An entry is what its header, the GNU headers and the pax records before it say together. Sparse files
//! are read in all four forms that GNU tar writes. Numbers may be octal, base-256 or, in pax records,
//! decimal; times have fractions and signs. What a name means, and whether it may be used, is not asked
//! here.

#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

mod entry;
mod header;
mod pax;
mod reader;
mod sparse;

pub use entry::{ContentRange, EntryKind, TarEntry, Timestamp};
pub use reader::TarReader;
