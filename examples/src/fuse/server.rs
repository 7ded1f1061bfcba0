//! The threads that answer the kernel, and the mount that is nowhere.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, available_parallelism};

use anyhow::{Context, Result};
use fuser::{Config, Session, SessionACL};
use overlaybd_format::ReadAt;
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};
use rustix::process::{getgid, getuid};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::device_file::{DeviceFile, NAME};
use super::mounted::show;
use super::{Mounted, Reads};

/// Serves a device as a file until nobody can reach the file any more.
#[derive(Debug)]
pub struct Server {
    /// Keeps the file reachable until it is somewhere.
    directory: OwnedFd,
    ended: oneshot::Receiver<io::Result<()>>,
    reads: Arc<Reads>,
}

impl Server {
    /// Starts to serve `device`. What is not at hand is read by tasks of `runtime`.
    ///
    /// # Errors
    ///
    /// If there is no FUSE, or this process may not mount.
    pub fn start(device: Arc<dyn ReadAt>, runtime: Handle) -> Result<Self> {
        let kernel = File::options().read(true).write(true).open("/dev/fuse");
        let kernel = kernel.context("opening /dev/fuse, without which there is no FUSE")?;
        let directory = directory(&kernel).context(
            "mounting FUSE, which takes root, or for --device-only unshare --user --map-root-user --mount",
        )?;
        let reads = Arc::<Reads>::default();
        let file = DeviceFile::new(device, runtime, Arc::clone(&reads));
        let mut config = Config::default();
        config.n_threads = Some(available_parallelism().map_or(THREADS, |cores| cores.get().max(THREADS)));
        config.clone_fd = true;
        let session = Session::from_fd(file, kernel.into(), SessionACL::Owner, config);
        let session = session.context("agreeing with the kernel about FUSE")?;
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name("fuse".to_owned()).spawn(move || end.send(session.run()))?;
        Ok(Self { directory, ended, reads })
    }

    /// The file that is the device.
    ///
    /// # Errors
    ///
    /// If the kernel does not open it.
    pub fn file(&self) -> Result<File> {
        let opened = openat(&self.directory, NAME, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        Ok(opened.context("opening the file of the device")?.into())
    }

    /// Makes the file visible, as `device` in `directory`.
    ///
    /// # Errors
    ///
    /// If nothing can be mounted there.
    pub fn show(&self, directory: &Path) -> Result<Mounted> {
        let place = directory.to_owned();
        show(&self.directory, &place).with_context(|| format!("mounting FUSE at {}", place.display()))?;
        Ok(Mounted::at(place))
    }

    /// What became of the reads so far.
    pub fn reads(&self) -> Arc<Reads> {
        Arc::clone(&self.reads)
    }

    /// Waits until nobody can reach the file: neither a mount nor an open file leads to it.
    ///
    /// # Errors
    ///
    /// If a thread could not go on before that.
    pub async fn ended(self) -> Result<()> {
        let Self { directory, ended, .. } = self;
        drop(directory);
        match ended.await.context("the threads that serve the device are gone")? {
            // The last request may be taken back while it is being read.
            Err(error) if error.kind() != io::ErrorKind::ConnectionAborted => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Mounts the FUSE filesystem of `kernel`, in no directory.
fn directory(kernel: &File) -> rustix::io::Result<OwnedFd> {
    let filesystem = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [
        ("source", "overlaybd".to_owned()),
        ("subtype", "overlaybd".to_owned()),
        ("fd", kernel.as_raw_fd().to_string()),
        ("rootmode", "40000".to_owned()),
        ("user_id", getuid().as_raw().to_string()),
        ("group_id", getgid().as_raw().to_string()),
    ] {
        fsconfig_set_string(&filesystem, key, value)?;
    }
    fsconfig_set_flag(&filesystem, "ro")?;
    fsconfig_create(&filesystem)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// At least so many threads: one that decodes a long read must not hold up the others.
const THREADS: usize = 4;
