//! A file as a block device, for filesystems that want one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::mounted::path_of;

/// A loop device, which lasts until it is neither mounted nor held by this.
#[derive(Debug)]
pub(super) struct LoopDevice {
    path: PathBuf,
    _held: File,
}

impl LoopDevice {
    /// Attaches `file`. Reads of the device go past the page cache of the file: pages are cached once, in the
    /// filesystem above, and reads are sent side by side instead of one after the other.
    pub(super) fn attach(file: &File) -> Result<Self> {
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show", "--read-only", "--direct-io=on"]).arg(path_of(file));
        let path = PathBuf::from(run(&mut losetup)?);
        let held = File::open(&path).with_context(|| path.display().to_string());
        // The kernel puts this off to the end of the last use, so that a server that is killed leaves no device.
        run(Command::new("losetup").arg("--detach").arg(&path))?;
        Ok(Self { path, _held: held? })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
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
