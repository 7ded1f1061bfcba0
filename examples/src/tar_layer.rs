//! One layer of a tree as an ordinary image layer: a gzip-compressed tar.

use std::fs::File;
use std::io::{self, Read, Write};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use referrers::Digest;
use tar::{EntryType, Header};

use crate::hashing::HashingWriter;
use crate::tree::{Meta, Tree};

/// Writes layer `layer` of `tree` (0 is the bottom) to `sink` and returns the digest of the tar
/// before compression, which image configurations call a diff id. `done` is told of each piece of
/// file bytes.
///
/// # Errors
///
/// If a source file cannot be read or is shorter than it was, or `sink` fails.
pub fn write(tree: &Tree, layer: usize, sink: impl Write, done: &dyn Fn(u64)) -> Result<Digest> {
    let files = &tree.layers.get(layer).context("no such layer")?.files;
    let gzip = GzBuilder::new().write(sink, Compression::new(LEVEL));
    let mut tar = tar::Builder::new(HashingWriter::new(gzip));
    if layer == 0 {
        for directory in &tree.directories {
            let mut header = header(EntryType::Directory, directory.meta, 0);
            tar.append_data(&mut header, format!("{}/", directory.path), io::empty())?;
        }
        for link in &tree.links {
            tar.append_link(&mut header(EntryType::Symlink, link.meta, 0), &link.path, &link.target)?;
        }
    }
    for file in files {
        let source = SourceReader { file: file.open()?, left: file.size, done };
        tar.append_data(&mut header(EntryType::Regular, file.meta, file.size), &file.path, source)
            .with_context(|| format!("adding {}", file.source.display()))?;
    }
    let hashing = tar.into_inner()?;
    let (gzip, diff_id, _size) = hashing.finish()?;
    gzip.finish()?.flush()?;
    Ok(diff_id)
}

fn header(kind: EntryType, meta: Meta, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(meta.mode.into());
    header.set_mtime(meta.mtime.try_into().unwrap_or(0));
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header
}

/// The bytes of a source file, exactly as many as the header says: an entry that ends early would
/// shift all that follow.
struct SourceReader<'a> {
    file: File,
    left: u64,
    done: &'a dyn Fn(u64),
}

impl Read for SourceReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = (&self.file).take(self.left).read(into)?;
        if read == 0 && !into.is_empty() && self.left > 0 {
            return Err(io::Error::other(format!("the file is {} bytes shorter than it was", self.left)));
        }
        self.left -= read as u64;
        (self.done)(read as u64);
        Ok(read)
    }
}

/// The level at which images are usually compressed.
const LEVEL: u32 = 6;
