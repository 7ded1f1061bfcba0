//! containerd as people use it, with a store of its own that begins empty.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use referrers::Reference;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A daemon.
#[derive(Debug)]
pub(super) struct Containerd {
    directory: TempDir,
    daemon: Child,
}

impl Containerd {
    pub(super) fn is_installed() -> bool {
        let runs = |name| std::process::Command::new(name).arg("--version").output().is_ok();
        runs("containerd") && runs("ctr")
    }

    /// Starts a daemon that has no images yet.
    pub(super) async fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("config.toml");
        // Kubernetes' interface wants a network of its own.
        std::fs::write(&config, "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n")?;
        let at = |name: &str| directory.path().join(name);
        let daemon = Command::new("containerd")
            .args(["--log-level", "error", "--config"])
            .arg(config)
            .arg("--root")
            .arg(at("root"))
            .arg("--state")
            .arg(at("state"))
            .arg("--address")
            .arg(at("socket"))
            .kill_on_drop(true)
            .spawn()
            .context("running containerd")?;
        let containerd = Self { directory, daemon };
        let ready = async {
            while containerd.ctr(&["version"]).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.context("containerd does not answer")?;
        Ok(containerd)
    }

    /// Pulls and unpacks an image, and mounts a view of it.
    pub(super) async fn mount(&self, image: &Reference, directory: &Path) -> Result<()> {
        let name = image.to_string();
        self.ctr(&["images", "pull", "--plain-http", &name]).await?;
        self.ctr(&["images", "mount", &name, &directory.to_string_lossy()]).await
    }

    /// Unmounts the directory, ends the daemon, and lets go of its store.
    pub(super) async fn end(mut self, directory: &Path) -> Result<()> {
        // It is not mounted if the pull failed.
        let _ = Command::new("umount").arg(directory).output().await;
        self.daemon.kill().await.context("ending containerd")
    }

    async fn ctr(&self, arguments: &[&str]) -> Result<()> {
        let socket: PathBuf = self.directory.path().join("socket");
        let output = Command::new("ctr").arg("--address").arg(socket).args(arguments).output().await;
        let output = output.context("running ctr")?;
        ensure!(output.status.success(), "ctr: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
