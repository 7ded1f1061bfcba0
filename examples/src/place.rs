//! Where images are read and written: a repository of a registry, or a directory in the OCI image
//! layout.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use overlaybd_format::FileBlob;
use referrers::{Descriptor, Digest, Manifest, Registry, Repository, UploadOptions};
use tempfile::NamedTempFile;

use crate::access::Access;
use crate::document;
use crate::image_name::ImageName;
use crate::lazy_image::OpenBlob;
use crate::oci_layout::OciLayout;
use crate::origin::Origin;

/// A place for images.
#[derive(Debug, Clone)]
pub enum Place {
    /// A directory.
    Layout(OciLayout),
    /// A repository.
    Repository {
        /// The client.
        registry: Registry,
        /// Which one.
        repository: Repository,
        /// Its blobs.
        origin: Arc<Origin>,
    },
}

impl Place {
    /// The place of `name`. A directory that holds nothing becomes an empty layout if it is to be written.
    /// To be called from a task of a tokio runtime.
    ///
    /// # Errors
    ///
    /// If there is no such layout, or as [`Access::origin`].
    pub fn of(name: &ImageName, access: &Access, to_write: bool) -> Result<Self> {
        Ok(match name {
            ImageName::Layout { directory, .. } if to_write => {
                Self::Layout(OciLayout::open_or_create(directory)?)
            }
            ImageName::Layout { directory, .. } => Self::Layout(OciLayout::open(directory)?),
            ImageName::Registry(reference) => {
                let repository = reference.repository().clone();
                let registry = access.registry(&repository)?;
                Self::Repository { registry, origin: Arc::new(access.origin(&repository)?), repository }
            }
        })
    }

    /// The manifest that `name` names here.
    ///
    /// # Errors
    ///
    /// If there is none, or it cannot be read.
    pub async fn named(&self, name: &ImageName) -> Result<Manifest> {
        match (self, name) {
            (Self::Layout(layout), ImageName::Layout { tag, .. }) => {
                layout.manifest(&layout.tagged(tag.as_deref())?)
            }
            (Self::Repository { registry, .. }, ImageName::Registry(reference)) => {
                Ok(registry.manifest(reference).await?)
            }
            _ => anyhow::bail!("{name} is in another place"),
        }
    }

