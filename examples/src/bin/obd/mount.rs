//! `obd mount`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use examples::fuse::{self, Filesystem, Mounted, Server};
use examples::lazy_image::LazyImage;
use examples::refetching::Refetching;
use overlaybd_format::ReadAt;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::interrupt::Interrupted;
use crate::source::Source;

/// Mount the files of an image at a directory, and serve them until it is unmounted.
///
/// The device is a file that the kernel reads through FUSE, without a copy on the disk; on it is
/// mounted what it holds: EROFS, without a loop device where the kernel can (since 6.12), or ext4.
/// The line `mounted DIR` on standard error says that it is ready. SIGINT, SIGTERM and a umount by
/// anybody end it, once the last file of it is closed; a second signal ends it at once.
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
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let interrupted = Interrupted::new()?;
    let Args { source, directory, device_only, upper } = args;
    let directory = directory.canonicalize().with_context(|| directory.display().to_string())?;
    source
        .read_device(async |image| {
            let filesystem = if device_only { None } else { Some(Filesystem::of(&*image.device).await?) };
            serve(&image, filesystem, &directory, upper.as_deref(), interrupted).await
        })
        .await
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
    let mounted = mount(&server, filesystem, directory, upper).await?;
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
        "virtual_size": image.device.size(),
        "filesystem": filesystem.map(Filesystem::name),
        "requests": cost.requests,
        "fetched_bytes": cost.bytes_fetched,
        "failed_reads": reads.failed(),
    }))
}

/// Mounts in a thread of its own, because the kernel reads the device meanwhile.
async fn mount(
    server: &Server,
    filesystem: Option<Filesystem>,
    directory: &Path,
    upper: Option<&Path>,
) -> Result<Mounted> {
    let Some(filesystem) = filesystem else {
        server.show(directory)?;
        return Ok(Mounted::shown(directory));
    };
    let (file, directory, upper) = (server.file()?, directory.to_owned(), upper.map(Path::to_owned));
    spawn_blocking(move || fuse::mount(&file, filesystem, &directory, upper.as_deref())).await?
}
