//! The check of everything: blobs by their digests, the filesystem against the tree it was made from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use overlaybd_format::ReadAt;
use referrers::Digest;

use crate::hashing::HashingWriter;
use crate::image_files::{Found, FoundKind, ImageFiles};
use crate::tree::{Meta, Tree};

/// The sha256 digest, in the form that descriptors use, of everything that `from` holds. `done` is
/// told of each piece.
///
/// # Errors
///
/// If reading fails.
pub async fn digest(from: &Arc<dyn ReadAt>, done: &(dyn Fn(u64) + Sync)) -> Result<Digest> {
    let mut hash = HashingWriter::new(std::io::sink());
    copy(from, &mut hash, done).await?;
    let (_, digest, _) = hash.finish()?;
    Ok(digest)
}

/// Writes everything that `from` holds to `to`. `done` is told of each piece.
///
/// # Errors
///
/// If reading or writing fails.
pub async fn copy(from: &dyn ReadAt, to: &mut impl Write, done: &(dyn Fn(u64) + Sync)) -> Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut offset = 0;
    while offset < from.size() {
        let len = usize::try_from(from.size() - offset).unwrap_or(usize::MAX).min(PIECE);
        let piece = buffer.get_mut(..len).context("a piece is never longer than the buffer")?;
        from.read_at(piece, offset).await?;
        to.write_all(piece).with_context(|| format!("writing {len} bytes at {offset}"))?;
        done(len as u64);
        offset += len as u64;
    }
    Ok(())
}

/// Checks that the filesystem has exactly the entries of `tree`, with the same content and metadata.
/// Blocks; `done` is told of each piece of file bytes.
///
/// # Errors
///
/// If anything differs, with the path; or if reading fails.
pub fn same_tree(files: &ImageFiles, tree: &Tree, done: &dyn Fn(u64)) -> Result<()> {
    let mut found: BTreeMap<_, _> =
        files.walk(usize::MAX)?.into_iter().map(|entry| (entry.path.clone(), entry)).collect();
    found.remove("lost+found");

    for directory in &tree.directories {
        expect(&mut found, &directory.path, directory.meta, FoundKind::Directory)?;
    }
    for link in &tree.links {
        expect(&mut found, &link.path, link.meta, FoundKind::Link { target: link.target.clone() })?;
    }
    for file in tree.files() {
        expect(&mut found, &file.path, file.meta, FoundKind::File { size: file.size })?;
        let source = file.open()?;
        let mut compared = Comparison::new(&source, 0);
        files.read(&file.path, 0..file.size, |bytes| {
            done(bytes.len() as u64);
            compared.next(bytes).with_context(|| format!("{} in the image", file.path))
        })?;
        ensure!(
            compared.offset == file.size,
            "{} in the image ends after {} bytes",
            file.path,
            compared.offset
        );
    }
    match found.keys().next() {
        None => Ok(()),
        Some(path) => anyhow::bail!("{path} is in the image and not in the tree"),
    }
}

/// Reads every regular file of the filesystem to its end and counts files and bytes. Blocks.
///
/// # Errors
///
/// If a file cannot be read or is not as long as its inode says.
pub fn read_all(files: &ImageFiles, done: &dyn Fn(u64)) -> Result<(usize, u64)> {
    let mut count = 0;
    let mut bytes = 0;
    for entry in files.walk(MOST_ENTRIES)? {
        let FoundKind::File { size } = entry.kind else { continue };
        let mut read = 0;
        files.read(&entry.path, 0..size, |piece| {
            read += piece.len() as u64;
            done(piece.len() as u64);
            Ok(())
        })?;
        ensure!(read == size, "{} in the image ends after {read} of {size} bytes", entry.path);
        count += 1;
        bytes += size;
    }
    Ok((count, bytes))
}

/// Compares what is read, piece by piece, with a file that holds the same.
#[derive(Debug)]
pub struct Comparison<'a> {
    source: &'a File,
    offset: u64,
    buffer: Vec<u8>,
}

impl<'a> Comparison<'a> {
    /// Expects the bytes of `source` from `offset` on.
    pub fn new(source: &'a File, offset: u64) -> Self {
        Self { source, offset, buffer: Vec::new() }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    ///
    /// If it differs or the source cannot be read.
    pub fn next(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.resize(bytes.len(), 0);
        self.source.read_exact_at(&mut self.buffer, self.offset).context("reading the source")?;
        ensure!(
            self.buffer == bytes,
            "other bytes than the source between {} and {}",
            self.offset,
            self.offset + bytes.len() as u64
        );
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

fn expect(found: &mut BTreeMap<String, Found>, path: &str, meta: Meta, kind: FoundKind) -> Result<()> {
    let entry = found.remove(path).with_context(|| format!("{path} is not in the image"))?;
    let expected = Found { path: path.to_owned(), mode: meta.mode, mtime: meta.mtime, kind };
    ensure!(entry == expected, "the image has {entry:?} where the tree has {expected:?}");
    Ok(())
}

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// Bounds the walk of a filesystem that somebody else made, whose directories may form a ring. The
/// largest images have a few hundred thousand entries.
const MOST_ENTRIES: usize = 4 << 20;