    /// The manifest that `descriptor` describes.
    ///
    /// # Errors
    ///
    /// If it is not here, or not what it should be.
    pub async fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        match self {
            Self::Layout(layout) => layout.manifest(descriptor),
            Self::Repository { registry, repository, .. } => {
                Ok(registry.manifest_of(repository, descriptor).await?)
            }
        }
    }

    /// The bytes of a small blob.
    ///
    /// # Errors
    ///
    /// As [`manifest`](Self::manifest), and if it is not small.
    pub async fn document(&self, descriptor: &Descriptor) -> Result<Bytes> {
        match self {
            Self::Layout(layout) => {
                let bytes = document::read(&layout.blob_path(&descriptor.digest))?;
                let found = Descriptor::of(descriptor.media_type.as_str(), &bytes);
                let expected = (&descriptor.digest, descriptor.size);
                ensure!((&found.digest, found.size) == expected, "{} has other bytes", descriptor.digest);
                Ok(bytes)
            }
            Self::Repository { registry, repository, .. } => {
                Ok(registry.small_blob(repository, descriptor).await?)
            }
        }
    }

    /// A blob, to be read at any position. Its bytes are not checked.
    ///
    /// # Errors
    ///
    /// If it is not in the layout.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<OpenBlob> {
        match self {
            Self::Layout(layout) => {
                let path = layout.blob_path(&descriptor.digest);
                let blob = FileBlob::open(&path).with_context(|| format!("opening {}", path.display()))?;
                Ok(OpenBlob {
                    name: descriptor.digest.to_string(),
                    digest: Some(descriptor.digest.clone()),
                    reader: Arc::new(blob),
                    remote: None,
                    target: None,
                })
            }
            Self::Repository { origin, .. } => origin.open(&descriptor.digest, descriptor.size),
        }
    }

    /// Whether a blob of this digest and size is here.
    ///
    /// # Errors
    ///
    /// If that cannot be known.
    pub async fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        match self {
            Self::Layout(layout) => {
                let metadata = std::fs::metadata(layout.blob_path(digest));
                Ok(metadata.is_ok_and(|found| found.len() == size))
            }
            Self::Repository { registry, repository, .. } => {
                match registry.head_blob(repository, digest).await {
                    Ok(found) => Ok(found.is_none_or(|found| found == size)),
                    Err(error) if error.is_not_found() => Ok(false),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// Whether the manifest is here.
    ///
    /// # Errors
    ///
    /// If that cannot be known.
    pub async fn has_manifest(&self, descriptor: &Descriptor) -> Result<bool> {
        match self {
            Self::Layout(_) => self.has(&descriptor.digest, descriptor.size).await,
            Self::Repository { registry, repository, .. } => {
                let reference = repository.with_digest(descriptor.digest.clone());
                match registry.head_manifest(&reference).await {
                    Ok(_) => Ok(true),
                    Err(error) if error.is_not_found() => Ok(false),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// A file to write a blob into; see [`put`](Self::put).
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn spool(&self) -> Result<NamedTempFile> {
        match self {
            Self::Layout(layout) => layout.new_blob(),
            Self::Repository { .. } => NamedTempFile::new().context("making a temporary file"),
        }
    }

    /// Takes a written blob.
    ///
    /// # Errors
    ///
    /// If it cannot be stored.
    pub async fn put(&self, spool: NamedTempFile, media_type: &str) -> Result<Descriptor> {
        match self {
            Self::Layout(layout) => layout.add(spool, media_type),
            Self::Repository { registry, repository, .. } => {
                let options = UploadOptions::default().with_chunks(CHUNK);
                let mut descriptor = registry.push_file(repository, spool.path(), &options).await?;
                descriptor.media_type = media_type.to_owned();
                Ok(descriptor)
            }
        }
    }

    /// Takes a small blob.
    ///
    /// # Errors
    ///
    /// If it cannot be stored.
    pub async fn put_document(&self, bytes: Bytes, media_type: &str) -> Result<Descriptor> {
        match self {
            Self::Layout(layout) => layout.add_bytes(&bytes, media_type),
            Self::Repository { registry, repository, .. } => {
                let descriptor = Descriptor::of(media_type, &bytes);
                registry.push_blob(repository, bytes).await?;
                Ok(descriptor)
            }
        }
    }

    /// Takes a manifest. One that has a subject is listed as its referrer.
    ///
    /// # Errors
    ///
    /// If it cannot be stored.
    pub async fn put_manifest(&self, media_type: &str, bytes: Bytes) -> Result<Descriptor> {
        let manifest = Manifest::parse(bytes, media_type, None)?;
        match self {
            Self::Layout(layout) => {
                layout.add_bytes(manifest.bytes(), media_type)?;
                if manifest.subject().is_some() {
                    let mut listed = manifest.descriptor();
                    listed.artifact_type = manifest.artifact_type().map(str::to_owned);
                    layout.list(listed, None)?;
                }
            }
            Self::Repository { registry, repository, .. } => {
                let bytes = manifest.bytes().clone();
                if manifest.subject().is_some() {
                    registry.attach(repository, media_type, bytes).await?;
                } else {
                    let reference = repository.with_digest(manifest.digest().clone());
                    registry.push_manifest(&reference, media_type, bytes).await?;
                }
            }
        }
        Ok(manifest.descriptor())
    }

    /// Gives a manifest that is here a tag.
    ///
    /// # Errors
    ///
    /// If that cannot be stored.
    pub async fn tag(&self, manifest: &Manifest, tag: &str) -> Result<()> {
        match self {
            Self::Layout(layout) => {
                let mut listed = manifest.descriptor();
                listed.artifact_type = manifest.subject().and(manifest.artifact_type()).map(str::to_owned);
                layout.list(listed, Some(tag))
            }
            Self::Repository { registry, repository, .. } => {
                let reference = repository.with_tag(tag)?;
                registry.push_manifest(&reference, manifest.media_type(), manifest.bytes().clone()).await?;
                Ok(())
            }
        }
    }
}

/// Bytes of a chunk of an upload. A connection that breaks costs no more than that.
const CHUNK: u64 = 32 << 20;
