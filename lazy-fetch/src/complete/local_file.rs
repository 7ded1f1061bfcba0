//! A file that holds a whole blob.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use crate::Digest;
use crate::digest::Hasher;
use crate::runtime::blocking;
use crate::{Error, ErrorKind, Result, Runtime};

/// A completed blob. Its digest was right when it was opened.
#[derive(Debug)]
pub(crate) struct LocalFile(Arc<File>);

impl LocalFile {
    pub(super) fn new(file: File) -> Self {
        Self(Arc::new(file))
    }

    /// The file at `path`, if there is one with these bytes. Another one is left to be replaced. Blocks.
    pub(super) fn open_checked(path: &Path, size: u64, digest: Digest) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        if file.metadata()?.len() != size {
            return Ok(None);
        }
        let hasher = hash(&file, Hasher::default(), size)?;
        Ok((hasher.finish() == digest).then(|| Self::new(file)))
    }

    /// Whether it is the file at `path`. Blocks.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        match (self.0.metadata(), path.metadata()) {
            (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
            _ => false,
        }
    }

    /// Fills `buf` if the page cache has its bytes. Neither waits for the disk nor allocates.
    #[cfg(target_os = "linux")]
    pub(crate) fn try_read(&self, buf: &mut [u8], offset: u64) -> bool {
        use rustix::io::{ReadWriteFlags, preadv2};
        let len = buf.len();
        let read = preadv2(&*self.0, &mut [io::IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT);
        read.is_ok_and(|read| read == len)
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn try_read(&self, _buf: &mut [u8], _offset: u64) -> bool {
        false
    }

    /// Fills `buf` from the disk.
    pub(crate) async fn read(&self, runtime: &dyn Runtime, buf: &mut [u8], offset: u64) -> Result<()> {
        let (file, mut bytes) = (Arc::clone(&self.0), vec![0; buf.len()]);
        let read = blocking(runtime, move || file.read_exact_at(&mut bytes, offset).map(|()| bytes)).await?;
        let bytes =
            read.map_err(|e| Error::new(ErrorKind::Storage, "reading a completed blob").with_source(e))?;
        buf.copy_from_slice(&bytes);
        Ok(())
    }
}

/// Hashes the next `len` bytes of `file`.
pub(super) fn hash(mut file: &File, mut hasher: Hasher, len: u64) -> io::Result<Hasher> {
    let mut buf = vec![0; BUFFER];
    let mut left = len;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let Some(part) = buf.get_mut(..part) else { break };
        file.read_exact(part)?;
        hasher.update(part);
        left = left.saturating_sub(part.len() as u64);
    }
    Ok(hasher)
}

const BUFFER: usize = 256 << 10;
