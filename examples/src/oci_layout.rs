//! A directory in the OCI image layout: content-addressed blobs and an index of manifests.
//!
//! ```text
//! oci-layout             {"imageLayoutVersion": "1.0.0"}
//! index.json             the manifests that have names
//! blobs/sha256/<hex>     layers, configs, manifests
//! ```

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use referrers::{Descriptor, Digest, Manifest};
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::document;
use crate::hashing::digest_of;
use crate::whole_file::WholeFile;

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

    /// Opens the layout in the directory `root`, or makes an empty one if there is none.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open) and [`create`](Self::create).
    pub fn open_or_create(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        if root.join(MARKER).exists() {
            return Self::open(root);
        }
        let layout = Self::create(root)?;
        layout.write_index(&[])?;
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

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
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
        self.add_bytes(&serde_json::to_vec(document)?, media_type)
    }

    /// Stores `bytes` as a blob.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn add_bytes(&self, bytes: &[u8], media_type: &str) -> Result<Descriptor> {
        let mut blob = self.new_blob()?;
        blob.write_all(bytes).with_context(|| format!("writing into {}", self.root.display()))?;
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

    /// What `index.json` lists under `tag`; without one, the only image that is not made for another.
    ///
    /// # Errors
    ///
    /// If there is none, or more than one to choose from; as [`index`](Self::index).
    pub fn tagged(&self, tag: Option<&str>) -> Result<Descriptor> {
        let mut listed = self.index()?;
        let place = || self.root.join(INDEX).display().to_string();
        if let Some(tag) = tag {
            let found = listed.into_iter().find(|entry| entry.annotation(REF_NAME) == Some(tag));
            return found.with_context(|| format!("{} lists no {tag}", place()));
        }
        listed.retain(|entry| entry.artifact_type.is_none());
        match <[Descriptor; 1]>::try_from(listed) {
            Ok([only]) => Ok(only),
            Err(listed) => bail!("{} lists {} images; a tag has to say which", place(), listed.len()),
        }
    }

    /// Lists a manifest in `index.json`, under `tag` if there is one, which names nothing else from then
    /// on. One writer at a time.
    ///
    /// # Errors
    ///
    /// As [`index`](Self::index), or if the directory cannot be written.
    pub fn list(&self, mut manifest: Descriptor, tag: Option<&str>) -> Result<()> {
        let mut listed = self.index()?;
        if let Some(tag) = tag {
            manifest.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
            listed.retain(|entry| entry.annotation(REF_NAME) != Some(tag));
        }
        if !listed.contains(&manifest) {
            listed.push(manifest);
        }
        self.write_index(&listed)
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
        let file = WholeFile::create(&path)?;
        let written = file.file().write_all(&serde_json::to_vec(document)?);
        written.with_context(|| format!("writing {}", path.display()))?;
        file.keep()
    }
}

/// OCI image layout specification, "oci-layout file" and "index.json file".
const MARKER: &str = "oci-layout";
const LAYOUT_VERSION: &str = "1.0.0";
const INDEX: &str = "index.json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// OCI image specification, "Pre-Defined Annotation Keys": the tag of an entry.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
