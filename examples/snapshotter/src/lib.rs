//! A containerd snapshotter that starts containers from images that are not here yet.
//!
//! ```text
//!  containerd ──gRPC──► SnapshotsService ──► Snapshotter ─┬─► Records    which snapshots there are
//!                                                         ├─► Images     referrers: the layers to read instead
//!                                                         └─► Rootfs     a process that serves the device
//! ```
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod containerd;
mod error;
mod filter;
mod images;
mod label;
mod overlay;
mod pull;
mod record;
mod records;
mod rootfs;
mod server;
mod service;
mod snapshotter;
mod usage;

pub use error::{Error, Result};
pub use filter::Filter;
pub use images::{Images, Stack};
pub use pull::pull;
pub use record::{Kind, Labels, Origin, Record, Usage};
pub use rootfs::Rootfs;
pub use server::{listen, serve};
pub use service::SnapshotsService;
pub use snapshotter::Snapshotter;
