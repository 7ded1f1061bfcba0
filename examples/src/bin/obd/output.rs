//! The blob that a verb makes.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use examples::whole_file::WholeFile;
use overlaybd_format::Digest;
use serde_json::{Value, json};

/// A blob on its way to its name.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    file: WholeFile,
}

impl Output {
    /// Begins the blob that will be at `path`. Only with `force` it may take the place of another.
    pub(crate) fn create(path: &Path, force: bool) -> Result<Self> {
        ensure!(force || !path.exists(), "{} exists; --force overwrites it", path.display());
        Ok(Self { path: path.to_owned(), file: WholeFile::create(path)? })
    }

    /// Where the bytes go, to be flushed at the end. Of a layer that is not compressed they may come in
    /// parts of a sector.
    pub(crate) fn sink(&self) -> BufWriter<&File> {
        BufWriter::with_capacity(BUFFER, self.file.file())
    }

    /// Names the blob. Says where it is, how long it is and what its digest is.
    pub(crate) fn keep(self) -> Result<Value> {
        let name = self.path.display().to_string();
        let mut file = self.file.file();
        file.seek(SeekFrom::Start(0)).with_context(|| format!("reading {name}"))?;
        let (digest, size) = Digest::of(&mut file).with_context(|| format!("reading {name}"))?;
        self.file.keep()?;
        Ok(json!({ "output": name, "size": size, "digest": digest.to_string() }))
    }
}

const BUFFER: usize = 1 << 20;
