//! What a server process does.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use examples::access::Access;
use examples::fuse::{self, Filesystem, Server};
use examples::input::Input;
use examples::lazy_image::LazyImage;
use examples::refetching::Refetching;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::server_process::READY;

/// Mounts the filesystem of the device that `config` describes at `directory`, writes [`READY`] to standard
/// output, and serves it until nobody can reach it.
///
/// # Errors
///
/// If the device cannot be opened or mounted, or nobody waits for it any more. Nothing is mounted then.
pub async fn serve_device(config: PathBuf, directory: &Path, access: &Access) -> Result<()> {
    let image = LazyImage::open(Input::Config(config).open(access).await?).await?;
    let filesystem = Filesystem::of(&*image.device).await?;
    let server = Server::start(Arc::new(Refetching::new(image)), Handle::current())?;
    let (file, at) = (server.file()?, directory.to_owned());
    let mounted = spawn_blocking(move || fuse::mount(&file, filesystem, &at, None)).await??;
    if let Err(error) = writeln!(io::stdout(), "{READY}") {
        mounted.unmount()?;
        return Err(error.into());
    }
    server.ended().await
}
