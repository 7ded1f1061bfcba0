//! Files of an EROFS device, read through any [`ReadAt`].
//!
//! The metadata of a converted layer lies in one piece, so the whole tree is read when the filesystem is
//! opened. A file's content is read from where the tree says.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use overlaybd_format::convert::files;
use overlaybd_format::oci_tar::{ContentRange, EntryKind, TarEntry};
use overlaybd_format::{Limits, ReadAt, Warm};
use tokio::runtime::Handle;

use crate::image_files::{Found, FoundKind};

/// A read-only EROFS filesystem.
#[derive(Debug)]
pub struct ErofsFiles {
    device: Arc<dyn ReadAt>,
    runtime: Handle,
    found: Vec<Found>,
    /// By path: length and content of regular files.
    contents: BTreeMap<String, (u64, Vec<ContentRange>)>,
}

impl ErofsFiles {
    /// Opens the filesystem on `device`, whose reads `runtime` drives. Not to be called from one of
    /// the runtime's own tasks, like all other calls: they wait.
    ///
    /// # Errors
    ///
    /// If the tree cannot be read, or has a name that is not UTF-8.
    pub fn open(device: Arc<dyn ReadAt>, runtime: Handle) -> Result<Self> {
        let entries = runtime.block_on(files(&*device, &Limits::default()))?;
        let mut this = Self { device, runtime, found: Vec::new(), contents: BTreeMap::new() };
        entries.into_iter().try_for_each(|entry| this.add(entry))?;
        Ok(this)
    }

    /// As [`ImageFiles::read`](crate::image_files::ImageFiles::read).
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
        let (size, content) = self.contents.get(path).with_context(place)?;
        let range = range.start..range.end.min(*size);
        let mut at = range.start;
        for part in content {
            let begin = range.start.max(part.offset);
            let end = range.end.min(part.offset.saturating_add(part.len));
            if begin >= end {
                continue;
            }
            zeros(at..begin, &mut take)?;
            self.piece(part.at + (begin - part.offset), end - begin, &mut take).with_context(place)?;
            at = end;
        }
        zeros(at..range.end, &mut take)
    }

    /// As [`ImageFiles::walk`](crate::image_files::ImageFiles::walk).
    ///
    /// # Errors
    ///
    /// None: the tree has been read.
    pub fn walk(&self, most: usize) -> Result<Vec<Found>> {
        Ok(self.found.iter().take(most).cloned().collect())
    }

    fn add(&mut self, entry: TarEntry) -> Result<()> {
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).context("a name in the image is not UTF-8")?;
            anyhow::Ok(text.trim_matches('/').to_owned())
        };
        let path = text(entry.path)?;
        if path.is_empty() {
            return Ok(());
        }
        let kind = match entry.kind {
            EntryKind::Directory => FoundKind::Directory,
            EntryKind::Symlink { target } => FoundKind::Link {
                target: String::from_utf8(target).context("a link in the image is not UTF-8")?,
            },
            EntryKind::File { size, content } => {
                self.contents.insert(path.clone(), (size, content));
                FoundKind::File { size }
            }
            EntryKind::HardLink { target } => match self.contents.get(&text(target)?).cloned() {
                Some(content) => {
                    let size = content.0;
                    self.contents.insert(path.clone(), content);
                    FoundKind::File { size }
                }
                None => FoundKind::Special,
            },
            EntryKind::CharacterDevice { .. } | EntryKind::BlockDevice { .. } | EntryKind::Fifo => {
                FoundKind::Special
            }
        };
        let mode = u16::try_from(entry.mode & 0o7777)?;
        self.found.push(Found { path, mode, mtime: entry.mtime.seconds, kind });
        Ok(())
    }

    /// Hands on `len` bytes at `at` of the device.
    fn piece(&self, at: u64, len: u64, take: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; usize::try_from(len.min(PIECE))?];
        let mut done = 0;
        while done < len {
            let part = usize::try_from((len - done).min(PIECE))?;
            let Some(part) = buffer.get_mut(..part) else { bail!("a piece is never longer than the buffer") };
            if self.device.try_read_at(part, at + done)? == Warm::No {
                self.runtime.block_on(self.device.read_at(part, at + done))?;
            }
            take(part)?;
            done += part.len() as u64;
        }
        Ok(())
    }
}

/// Hands on what a hole reads as.
fn zeros(range: Range<u64>, take: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let zeros = [0; 4096];
    let mut left = range.end.saturating_sub(range.start);
    while left > 0 {
        let len = usize::try_from(left.min(zeros.len() as u64))?;
        take(zeros.get(..len).unwrap_or_default())?;
        left -= len as u64;
    }
    Ok(())
}

/// Bytes that are read at once: what Linux reads ahead by default.
const PIECE: u64 = 128 << 10;
