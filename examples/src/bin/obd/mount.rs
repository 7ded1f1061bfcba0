//! `obd mount`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use examples::fuse::{self, Filesystem, Mounted, Server};
use examples::lazy_image::LazyImage;
use examples::one_line::one_line;
use examples::refetching::Refetching;
use examples::start_profile::{Found, Profiles, replay};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::interrupt::Interrupted;
use crate::source::Source;

/// Mount the files of an image at a directory, and serve them until it is unmounted.
///
/// The device is a file that the kernel reads through FUSE, without a copy on the disk; on it is
/// mounted what it holds: EROFS, without a loop device where the kernel can (since 6.12), or ext4.
/// The line `mounted DIR` on standard error says that it is ready. SIGINT, SIGTERM and a umount by
/// anybody end it, once the last file of it is closed; a second signal ends it at once.
///
/// If the image has a profile of its starts (see obd help profile), what it names is fetched before
/// it is asked for.
///
/// What cannot be read is an I/O error, after the time of --timeout at the latest, and is tried
/// again by the next read. A server that is killed leaves I/O errors and a directory to unmount:
/// then mount again, with --cache what was fetched is still there.
///
/// It takes root, util-linux and /dev/fuse. With --device-only, root in a user namespace will do.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd mount registry.example/team/app:1 /mnt --cache /var/cache/obd

JSON keys:
  virtual_size   size of the device in bytes
  filesystem     what was mounted: ext4, erofs, or null with --device-only
  profile_bytes  bytes of blobs that a profile of starts named; null without one
  requests       requests to a registry for parts of blobs
  fetched_bytes  what came in answer to them
  failed_reads   reads of the device that were answered with an error"
)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// The directory to mount at.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Mount no filesystem, only FUSE, with the device as DIR/device.
    #[arg(long, conflicts_with = "upper")]
    device_only: bool,
    /// Make DIR writable: what is written goes to fs in this directory, through overlayfs.
    #[arg(long, value_name = "UPPER")]
    upper: Option<PathBuf>,
    /// Fetch nothing but what is asked for, whatever profile there is.
    #[arg(long)]
    no_profile: bool,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let interrupted = Interrupted::new()?;
    let directory = args.directory.canonicalize().with_context(|| args.directory.display().to_string())?;
    args.source
        .read_with_profiles(async |blobs, profiles| {
            let found = profiles.filter(|_| !args.no_profile).map(|profiles| tokio::spawn(find(profiles)));
            let image = LazyImage::open(blobs.to_vec()).await?;
            let replayed = found.map(|found| tokio::spawn(replay_found(found, image.clone())));
            let filesystem = match args.device_only {
                true => None,
                false => Some(Filesystem::of(&*image.device).await?),
            };
            let mut said = serve(&image, filesystem, &directory, args.upper.as_deref(), interrupted).await?;
            said["profile_bytes"] = match replayed {
                Some(replayed) => json!(replayed.await?),
                None => Value::Null,
            };
            Ok(said)
        })
        .await
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
    match replay(&found.await.ok()??.trace, &image) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            eprintln!("no profile: {error}");
            None
        }
    }
}

async fn serve(
    image: &LazyImage,
    filesystem: Option<Filesystem>,
    directory: &Path,
    upper: Option<&Path>,
    mut interrupted: Interrupted,
) -> Result<Value> {
    let server = Server::start(Arc::new(Refetching::new(image.clone())), Handle::current())?;
    let reads = server.reads();
    let mounted = match filesystem {
        Some(filesystem) => mount(&server, filesystem, directory, upper).await?,
        None => server.show(directory)?,
    };
    eprintln!("mounted {}", directory.display());

    let mut ended = std::pin::pin!(server.ended());
    tokio::select! {
        ended = &mut ended => ended?,
        () = interrupted.wait() => {
            spawn_blocking(|| mounted.unmount()).await??;
            tokio::select! {
                ended = ended => ended?,
                () = interrupted.wait() => eprintln!("files of it are still open"),
            }
        }
    }
    let cost = image.stats();
    Ok(json!({
        "virtual_size": image.reader().size(),
        "filesystem": filesystem.map(Filesystem::name),
        "requests": cost.requests,
        "fetched_bytes": cost.bytes_fetched,
        "failed_reads": reads.failed(),
    }))
}

/// Mounts in a thread of its own, because the kernel reads the device meanwhile.
pub(crate) async fn mount(
    server: &Server,
    filesystem: Filesystem,
    directory: &Path,
    upper: Option<&Path>,
) -> Result<Mounted> {
    let (file, directory, upper) = (server.file()?, directory.to_owned(), upper.map(Path::to_owned));
    spawn_blocking(move || fuse::mount(&file, filesystem, &directory, upper.as_deref())).await?
}
