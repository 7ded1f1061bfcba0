//! A file as a block device, for filesystems that want one.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::mounted::path_of;

/// A loop device. Once this is dropped, it lasts as long as it is mounted.
#[derive(Debug)]
pub(super) struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    /// Attaches `file`. Reads of the device go past the page cache of the file: pages are cached once, in the
    /// filesystem above, and reads are sent side by side instead of one after the other.
    pub(super) fn attach(file: &File) -> Result<Self> {
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show", "--read-only", "--direct-io=on"]).arg(path_of(file));
        let said = run(&mut losetup)?;
        ensure!(!said.is_empty(), "losetup names no device");
        Ok(Self { path: said.into() })
    }

    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // While the device is in use, the kernel puts this off. Otherwise the file is gone at the latest.
        let _ = run(Command::new("losetup").arg("--detach").arg(&self.path));
    }
}

/// What a command says, if it goes well.
pub(super) fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("running {name}"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    ensure!(output.status.success(), "{name}: {}", said(&output.stderr));
    Ok(said(&output.stdout))
}
