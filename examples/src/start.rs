//! The start: reading the start set through the filesystem, as the processes of a container would.

use std::fs::File;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::{Context, Result};
use overlaybd_format::ReadAt;
use tokio::runtime::Handle;

use crate::image_files::{FoundKind, ImageFiles, ImageFilesystem};
use crate::start_set::{Candidate, Slice, start_set};
use crate::tree::Tree;
use crate::verify::Comparison;
use crate::workers;

/// How a start went.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// Parts of files that were read.
    pub slices: usize,
    /// Their bytes.
    pub bytes: u64,
    /// When the first byte of a file was there.
    pub first_byte: Instant,
    /// When the whole start set was there.
    pub end: Instant,
}

/// Lists the filesystem on `device` and reads its start set with a few readers at once. With the `tree`
/// that it was made from, every byte is compared. Blocks; `done` is told of each piece.
///
/// # Errors
///
/// If reading fails, something differs from the tree, or the filesystem has no files to read.
pub fn read_start_set(
    device: &Arc<dyn ReadAt>,
    runtime: &Handle,
    tree: Option<&Tree>,
    done: &(dyn Fn(u64) + Sync),
) -> Result<Start> {
    let filesystem = ImageFilesystem::open(Arc::clone(device), runtime.clone())?;
    let slices = choose(&filesystem.files()?)?;
    let first_byte = OnceLock::new();
    let lengths = workers::map(READERS, slices, |slice| {
        let source = source(tree, &slice)?;
        let mut compared = source.as_ref().map(|file| Comparison::new(file, slice.range.start));
        let mut len = 0;
        filesystem.files()?.read(&slice.path, slice.range.clone(), |bytes| {
            first_byte.get_or_init(Instant::now);
            len += bytes.len() as u64;
            done(bytes.len() as u64);
            match &mut compared {
                Some(compared) => {
                    compared.next(bytes).with_context(|| format!("{} in the image", slice.path))
                }
                None => Ok(()),
            }
        })?;
        Ok(len)
    })?;
    let first_byte = *first_byte.get().context("the image has no files to start with")?;
    Ok(Start { slices: lengths.len(), bytes: lengths.iter().sum(), first_byte, end: Instant::now() })
}

fn choose(files: &ImageFiles) -> Result<Vec<Slice>> {
    let found = files.walk(LISTED)?;
    let candidates: Vec<_> = found
        .iter()
        .filter_map(|entry| match entry.kind {
            FoundKind::File { size } => {
                Some(Candidate { path: &entry.path, size, executable: entry.mode & 0o111 != 0 })
            }
            _ => None,
        })
        .collect();
    Ok(start_set(&candidates))
}

fn source(tree: Option<&Tree>, slice: &Slice) -> Result<Option<File>> {
    let Some(tree) = tree else { return Ok(None) };
    let file = tree.files().find(|file| file.path == slice.path);
    let file = file.with_context(|| format!("{} is in the image and not in the tree", slice.path))?;
    file.open().map(Some)
}

/// Readers at once: a start is more than one process.
const READERS: usize = 4;

/// So many entries are listed to choose from. A start looks into few directories, and each entry may
/// cost a read of its inode.
const LISTED: usize = 512;
