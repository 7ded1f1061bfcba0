//! Converting an ordinary image: the tars of its layers in, layers of one EROFS filesystem out.
//!
//! ```text
//!  tar ──► entries ──► the tree of all files so far ──► places ──► inodes, directories ─┐
//!       └► contents: into the layer (full mode) or left where they are (index-only) ────┴► LayerWriter
//! ```
//!
//! A layer holds what it changes of the filesystem below: its files, the inodes and directories that are new or
//! others now, and the superblock. See [`Converter`] for an example.
//!
//! # What a layer means
//!
//! * Whiteouts take away what lower layers have, never what is in the same tar, wherever they stand in it.
//! * A later entry of a name replaces an earlier one; a directory over a directory replaces its attributes only.
//! * Missing directories are made with mode 0755, and do not change the time of the one above them.
//! * A link on the way to a name is followed inside the root, up to 40 of them; the last component never is.
//! * A name that leads out of the root by its text, a hard link to what is not there, and a file where a directory
//!   would have to be are [`Error::Broken`](crate::Error::Broken).
//! * The root itself has mode 0755 and owner 0, whatever a tar says of it.
//! * Attributes outside the namespaces that Linux has are left out, as unpackers leave them out, and those of
//!   overlayfs, which would take them for its own.

#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

mod apply;
mod blocks;
mod converter;
mod files;
mod metadata;
mod options;
mod path;
mod places;
mod read;
mod tar_index;
mod tree;

pub use converter::Converter;
pub use files::files;
pub use options::{ConvertOptions, ConvertedLayer};
pub use tar_index::TarIndex;
