//! A rootfs whose device is served by a process of its own, so that containers outlive the snapshotter.
//!
//! ```text
//! snapshotter ── starts ──► server process: opens the device, mounts it, says so, and serves it
//!                                │
//!                                └─ holds a lock on server.log, its standard error, for as long as it lives
//! ```
//!
//! Nothing else is remembered. Whether a directory is mounted is asked of the kernel, and whether somebody
//! serves it, of the lock. An unmounted directory ends its server, as soon as nobody has files of it open.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use async_trait::async_trait;
use rustix::fs::{AtFlags, CWD, FlockOperation, StatxAttributes, StatxFlags, flock, statx};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::rootfs::Rootfs;

/// Starts server processes.
#[derive(Debug, Clone)]
pub struct ServerProcess {
    /// The program.
    pub program: PathBuf,
    /// Its first arguments. The file of a device and the directory to mount at follow.
    pub arguments: Vec<OsString>,
    /// How long it may take until it has mounted the directory and written [`READY`].
    pub patience: Duration,
}

/// The line on standard output by which a server process says that its directory is mounted.
pub const READY: &str = "mounted";

#[async_trait]
impl Rootfs for ServerProcess {
    async fn mount(&self, device: &Path, directory: &Path) -> Result<()> {
        let log = Log::beside(directory);
        if is_mounted(directory)? {
            if log.is_held()? {
                return Ok(());
            }
            // Its server was killed. Who has files of it open has I/O errors from now on.
            unmount(directory, UnmountFlags::DETACH).with_context(|| unmounting(directory))?;
        }
        let mut server = self.start(device, directory, &log)?;
        let mounted = timeout(self.patience, ready(&mut server, &log)).await;
        if mounted.is_err() {
            // Should it have mounted the directory just now, the next call finds it without a server.
            server.start_kill()?;
        }
        mounted.unwrap_or_else(|_| Err(anyhow!("nothing was mounted for {} s", self.patience.as_secs_f64())))
    }

    async fn unmount(&self, directory: &Path) -> Result<()> {
        if !is_mounted(directory)? {
            return Ok(());
        }
        unmount(directory, UnmountFlags::empty()).with_context(|| unmounting(directory))?;
        // A server that is needed a while longer has nothing to do with the next one.
        Log::beside(directory).forget()
    }
}

impl ServerProcess {
    fn start(&self, device: &Path, directory: &Path, log: &Log) -> Result<Child> {
        let program = || format!("starting {}", self.program.display());
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(device).arg(directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.hold()?);
        // What interrupts the snapshotter in a terminal is not meant for it.
        command.process_group(0).spawn().with_context(program)
    }
}

/// Waits until the server has mounted its directory.
async fn ready(server: &mut Child, log: &Log) -> Result<()> {
    let stdout = server.stdout.take().context("the server has no standard output")?;
    let line = BufReader::new(stdout).lines().next_line().await?;
    if line.as_deref() == Some(READY) {
        // It is not waited for, and outlives this process if need be.
        return Ok(());
    }
    let status = server.wait().await?;
    bail!("the server of the device ended with {status}: {}", log.last_line()?)
}

/// What a server process says, and the lock that it holds on the file.
#[derive(Debug)]
struct Log(PathBuf);

impl Log {
    fn beside(directory: &Path) -> Self {
        Self(directory.with_file_name("server.log"))
    }

    /// Whether a server holds it.
    fn is_held(&self) -> Result<bool> {
        match File::open(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            file => Ok(!lock(&file.with_context(|| self.place())?)?),
        }
    }

    /// A new, empty one, to be held by the server that gets it.
    fn hold(&self) -> Result<File> {
        // Without a mount, this is a server that has not mounted yet, of a snapshotter that is gone.
        ensure!(!self.is_held()?, "an earlier server is still busy; see {}", self.place());
        self.forget()?;
        let file = File::options().read(true).append(true).create_new(true).open(&self.0);
        let file = file.with_context(|| self.place())?;
        ensure!(lock(&file)?, "{} is held already", self.place());
        Ok(file)
    }

    fn forget(&self) -> Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).with_context(|| self.place()),
            _ => Ok(()),
        }
    }

    /// The last line of what was said.
    fn last_line(&self) -> Result<String> {
        let mut file = File::open(&self.0).with_context(|| self.place())?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(LINE)))?;
        let mut end = Vec::new();
        file.take(LINE).read_to_end(&mut end)?;
        let end = String::from_utf8_lossy(&end);
        Ok(end.lines().next_back().unwrap_or("it said nothing").to_owned())
    }

    fn place(&self) -> String {
        self.0.display().to_string()
    }
}

/// Takes the lock of `file`, if nobody has it.
fn lock(file: &File) -> Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether something is mounted at `directory`. This needs no answer of a server.
fn is_mounted(directory: &Path) -> Result<bool> {
    let flags = AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW;
    match statx(CWD, directory, flags, StatxFlags::empty()) {
        Ok(status) => Ok(status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error).with_context(|| directory.display().to_string()),
    }
}

fn unmounting(directory: &Path) -> String {
    format!("unmounting {}", directory.display())
}

/// The longest line that is repeated in an error, in bytes.
const LINE: u64 = 4096;
