//! The seam to what makes a directory of a device.

use std::fmt::Debug;
use std::path::Path;

use anyhow::Result;
use async_trait::async_trait;

/// Mounts devices that are read from a registry.
///
/// What is mounted must outlast the value, and the process: containers go on while the snapshotter is
/// started anew. Calls for one directory come one after the other, those for different ones at the same
/// time.
#[async_trait]
pub trait Rootfs: Debug + Send + Sync {
    /// Mounts the filesystem of the [`Device`](crate::Device) that the file `device` describes on `directory`,
    /// read-only. If it is mounted and served already, nothing happens; if what served it is gone, it is
    /// mounted anew.
    ///
    /// # Errors
    ///
    /// If the device cannot be opened or mounted. Nothing is mounted then.
    async fn mount(&self, device: &Path, directory: &Path) -> Result<()>;

    /// Ends what [`mount`](Self::mount) began. If nothing is mounted, nothing happens.
    ///
    /// # Errors
    ///
    /// If it is in use or cannot be ended. It is mounted then, and another try may succeed.
    async fn unmount(&self, directory: &Path) -> Result<()>;
}
