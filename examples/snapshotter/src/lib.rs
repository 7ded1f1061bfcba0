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
mod device;
mod device_server;
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
mod server_process;
mod service;
mod snapshotter;
mod usage;

pub use device::{Device, DeviceLayer};
pub use device_server::serve_device;
pub use error::{Error, Result};
pub use filter::Filter;
pub use images::Images;
pub use pull::pull;
pub use record::{Kind, Labels, Origin, Record, Usage};
pub use rootfs::Rootfs;
pub use server::{listen, serve};
pub use server_process::{READY, ServerProcess};
pub use service::SnapshotsService;
pub use snapshotter::Snapshotter;
