//! Any range of any immutable remote blob: fetched once, checked, cached, in the right order.
//!
//! ```text
//!  reader                              errand (a task of its own)
//!    │ Blob::read_at                         ┌─► ChunkStore ── memory, disk, …
//!    ├─► memory ── hit ─► done               │
//!    └─► flights ── new ─► errand ─ looks ───┤
//!          ▲ join                            └─► download ─► BlobSource ── HTTP, file, …
//!          └──────────── chunk by chunk, as bytes arrive ◄───┘ resumes, retries, gives up in time
//! ```
//!
//! * A [`Cache`] opens [`Blob`]s; a blob is read at any offset.
//! * A [`BlobSource`] brings exact ranges from the origin, a [`ChunkStore`] keeps chunks, a
//!   [`PrefetchPolicy`] names what will be wanted, a [`Runtime`] lends tasks and a clock. Each is a trait to
//!   implement, with a suite in `conformance` (feature `conformance`) for the first two.
//! * [`blocking::Blob`] is for embedders without async.
//!
//! The README has an example, the features, and what is guaranteed and what is not.

#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod ask;
mod assembly;
mod blob;
mod blob_id;
mod blob_options;
pub mod blocking;
mod cache;
mod complete;
#[cfg(feature = "conformance")]
pub mod conformance;
mod digest;
mod discards;
mod download;
mod errand;
mod error;
mod flight;
#[cfg(feature = "overlaybd-format")]
mod format;
mod gate;
mod hedge;
mod histogram;
#[cfg(feature = "http")]
mod http;
#[cfg(all(test, shuttle))]
mod models;
mod observer;
mod plan;
mod prefetch;
mod profile;
mod retry;
mod runtime;
mod source;
mod stats;
mod store;
mod sync;
mod terms;
mod tier;
mod verify;

pub use blob::Blob;
pub use blob_id::BlobId;
pub use blob_options::BlobOptions;
pub use cache::{Cache, CacheBuilder, CacheOptions, Usage};
pub use complete::CompleteOptions;
pub use digest::Digest;
pub use error::{Error, ErrorKind, Result};
pub use histogram::Histogram;
#[cfg(feature = "http")]
pub use http::{Endpoint, HostUsage, HttpClient, HttpOptions, HttpSource, Locate, Location};
#[cfg(feature = "metrics")]
pub use observer::MetricsObserver;
#[cfg(feature = "tracing")]
pub use observer::TracingObserver;
pub use observer::{Event, Observer};
pub use prefetch::{NoPrefetch, PrefetchPolicy, Readahead};
pub use profile::{Profile, Recorder, Recording};
pub use retry::RetryOptions;
pub use runtime::Runtime;
#[cfg(feature = "tokio")]
pub use runtime::TokioRuntime;
#[cfg(feature = "object_store")]
pub use source::ObjectSource;
pub use source::{
    BlobSource, ByteStream, Fallback, FetchRequest, FileSource, Latency, MemorySource, Priority, Progress,
    Throttle, Urgency, Waiting, check_bounds,
};
pub use stats::Stats;
#[cfg(feature = "conformance")]
pub use store::DiskOp;
#[cfg(feature = "object_store")]
pub use store::ObjectTier;
pub use store::{ChunkKey, ChunkStore, DiskOptions, DiskStore, MemoryStore, Scrubbed};
pub use verify::{PieceDigests, Verifier};

/// Compiles the example of the README.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// Compiles the examples for embedders.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../docs/embedding.md")]
struct Embedding;
