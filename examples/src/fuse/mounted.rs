//! From the file of a device to the files on it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};

use super::Filesystem;
use super::loop_device::{LoopDevice, run};

/// A directory with something mounted on it.
#[derive(Debug)]
pub struct Mounted {
    directory: PathBuf,
}

/// Mounts the `filesystem` on the device `file` at `directory`, read-only; with an `upper` directory, what is
/// written goes there, to its `fs`, through overlayfs. Blocks.
///
/// The file stays in use for as long as the directory is, and is not needed here any more.
///
/// # Errors
///
/// If something cannot be mounted. Nothing stays mounted then.
pub fn mount(file: &File, filesystem: Filesystem, directory: &Path, upper: Option<&Path>) -> Result<Mounted> {
    let at = |directory: &Path| format!("mounting {} at {}", filesystem.name(), directory.display());
    let Some(upper) = upper else {
        mount_device(file, filesystem, directory).with_context(|| at(directory))?;
        return Ok(Mounted::at(directory.to_owned()));
    };
    // Overlayfs keeps the lower for itself: its place is needed until then.
    let place = tempfile::tempdir()?;
    mount_device(file, filesystem, place.path()).with_context(|| at(place.path()))?;
    let lower = Mounted::at(place.path().to_owned());
    let result = overlay(place.path(), upper, directory);
    lower.unmount()?;
    result.with_context(|| format!("mounting overlayfs at {}", directory.display()))?;
    Ok(Mounted::at(directory.to_owned()))
}

impl Mounted {
    pub(super) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Takes the mount out of the directory at once. Who has files of it open keeps them, and what serves them
    /// is in use until the last one is closed.
    ///
    /// # Errors
    ///
    /// If this process may not unmount.
    pub fn unmount(self) -> Result<()> {
        match unmount(&self.directory, UnmountFlags::DETACH) {
            // Somebody else did.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("unmounting {}", self.directory.display())),
        }
    }
}

/// The path of a file that is in no directory.
pub(super) fn path_of(file: &File) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

fn mount_device(file: &File, filesystem: Filesystem, directory: &Path) -> Result<()> {
    if filesystem == Filesystem::Erofs {
        match file_backed(file) {
            Ok(mount) => return show(&mount, directory).map_err(Into::into),
            // This kernel has EROFS on block devices only.
            Err(Errno::NOTBLK) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let device = LoopDevice::attach(file)?;
    // Another process mounts, for the sake of a server that is killed meanwhile: it could not end while it
    // waits for what only itself can answer.
    let mut mount = Command::new("mount");
    mount.args(["-t", filesystem.name(), "-o", filesystem.options()]).arg(device.path()).arg(directory);
    run(&mut mount).map(drop)
}

/// Mounts EROFS right from the file, without a block device. A wait for a page of the file ends when the
/// process is killed, so that this needs no process of its own.
fn file_backed(file: &File) -> rustix::io::Result<OwnedFd> {
    let erofs = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&erofs, "source", path_of(file))?;
    fsconfig_set_flag(&erofs, "ro")?;
    fsconfig_create(&erofs)?;
    fsmount(&erofs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
}

/// Mounts overlayfs: `fs` and `work` of `upper` over `lower`, as containerd names them.
fn overlay(lower: &Path, upper: &Path, directory: &Path) -> io::Result<()> {
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&overlay, "lowerdir", lower)?;
    for (key, name) in [("upperdir", "fs"), ("workdir", "work")] {
        let path = upper.join(name);
        fs::create_dir_all(&path)?;
        fsconfig_set_string(&overlay, key, path)?;
    }
    fsconfig_create(&overlay)?;
    let mount = fsmount(&overlay, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    Ok(show(&mount, directory)?)
}

/// Attaches a mount that is nowhere.
pub(super) fn show(mount: &OwnedFd, directory: &Path) -> rustix::io::Result<()> {
    move_mount(mount.as_fd(), "", CWD, directory, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}
