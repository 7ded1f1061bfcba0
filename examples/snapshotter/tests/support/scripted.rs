//! A rootfs that mounts nothing and remembers what it was asked.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use snapshotter::Rootfs;

#[derive(Debug, Default)]
pub(crate) struct Scripted {
    mounted: Mutex<BTreeSet<PathBuf>>,
    refusing: Mutex<bool>,
    busy: Mutex<BTreeSet<PathBuf>>,
}

impl Scripted {
    /// Whether every further call fails.
    pub(crate) fn refuse(&self, refusing: bool) {
        *self.refusing.lock().unwrap() = refusing;
    }

    /// What is mounted.
    pub(crate) fn mounted(&self) -> BTreeSet<PathBuf> {
        self.mounted.lock().unwrap().clone()
    }

    /// Forgets all mounts, as a restart of the machine does.
    pub(crate) fn reboot(&self) {
        self.mounted.lock().unwrap().clear();
    }
}

#[async_trait]
impl Rootfs for Scripted {
    async fn mount(&self, device: &Path, directory: &Path) -> Result<()> {
        self.alone(directory).await?;
        ensure!(device.is_file() && directory.is_dir(), "{} is not there", device.display());
        self.mounted.lock().unwrap().insert(directory.to_owned());
        Ok(())
    }

    async fn unmount(&self, directory: &Path) -> Result<()> {
        self.alone(directory).await?;
        self.mounted.lock().unwrap().remove(directory);
        Ok(())
    }
}

impl Scripted {
    /// Takes a while, in which nobody else may call for the same directory.
    async fn alone(&self, directory: &Path) -> Result<()> {
        ensure!(!*self.refusing.lock().unwrap(), "scripted\nfailure");
        let first = self.busy.lock().unwrap().insert(directory.to_owned());
        assert!(first, "two calls for {} at once", directory.display());
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.busy.lock().unwrap().remove(directory);
        Ok(())
    }
}
