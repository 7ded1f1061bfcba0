//! `overlaybd-snapshotter`.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use examples::access::{Access, Keep};
use examples::chunk_dir::CacheDir;
use examples::one_line::one_line;
use examples::preset::Preset;
use snapshotter::{Images, ServerProcess, SnapshotsService, Snapshotter, listen, serve, serve_device};
use tokio::signal::unix::{SignalKind, signal};

/// A containerd snapshotter that starts containers from images that are not here yet.
#[derive(Debug, Parser)]
#[command(name = "overlaybd-snapshotter")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(Serve),
    Pull(Pull),
    #[command(hide = true)]
    Device(Device),
}

/// Serve containerd until interrupted; what is mounted stays mounted.
///
/// The first line on standard error is `listening on SOCKET`.
#[derive(Debug, clap::Args)]
struct Serve {
    /// The directory of all snapshots.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/overlaybd-snapshotter")]
    root: PathBuf,
    /// The socket to listen at, which the configuration of containerd names.
    #[arg(long, value_name = "PATH", default_value = "/run/overlaybd-snapshotter.sock")]
    socket: PathBuf,
    /// Speak HTTP without TLS to this registry; may be repeated.
    #[arg(long, value_name = "HOST[:PORT]")]
    plain_http: Vec<String>,
    /// Tag suffixes to look for where no referrer is found. Nothing but its name ties such an image to the
    /// ordinary one, whose files containers get instead of its own if the tags were not moved together.
    #[arg(long, value_enum, default_value = "neutral")]
    preset: Preset,
}

/// Have containerd pull an image through its CRI plugin, which skips the layers that the snapshotter has.
///
/// Prints the digest of the image's configuration.
#[derive(Debug, clap::Args)]
struct Pull {
    /// The image, such as registry.example/team/app:1.
    reference: String,
    /// The socket of containerd.
    #[arg(long, value_name = "PATH", default_value = "/run/containerd/containerd.sock")]
    containerd: PathBuf,
}

/// What the snapshotter starts for each device: mounts what DEVICE describes at DIRECTORY and serves it until it is
/// unmounted.
#[derive(Debug, clap::Args)]
struct Device {
    /// Where what was fetched is kept.
    #[arg(long, value_name = "DIR")]
    cache: PathBuf,
    /// The device.json of a snapshot.
    device: PathBuf,
    /// Where to mount it.
    directory: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Serve(args) => args.run().await,
        Verb::Pull(args) => args.run().await,
        Verb::Device(args) => args.run().await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

impl Serve {
    async fn run(self) -> Result<()> {
        let place = |path: &Path| path.display().to_string();
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let root = std::path::absolute(&self.root).with_context(|| place(&self.root))?;
        fs::create_dir_all(&root).with_context(|| place(&root))?;
        // The files of images are for their containers alone.
        fs::set_permissions(&root, Permissions::from_mode(0o700)).with_context(|| place(&root))?;

        let access = Access { resolve: self.preset.options(), ..Access::default() };
        let images = Images::new(access, BTreeSet::from_iter(self.plain_http));
        let arguments = vec!["device".into(), "--cache".into(), root.join("cache").into()];
        let program = env::current_exe().context("finding this program")?;
        let rootfs = Arc::new(ServerProcess { program, arguments, patience: PATIENCE });
        let listener = listen(&self.socket).await.with_context(|| place(&self.socket))?;
        let snapshotter = Snapshotter::open(&root, images, rootfs).await?;
        eprintln!("listening on {}", self.socket.display());
        let end = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        serve(listener, SnapshotsService::new(snapshotter), end).await
    }
}

impl Pull {
    async fn run(self) -> Result<()> {
        println!("{}", snapshotter::pull(&self.containerd, &self.reference).await?);
        Ok(())
    }
}

impl Device {
    async fn run(self) -> Result<()> {
        let keep = Keep::Directory(CacheDir::new(self.cache));
        let access = Access { keep, ..Access::default() };
        serve_device(&self.device, &self.directory, &access).await
    }
}

/// How long a device may take to be opened and mounted. One request of it to a registry that does not answer
/// takes half of this.
const PATIENCE: Duration = Duration::from_secs(60);
