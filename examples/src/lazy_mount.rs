//! From the blobs of an image to a directory with its files, in the shortest time.
//!
//! ```text
//!  layers ── opened ──────────┬─► device ─► FUSE ─► mounted
//!  profile ─ found meanwhile ─┴─► replayed meanwhile
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::fuse::{self, Filesystem, Mounted, Server};
use crate::lazy_image::{LazyImage, OpenBlob};
use crate::one_line::one_line;
use crate::refetching::Refetching;
use crate::start_profile::{Found, Profiles, replay};

/// Where and how to mount.
#[derive(Debug, Clone)]
pub struct Place {
    /// The directory.
    pub directory: PathBuf,
    /// Where what is written goes, through overlayfs; without it nothing can be written.
    pub upper: Option<PathBuf>,
    /// Whether to show the device only.
    pub device_only: bool,
}

/// An image whose files, or whose device, are at a directory.
#[derive(Debug)]
pub struct LazyMount {
    /// What is mounted.
    pub image: LazyImage,
    /// The filesystem that was found on it, if it was looked for.
    pub filesystem: Option<Filesystem>,
    /// What answers the reads.
    pub server: Server,
    /// The directory.
    pub mounted: Mounted,
    /// Becomes the stored bytes that a profile named, if there is one.
    pub replayed: Option<JoinHandle<Option<u64>>>,
}

impl LazyMount {
    /// Opens the image of `blobs`, bottom first, and mounts it. What a profile of `profiles` names is fetched
    /// meanwhile and afterwards; that there is none, or a bad one, is told on standard error at most.
    ///
    /// # Errors
    ///
    /// If the image cannot be opened or mounted.
    pub async fn new(blobs: Vec<OpenBlob>, profiles: Option<Profiles>, place: &Place) -> Result<Self> {
        let found = profiles.map(|profiles| tokio::spawn(find(profiles)));
        let image = LazyImage::open(blobs).await?;
        let replayed = found.map(|found| tokio::spawn(replay_found(found, image.clone())));
        let filesystem = match place.device_only {
            true => None,
            false => Some(Filesystem::of(&*image.device).await?),
        };
        let server = Server::start(Arc::new(Refetching::new(image.clone())), Handle::current())?;
        let mounted = match filesystem {
            Some(filesystem) => mount(&server, filesystem, &place.directory, place.upper.as_deref()).await?,
            None => server.show(&place.directory)?,
        };
        Ok(Self { image, filesystem, server, mounted, replayed })
    }
}

/// Mounts the `filesystem` on what `server` serves, in a thread of its own: the kernel reads the device
/// meanwhile.
///
/// # Errors
///
/// As [`fuse::mount`].
pub async fn mount(
    server: &Server,
    filesystem: Filesystem,
    directory: &Path,
    upper: Option<&Path>,
) -> Result<Mounted> {
    let (file, directory, upper) = (server.file()?, directory.to_owned(), upper.map(Path::to_owned));
    spawn_blocking(move || fuse::mount(&file, filesystem, &directory, upper.as_deref())).await?
}

/// The profile, if there is one; a start without it is no failure.
async fn find(profiles: Profiles) -> Option<Found> {
    let found = profiles.find().await;
    found.unwrap_or_else(|error| {
        eprintln!("no profile: {}", one_line(&error));
        None
    })
}

async fn replay_found(found: JoinHandle<Option<Found>>, image: LazyImage) -> Option<u64> {
    let replayed = replay(&found.await.ok()??.trace, &image);
    replayed.map_err(|error| eprintln!("no profile: {error}")).ok()
}
