//! `obd mount`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use examples::fuse::Filesystem;
use examples::lazy_mount::{LazyMount, Place};
use serde_json::{Value, json};
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
    let Args { source, directory, device_only, upper, no_profile } = args;
    let directory = directory.canonicalize().with_context(|| directory.display().to_string())?;
    let place = Place { directory, upper, device_only };
    source
        .read_with_profiles(async |blobs, profiles| {
            let mount = LazyMount::new(blobs.to_vec(), profiles.filter(|_| !no_profile), &place).await?;
            eprintln!("mounted {}", place.directory.display());
            serve(mount, interrupted).await
        })
        .await
}

async fn serve(mount: LazyMount, mut interrupted: Interrupted) -> Result<Value> {
    let LazyMount { image, filesystem, server, mounted, replayed } = mount;
    let reads = server.reads();
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
    let replayed = match replayed.filter(JoinHandle::is_finished) {
        Some(replayed) => replayed.await?,
        None => None,
    };
    let cost = image.stats();
    Ok(json!({
        "virtual_size": image.reader().size(),
        "filesystem": filesystem.map(Filesystem::name),
        "profile_bytes": replayed,
        "requests": cost.requests,
        "fetched_bytes": cost.bytes_fetched,
        "failed_reads": reads.failed(),
    }))
}
