//! What a server process does.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use examples::access::Access;
use examples::fuse::{self, Filesystem, Server};
use examples::lazy_image::LazyImage;
use examples::one_line::one_line;
use examples::refetching::Refetching;
use examples::start_profile::{Profiles, replay};
use overlaybd_format::trace::Trace;
use referrers::{Platform, Resolver};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::device::Device;
use crate::server_process::READY;

/// Mounts the filesystem of the [`Device`] that the file `device` describes at `directory`, writes [`READY`] to
/// standard output, and serves it until nobody can reach it. If the image has a profile of its starts, what
/// it names is fetched before it is asked for.
///
/// # Errors
///
/// If the device cannot be opened or mounted, or nobody waits for it any more. Nothing is mounted then.
pub async fn serve_device(device: &Path, directory: &Path, access: &Access) -> Result<()> {
    let device = Device::read(device)?;
    let profile = tokio::spawn(profile(device.clone(), access.clone()));
    let image = LazyImage::open(device.open(access).await?).await?;
    let replaying = image.clone();
    tokio::spawn(async move {
        let replayed =
            async { anyhow::Ok(profile.await??.map(|trace| replay(&trace, &replaying)).transpose()?) };
        if let Err(error) = replayed.await {
            eprintln!("no profile: {}", one_line(&error));
        }
    });
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

/// What starts of the image read, if the device is a whole image and there is a profile of it.
async fn profile(device: Device, access: Access) -> Result<Option<Trace>> {
    let Some(image) = device.image()? else { return Ok(None) };
    let (access, repository) = (device.access(&access), image.repository().clone());
    let registry = access.registry(&repository)?;
    let found = Resolver::new(registry.clone(), access.resolve).resolve(&image, &Platform::current()).await?;
    let accelerated = found.accelerated.context("it is not the accelerated image that it was")?;
    let found = Profiles::of(registry, repository, &accelerated).find().await?;
    Ok(found.map(|found| found.trace))
}
