//! A file of the operating system as the storage of a writable layer.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::Storage;

/// A file, locked against other writers for as long as it is open.
///
/// The lock is advisory (`flock`): it keeps two users of this crate from writing one layer.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    name: Arc<str>,
}

impl FileStorage {
    /// Creates a new file at `path`; when this returns, its name survives a crash.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] if there is a file; what the system reports.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let storage = Self::with(path, OpenOptions::new().read(true).write(true).create_new(true))?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(storage)
    }

    /// Opens the file at `path` for reading and writing.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if it is open for writing elsewhere; what the system reports.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::with(path.as_ref(), OpenOptions::new().read(true).write(true))
    }

    fn with(path: &Path, options: &OpenOptions) -> io::Result<Self> {
        let file = options.open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { file, name: path.display().to_string().into() })
    }
}

impl Storage for FileStorage {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        holes::punch(&self.file, range)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        holes::next_data(&self.file, from)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod holes {
    use super::{File, Range, io};
    use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
    use rustix::io::Errno;

    pub(super) fn punch(file: &File, range: Range<u64>) -> io::Result<()> {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(file, mode, range.start, range.end.saturating_sub(range.start))?)
    }

    pub(super) fn next_data(file: &File, from: u64) -> io::Result<Option<Range<u64>>> {
        match seek(file, SeekFrom::Data(from)) {
            Ok(start) => Ok(Some(start..seek(file, SeekFrom::Hole(start))?)),
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Holes are handled in ways of their own elsewhere; append-only layers need none.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod holes {
    use super::{File, Range, io};

    pub(super) fn punch(_: &File, _: Range<u64>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn next_data(_: &File, _: u64) -> io::Result<Option<Range<u64>>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_refused_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let first = FileStorage::create(&path).unwrap();
        assert_eq!(FileStorage::open(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(FileStorage::create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop(first);
        FileStorage::open(&path).unwrap();
    }

    #[test]
    #[cfg_attr(not(target_os = "linux"), ignore = "files are not asked for their holes here")]
    fn what_was_written_is_data_and_what_was_punched_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = FileStorage::create(directory.path().join("data")).unwrap();
        file.set_size(64 << 10).unwrap();
        assert_eq!(file.next_data(0).unwrap(), None);
        file.write_at(&[7; 8192], 8192).unwrap();
        assert_eq!(file.next_data(0).unwrap(), Some(8192..16384));
        assert_eq!(file.next_data(12288).unwrap(), Some(12288..16384));
        file.punch(8192..12288).unwrap();
        assert_eq!(file.next_data(0).unwrap(), Some(12288..16384));
        assert_eq!(file.size().unwrap(), 64 << 10);
        let mut bytes = [1; 2];
        file.read_at(&mut bytes, 12287).unwrap();
        assert_eq!(bytes, [0, 7]);
        assert_eq!(file.read_at(&mut bytes, 65535).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
