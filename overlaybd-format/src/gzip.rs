//! Gzip blobs read at any position: what index-only layers need of ordinary OCI layers.
//!
//! ```text
//!            GzipIndexer                     GzipIndex + blob
//!  blob.gz ──────────────► gzip.meta         ─────────────────► GzipBlob: ReadAt
//!            inflates once, front to back      inflates from the checkpoint before a read
//! ```
//!
//! Both go through *all* members of the blob. The reference stops at the end of the first one, and
//! what is behind reads as zeros there.

#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

mod blob;
mod checks;
mod index;
mod indexer;
mod member;
mod members;
mod run;
mod runs;
mod window;

pub use blob::GzipBlob;
pub use index::GzipIndex;
pub use indexer::{GzipIndexOptions, GzipIndexer};
