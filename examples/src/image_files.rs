//! The files on a device, whatever filesystem it has.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result};
use overlaybd_format::ReadAt;
use tokio::runtime::Handle;

use crate::erofs_read::ErofsFiles;
use crate::ext4_read::Ext4Files;
use crate::fuse::Filesystem;

/// The filesystem on a device, read by any number of threads.
#[derive(Debug, Clone)]
pub struct ImageFilesystem {
    device: Arc<dyn ReadAt>,
    runtime: Handle,
    /// The files, if it is EROFS; those of ext4 are looked for when they are asked for.
    erofs: Option<Arc<ErofsFiles>>,
}

/// The files as one thread reads them.
#[derive(Debug)]
pub enum ImageFiles {
    /// On ext4.
    Ext4(Ext4Files),
    /// On EROFS.
    Erofs(Arc<ErofsFiles>),
}

/// An entry of the filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Relative to the root, components joined by `/`.
    pub path: String,
    /// The lower twelve bits of the mode.
    pub mode: u16,
    /// Seconds since 1970.
    pub mtime: i64,
    /// What it is.
    pub kind: FoundKind,
}

/// What an entry of the filesystem is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundKind {
    /// A directory.
    Directory,
    /// A symbolic link.
    Link {
        /// As stored, not resolved.
        target: String,
    },
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
    },
    /// A device node, pipe or socket.
    Special,
}

impl ImageFilesystem {
    /// Opens the filesystem on `device`, whose reads `runtime` drives. Not to be called from one of
    /// the runtime's own tasks, like all other calls: they wait.
    ///
    /// # Errors
    ///
    /// If the device has neither ext4 nor EROFS, or cannot be read.
    pub fn open(device: Arc<dyn ReadAt>, runtime: Handle) -> Result<Self> {
        let erofs = match runtime.block_on(Filesystem::of(&*device))? {
            Filesystem::Ext4 => None,
            Filesystem::Erofs => {
                let files = ErofsFiles::open(Arc::clone(&device), runtime.clone());
                Some(Arc::new(files.context("opening the EROFS filesystem")?))
            }
        };
        Ok(Self { device, runtime, erofs })
    }

    /// The files, for one thread.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn files(&self) -> Result<ImageFiles> {
        Ok(match &self.erofs {
            Some(files) => ImageFiles::Erofs(Arc::clone(files)),
            None => ImageFiles::Ext4(Ext4Files::open(Arc::clone(&self.device), self.runtime.clone())?),
        })
    }
}

impl ImageFiles {
    /// Hands the bytes of `range` of the file at `path` (from the root) to `take`, in order and in
    /// pieces. A range that ends after the file ends with it.
    ///
    /// # Errors
    ///
    /// If there is no such file, it cannot be read, or `take` fails.
    pub fn read(&self, path: &str, range: Range<u64>, take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match self {
            Self::Ext4(files) => files.read(path, range, take),
            Self::Erofs(files) => files.read(path, range, take),
        }
    }

    /// The first `most` entries below the root.
    ///
    /// # Errors
    ///
    /// If a directory cannot be read or has a name that is not UTF-8.
    pub fn walk(&self, most: usize) -> Result<Vec<Found>> {
        match self {
            Self::Ext4(files) => files.walk(most),
            Self::Erofs(files) => files.walk(most),
        }
    }
}
