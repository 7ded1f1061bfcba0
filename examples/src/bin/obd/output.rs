//! The file that a verb makes: complete under its name, or not there at all.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use examples::whole_file::WholeFile;
use overlaybd_format::Digest;
use serde_json::{Value, json};

/// A file that gets its name when it is finished.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    force: bool,
    file: WholeFile,
}

impl Output {
    /// Begins the file that will be at `path`. Only with `force` it may take the place of another.
    pub(crate) fn create(path: &Path, force: bool) -> Result<Self> {
        anyhow::ensure!(force || !path.exists(), "{} exists; --force overwrites it", path.display());
        Ok(Self { path: path.to_owned(), force, file: WholeFile::create(path)? })
    }

    /// Where the bytes go. They arrive in large parts, so that no buffer is needed.
    pub(crate) fn file(&self) -> &File {
        self.file.file()
    }

    /// Names the file. Says where it is, how long it is and what its digest is.
    pub(crate) fn finish(self) -> Result<Value> {
        let name = self.path.display().to_string();
        let mut file = self.file.file();
        file.seek(SeekFrom::Start(0)).with_context(|| name.clone())?;
        let (digest, size) = Digest::of(&mut file).with_context(|| name.clone())?;
        if self.force { self.file.keep() } else { self.file.keep_new() }?;
        Ok(json!({ "output": name, "size": size, "digest": digest.to_string() }))
    }
}
