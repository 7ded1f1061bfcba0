//! Files of an ext4 device, read through any [`ReadAt`].
//!
//! The ext4 reader is synchronous and stays on one thread, so it is opened and used on a blocking
//! thread, which waits for the device's reads.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result};
use ext4_view::{Ext4, Ext4Read};
use overlaybd_format::ReadAt;
use tokio::runtime::Handle;

use crate::image_files::{Found, FoundKind};

/// A read-only ext4 filesystem.
#[derive(Debug)]
pub struct Ext4Files(Ext4);

impl Ext4Files {
    /// Opens the filesystem on `device`, whose reads `runtime` drives. Not to be called from one of
    /// the runtime's own tasks, like all other calls: they wait.
    ///
    /// # Errors
    ///
    /// If the device has no ext4 filesystem or cannot be read.
    pub fn open(device: Arc<dyn ReadAt>, runtime: Handle) -> Result<Self> {
        let reader = DeviceReader::new(device, runtime);
        Ext4::load(Box::new(reader)).map(Self).context("opening the ext4 filesystem")
    }

    /// Hands the bytes of `range` of the file at `path` (from the root) to `take`, in order and in
    /// pieces. A range that ends after the file ends with it.
    ///
    /// # Errors
    ///
    /// If there is no such file, it cannot be read, or `take` fails.
    pub fn read(
        &self,
        path: &str,
        range: Range<u64>,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let place = || format!("reading {path} in the image");
        let mut file = self.0.open(absolute(path).as_str()).with_context(place)?;
        file.seek(SeekFrom::Start(range.start)).with_context(place)?;
        let mut left = range.end.saturating_sub(range.start);
        let mut buffer = vec![0; 1 << 16];
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = file.read(buffer.get_mut(..wanted).unwrap_or_default()).with_context(place)?;
            if read == 0 {
                break;
            }
            take(buffer.get(..read).unwrap_or_default())?;
            left -= read as u64;
        }
        Ok(())
    }

    /// The first `most` entries below the root, directory by directory.
    ///
    /// # Errors
    ///
    /// If a directory cannot be read or has a name that is not UTF-8.
    pub fn walk(&self, most: usize) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        let mut directories = vec![String::new()];
        while let Some(directory) = directories.pop() {
            let place = || format!("reading the directory /{directory} in the image");
            for entry in self.0.read_dir(absolute(&directory).as_str()).with_context(place)? {
                let entry = entry.with_context(place)?;
                let name = entry.file_name();
                let name = name.as_str().with_context(place)?;
                if matches!(name, "." | "..") {
                    continue;
                }
                let path = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
                let metadata = entry.metadata().with_context(place)?;
                let kind = if metadata.is_dir() {
                    directories.push(path.clone());
                    FoundKind::Directory
                } else if metadata.is_symlink() {
                    let target = self.0.read_link(absolute(&path).as_str()).with_context(place)?;
                    FoundKind::Link { target: target.display().to_string() }
                } else if metadata.file_type().is_regular_file() {
                    FoundKind::File { size: metadata.len() }
                } else {
                    FoundKind::Special
                };
                if found.len() == most {
                    return Ok(found);
                }
                found.push(Found { path, mode: metadata.mode(), mtime: metadata.modified().seconds(), kind });
            }
        }
        Ok(found)
    }
}

fn absolute(path: &str) -> String {
    format!("/{path}")
}

/// The bridge from the ext4 reader's blocking calls to the device.
///
/// The ext4 reader asks for 32 KiB at a time. As the page cache of a kernel does, this reads more at
/// once, so that a file far away costs few round trips: the aligned window around the place.
struct DeviceReader {
    device: Arc<dyn ReadAt>,
    runtime: Handle,
    window: Vec<u8>,
    window_at: u64,
}

impl DeviceReader {
    fn new(device: Arc<dyn ReadAt>, runtime: Handle) -> Self {
        Self { device, runtime, window: Vec::new(), window_at: 0 }
    }

    /// The bytes from `offset` on, if the window has them all.
    fn held(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.window_at)?).ok()?;
        self.window.get(start..start.checked_add(len)?)
    }

    fn move_window(&mut self, offset: u64) -> overlaybd_format::Result<()> {
        let start = offset - offset % WINDOW;
        let len = WINDOW.min(self.device.size().saturating_sub(start)) as usize;
        // Nothing is held unless the read succeeds.
        let mut window = std::mem::take(&mut self.window);
        window.resize(len, 0);
        self.runtime.block_on(self.device.read_at(&mut window, start))?;
        (self.window, self.window_at) = (window, start);
        Ok(())
    }
}

impl Ext4Read for DeviceReader {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if self.held(offset, into.len()).is_none() {
            self.move_window(offset)?;
        }
        match self.held(offset, into.len()) {
            Some(bytes) => into.copy_from_slice(bytes),
            // It crosses the end of the window, or of the device.
            None => self.runtime.block_on(self.device.read_at(into, offset))?,
        }
        Ok(())
    }
}

/// Bytes of a window: what Linux reads ahead by default.
const WINDOW: u64 = 128 << 10;
