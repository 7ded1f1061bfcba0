//! A snapshotter with a scripted rootfs, as containerd sees it.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use examples::access::Access;
use snapshotter::{Images, SnapshotsService, Snapshotter, listen, serve};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::client::Client;
use super::scripted::Scripted;

pub(crate) struct Running {
    pub(crate) client: Client,
    pub(crate) rootfs: Arc<Scripted>,
    root: TempDir,
    end: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Running {
    /// One with an empty state directory. Images of `registry` are spoken to without TLS.
    pub(crate) async fn start(registry: &str) -> Self {
        Self::over(tempfile::tempdir().unwrap(), Arc::default(), registry).await
    }

    /// The same after a restart of the snapshotter, while mounts stay.
    pub(crate) async fn restart(self, registry: &str) -> Self {
        self.end.send(()).unwrap();
        self.server.await.unwrap();
        drop(self.client);
        Self::over(self.root, self.rootfs, registry).await
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// The directories of snapshots, whether or not they belong to one.
    pub(crate) fn directories(&self) -> BTreeSet<PathBuf> {
        let entries = std::fs::read_dir(self.root().join("snapshots")).unwrap();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
    }

    async fn over(root: TempDir, rootfs: Arc<Scripted>, registry: &str) -> Self {
        let images = Images::new(Access::default(), [registry.to_owned()].into());
        let snapshotter = Snapshotter::open(root.path(), images, rootfs.clone()).await.unwrap();
        let socket = root.path().join("socket");
        let listener = listen(&socket).await.unwrap();
        let (end, ended) = oneshot::channel();
        let server = tokio::spawn(async {
            let ended = async { ended.await.unwrap_or(()) };
            serve(listener, SnapshotsService::new(snapshotter), ended).await.unwrap();
        });
        Self { client: Client::connect(&socket).await, rootfs, root, end, server }
    }
}
