//! Watching a start.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use overlaybd_format::trace::{Recorder, Trace};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::fuse::{Filesystem, Server};
use crate::lazy_image::LazyImage;
use crate::lazy_mount::mount;
use crate::refetching::Refetching;

use super::limits;

/// What `start` makes the kernel read of `image`, which is mounted at the directory it is given. The page cache
/// has nothing of it then.
///
/// # Errors
///
/// If the image cannot be mounted or unmounted, or the start fails.
pub async fn record(image: &LazyImage, start: impl AsyncFnOnce(&Path) -> Result<()>) -> Result<Trace> {
    let recorder = Arc::new(Recorder::new(Refetching::new(image.clone()), &limits()));
    let server = Server::start(recorder.clone(), Handle::current())?;
    let filesystem = Filesystem::of(&*image.device).await?;
    let directory = tempfile::tempdir()?;
    let mounted = mount(&server, filesystem, directory.path(), None).await?;
    let started = start(directory.path()).await;
    spawn_blocking(|| mounted.unmount()).await??;
    started?;
    server.ended().await?;
    Ok(Trace::of(&image.device, &recorder.ranges(), &limits())?)
}
