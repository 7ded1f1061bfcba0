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
    async fn mount(&self, config: &Path, directory: &Path) -> Result<()> {
        ensure!(!*self.refusing.lock().unwrap(), "scripted\nfailure");
        ensure!(config.is_file() && directory.is_dir(), "{} is not there", config.display());
        self.mounted.lock().unwrap().insert(directory.to_owned());
        Ok(())
    }

    async fn unmount(&self, directory: &Path) -> Result<()> {
        ensure!(!*self.refusing.lock().unwrap(), "scripted failure");
        self.mounted.lock().unwrap().remove(directory);
        Ok(())
    }
}
