//! Files that have their name only once they are whole.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;

/// A file on its way: beside its later place, without its name. Dropped before [`keep`](Self::keep), it
/// leaves nothing, and what was at its place stays.
#[derive(Debug)]
pub struct WholeFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl WholeFile {
    /// Begins a file that will be at `path`.
    ///
    /// # Errors
    ///
    /// If the directory cannot be written, or there is something else than a file at `path`.
    pub fn create(path: &Path) -> Result<Self> {
        let other = fs::metadata(path).is_ok_and(|found| !found.is_file());
        ensure!(!other, "{} is there and no regular file", path.display());
        let directory = match path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        };
        // As for any new file, the user's mask decides.
        let file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory)
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Gives the file its name, unless another has it by now.
    ///
    /// # Errors
    ///
    /// If there is a file at its path, or it cannot be renamed.
    pub fn keep_new(self) -> Result<()> {
        let path = self.path;
        self.file.persist_noclobber(&path).with_context(|| format!("writing {}", path.display()))?;
        Ok(())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    ///
    /// If it cannot be renamed.
    pub fn keep(self) -> Result<()> {
        let path = self.path;
        self.file.persist(&path).with_context(|| format!("writing {}", path.display()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_appears_when_it_is_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, "old").unwrap();
        let names = || fs::read_dir(directory.path()).unwrap().count();

        let half = WholeFile::create(&path).unwrap();
        half.file().write_all(b"ne").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(half);
        assert_eq!((fs::read(&path).unwrap(), names()), (b"old".to_vec(), 1));

        let whole = WholeFile::create(&path).unwrap();
        whole.file().write_all(b"new").unwrap();
        whole.keep().unwrap();
        assert_eq!((fs::read(&path).unwrap(), names()), (b"new".to_vec(), 1));
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let error = WholeFile::create(Path::new("/dev/null")).unwrap_err();
        assert!(error.to_string().contains("/dev/null"), "{error}");
        let error = WholeFile::create(Path::new("/nonexistent/f")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/f"), "{error}");
    }
}
