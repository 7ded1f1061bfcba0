//! What a server process does.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use examples::access::Access;
use examples::config::Config;
use examples::document;
use examples::fuse::{self, Filesystem, Server};
use examples::input::Input;
use examples::lazy_image::LazyImage;
use examples::one_line::one_line;
use examples::refetching::Refetching;
use examples::start_profile::{Profiles, replay};
use overlaybd_format::trace::Trace;
use referrers::{Platform, Reference, Resolver};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::images::IMAGE_KEY;
use crate::server_process::READY;

/// Mounts the filesystem of the device that `config` describes at `directory`, writes [`READY`] to standard
/// output, and serves it until nobody can reach it. If the image has a profile of its starts, what it names
/// is fetched before it is asked for.
///
/// # Errors
///
/// If the device cannot be opened or mounted, or nobody waits for it any more. Nothing is mounted then.
pub async fn serve_device(config: PathBuf, directory: &Path, access: &Access) -> Result<()> {
    let profile = tokio::spawn(profile(config.clone(), access.clone()));
    let image = LazyImage::open(Input::Config(config).open(access).await?).await?;
    let device = image.clone();
    tokio::spawn(async move {
        let replayed =
            async { anyhow::Ok(profile.await??.map(|trace| replay(&trace, &device)).transpose()?) };
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
async fn profile(config: PathBuf, access: Access) -> Result<Option<Trace>> {
    let json: Value = serde_json::from_slice(&document::read(&config)?)?;
    let Some(image) = json.get(IMAGE_KEY).and_then(Value::as_str) else { return Ok(None) };
    let image: Reference = image.parse().context(IMAGE_KEY)?;
    let (repository, plain_http) = Config::read(&config)?.repository()?;
    let registry = Access { plain_http, ..access.clone() }.registry(&repository)?;
    let found = Resolver::new(registry.clone(), access.resolve).resolve(&image, &Platform::current()).await?;
    let accelerated = found.accelerated.context("it is not the accelerated image that it was")?;
    let found = Profiles::of(registry, repository, &accelerated).find().await?;
    Ok(found.map(|found| found.trace))
}
