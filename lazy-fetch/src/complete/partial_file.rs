//! A file that is on its way to hold a whole blob.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};

use super::local_file::{LocalFile, hash};
use crate::Digest;
use crate::digest::Hasher;

/// The first bytes of a blob, in a file beside the one they are for. Everything here blocks.
pub(super) struct PartialFile {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    hasher: Hasher,
    len: u64,
}

impl PartialFile {
    /// Takes over the partial file of `path`, or makes one. Its lock ends with this value or this process.
    pub(super) fn open(path: &Path, size: u64) -> io::Result<Self> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(SUFFIX);
        let partial = PathBuf::from(partial);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&partial)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        // Whoever held the lock before may have given the file its final name meanwhile.
        let (ours, theirs) = (file.metadata()?, fs::metadata(&partial)?);
        if (ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino()) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process has just completed it"));
        }
        let len = ours.len();
        let mut this = Self { file, partial, path: path.into(), hasher: Hasher::default(), len: 0 };
        if len > size {
            this.empty()?;
        } else {
            this.hasher = hash(&this.file, Hasher::default(), len)?;
            this.len = len;
        }
        Ok(this)
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn append(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        for piece in pieces {
            self.file.write_all(piece)?;
            self.hasher.update(piece);
            self.len = self.len.saturating_add(piece.len() as u64);
        }
        Ok(())
    }

    /// Gives the file its final name if it matches `digest`; empties it otherwise.
    pub(super) fn finish(mut self, digest: Digest) -> io::Result<Result<LocalFile, Self>> {
        if self.hasher.clone().finish() != digest {
            self.empty()?;
            return Ok(Err(self));
        }
        // The name must not outlive a power failure that the bytes did not.
        self.file.sync_all()?;
        fs::rename(&self.partial, &self.path)?;
        if let Some(directory) = self.path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            File::open(directory)?.sync_all()?;
        }
        Ok(Ok(LocalFile::new(self.file)))
    }

    fn empty(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.hasher, self.len) = (Hasher::default(), 0);
        Ok(())
    }
}

const SUFFIX: &str = ".partial";
