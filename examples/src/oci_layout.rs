//! A directory in the OCI image layout: content-addressed blobs and an index of manifests.
//!
//! ```text
//! oci-layout             {"imageLayoutVersion": "1.0.0"}
//! index.json             the manifests that have names
//! blobs/sha256/<hex>     layers, configs, manifests
//! ```

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use referrers::{Descriptor, Digest, Manifest};
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::document;
use crate::hashing::digest_of;

/// An image layout directory.
#[derive(Debug, Clone)]
pub struct OciLayout {
    root: PathBuf,
}

impl OciLayout {
    /// Makes an empty layout in the directory `root`, which is created if need be.
    ///
    /// # Errors
    ///
    /// If the directory cannot be written.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self> {
        let layout = Self { root: root.into() };
        let blobs = layout.root.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("creating {}", blobs.display()))?;
        layout.write(MARKER, &json!({ "imageLayoutVersion": LAYOUT_VERSION }))?;
        Ok(layout)
    }

    /// Opens an existing layout.
    ///
    /// # Errors
    ///
    /// If `root` is not a layout of version 1.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let layout = Self { root: root.into() };
        let path = layout.root.join(MARKER);
        let marker: Value = serde_json::from_slice(&document::read(&path)?)
            .with_context(|| format!("{} is not JSON", path.display()))?;
        match marker.get("imageLayoutVersion").and_then(Value::as_str) {
            Some(version) if version.starts_with("1.") => Ok(layout),
            other => bail!("{} names the unknown layout version {other:?}", path.display()),
        }
    }

    /// A file inside the layout to write a blob into; see [`add`](Self::add).
    ///
    /// # Errors
    ///
    /// If the directory cannot be written.
    pub fn new_blob(&self) -> Result<NamedTempFile> {
        NamedTempFile::new_in(&self.root).with_context(|| format!("writing into {}", self.root.display()))
    }

    /// Names a written blob by its digest.
    ///
    /// # Errors
    ///
    /// If the file cannot be read back or renamed.
    pub fn add(&self, blob: NamedTempFile, media_type: &str) -> Result<Descriptor> {
        let (digest, size) = digest_of(&mut blob.reopen()?)?;
        let path = self.blob_path(&digest);
        blob.persist(&path).with_context(|| format!("writing {}", path.display()))?;
        Ok(Descriptor::new(media_type, digest, size))
    }

    /// Stores a JSON document as a blob.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn add_json(&self, document: &impl Serialize, media_type: &str) -> Result<Descriptor> {
        let mut blob = self.new_blob()?;
        blob.write_all(&serde_json::to_vec(document)?)?;
        self.add(blob, media_type)
    }

    /// Where the blob is, if it is there.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// A manifest, checked against its descriptor.
    ///
    /// # Errors
    ///
    /// If it is missing, longer than 4 MiB, or not what the descriptor says.
    pub fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        let bytes = document::read(&self.blob_path(&descriptor.digest))?;
        Ok(Manifest::parse(bytes, &descriptor.media_type, Some(&descriptor.digest))?)
    }

    /// The manifests that `index.json` lists.
    ///
    /// # Errors
    ///
    /// If the file is missing or is not an image index.
    pub fn index(&self) -> Result<Vec<Descriptor>> {
        let path = self.root.join(INDEX);
        let index = Manifest::parse(document::read(&path)?, INDEX_TYPE, None)
            .with_context(|| format!("{} is not an image index", path.display()))?;
        let index = index.index().with_context(|| format!("{} is not an image index", path.display()))?;
        Ok(index.manifests.clone())
    }

    /// Writes `index.json` with these manifests.
    ///
    /// # Errors
    ///
    /// If the directory cannot be written.
    pub fn write_index(&self, manifests: &[Descriptor]) -> Result<()> {
        self.write(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests }))
    }

    fn write(&self, name: &str, document: &Value) -> Result<()> {
        let path = self.root.join(name);
        fs::write(&path, serde_json::to_vec(document)?).with_context(|| format!("writing {}", path.display()))
    }
}

/// OCI image layout specification, "oci-layout file" and "index.json file".
const MARKER: &str = "oci-layout";
const LAYOUT_VERSION: &str = "1.0.0";
const INDEX: &str = "index.json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
