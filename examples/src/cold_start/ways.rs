//! The ways from a reference to a start that has done its work.

use std::path::Path;

use anyhow::Result;
use registry::Server;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::eager_pull::{self, EagerLayer};
use crate::input::Input;
use crate::lazy_mount::{self, LazyMount};

use super::application::Start;
use super::containerd::Containerd;
use super::traffic::Traffic;
use super::{Place, Run};

/// A way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// `ctr images pull`, with the overlayfs snapshotter.
    Containerd,
    /// The ordinary image, as fast as we can.
    Eager,
    /// The accelerated image, and nothing that is not asked for.
    Lazy,
    /// The accelerated image, and what its profile names.
    Profile,
}

impl Way {
    /// Those that can be run here.
    pub(super) fn available() -> impl Iterator<Item = Self> {
        let containerd = Containerd::is_installed().then_some(Self::Containerd);
        containerd.into_iter().chain([Self::Eager, Self::Lazy, Self::Profile])
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd pull and unpack",
            Self::Eager => "eager pull and unpack",
            Self::Lazy => "lazy",
            Self::Profile => "lazy, with a profile",
        }
    }

    /// Goes the way once.
    pub(super) async fn run(self, server: &Server, place: &Place) -> Result<Run> {
        let directory = tempfile::tempdir()?;
        match self {
            Self::Containerd => {
                let containerd = Containerd::start().await?;
                let ready = async || containerd.mount(&place.reference, directory.path()).await;
                let run = timed(server, directory.path(), ready).await;
                containerd.end(directory.path()).await?;
                run
            }
            Self::Eager => {
                let ready = async || pull(place, directory.path()).await;
                timed(server, directory.path(), ready).await
            }
            Self::Lazy | Self::Profile => {
                let at = lazy_mount::Place {
                    directory: directory.path().to_owned(),
                    upper: None,
                    device_only: false,
                };
                let mut mounted = None;
                let ready = async || {
                    let input = Input::Image(place.name());
                    let (blobs, profiles) = input.open_with_profiles(&place.access).await?;
                    let profiles = profiles.filter(|_| self == Self::Profile);
                    mounted = Some(LazyMount::new(blobs, profiles, &at).await?);
                    Ok(())
                };
                let run = timed(server, directory.path(), ready).await;
                if let Some(mount) = mounted {
                    spawn_blocking(|| mount.mounted.unmount()).await??;
                    mount.server.ended().await?;
                }
                run
            }
        }
    }
}

/// Makes the files ready at `root`, then starts.
async fn timed(server: &Server, root: &Path, ready: impl AsyncFnOnce() -> Result<()>) -> Result<Run> {
    let traffic = Traffic::of(server);
    let (stop, stopped) = oneshot::channel();
    let (done, timeline) = tokio::join!(
        async {
            ready().await?;
            let pull = traffic.seconds();
            Start::Measured.run(root).await?;
            let answer = traffic.seconds();
            let (requests, bytes) = traffic.so_far();
            let _ = stop.send(());
            anyhow::Ok((pull, answer, requests, bytes))
        },
        traffic.watch(stopped)
    );
    let (pull, answer, requests, bytes) = done?;
    Ok(Run { pull, answer, bytes, requests, timeline })
}

/// Pulls the ordinary image and unpacks it to `root`.
pub(super) async fn pull(place: &Place, root: &Path) -> Result<()> {
    let found = place.find().await?;
    let origin = place.access.origin(place.reference.repository())?;
    let layers = EagerLayer::all(&found.resolution.base.image, &origin)?;
    eager_pull::pull(layers, Some(root), &|_| ()).await?;
    Ok(())
}
