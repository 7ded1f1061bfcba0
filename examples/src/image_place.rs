//! Where images are read and written: a repository of a registry, or a directory in the OCI image
//! layout.

use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use overlaybd_format::FileBlob;
use referrers::{
    Descriptor, Digest, Manifest, Platform, Registry, Repository, Resolution, ResolveOptions, Resolver,
    UploadOptions,
};
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use crate::access::Access;
use crate::document;
use crate::image_name::ImageName;
use crate::lazy_image::OpenBlob;
use crate::oci_layout::OciLayout;
use crate::origin::Origin;

/// A place for images.
#[derive(Debug, Clone)]
pub enum ImagePlace {
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

impl ImagePlace {
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
                Self::in_repository(access.registry(&repository)?, repository, access)?
            }
        })
    }

    /// A repository that `registry` reaches. To be called from a task of a tokio runtime.
    ///
    /// # Errors
    ///
    /// As [`Origin::new`].
    pub fn in_repository(registry: Registry, repository: Repository, access: &Access) -> Result<Self> {
        let origin = Origin::new(registry.clone(), repository.clone(), &access.keep, access.timeout)?;
        Ok(Self::Repository { registry, repository, origin: Arc::new(origin) })
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
            _ => bail!("{name} is in another place"),
        }
    }

    /// Resolves `name` for this machine's platform, looking for an accelerated image where `options` say.
    ///
    /// # Errors
    ///
    /// If there is no such image; that no accelerated one is found is none.
    pub async fn resolve(&self, name: &ImageName, options: &ResolveOptions) -> Result<Resolution> {
        let platform = Platform::current();
        let (resolver, reference) = match (self, name) {
            (Self::Repository { registry, .. }, ImageName::Registry(reference)) => {
                (Resolver::new(registry.clone(), options.clone()), reference.clone())
            }
            (Self::Layout(layout), ImageName::Layout { tag, .. }) => {
                // A layout serves every repository.
                let repository = Repository::new("localhost", "layout")?;
                let reference = match tag {
                    Some(tag) => repository.with_tag(tag)?,
                    None => repository.with_digest(layout.tagged(None)?.digest),
                };
                let source = referrers::OciLayout::open(layout.root())?;
                (Resolver::new(source, options.clone()), reference)
            }
            _ => bail!("{name} is in another place"),
        };
        Ok(resolver.resolve(&reference, &platform).await?)
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
                    name: path.display().to_string(),
                    digest: Some(descriptor.digest.clone()),
                    reader: Arc::new(blob),
                    remote: None,
                    target: None,
                })
            }
            Self::Repository { origin, .. } => origin.open(&descriptor.digest, descriptor.size),
        }
    }

    /// The size in bytes of a blob, if it is here.
    ///
    /// # Errors
    ///
    /// If that cannot be known.
    pub async fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        match self {
            Self::Layout(layout) => match std::fs::metadata(layout.blob_path(digest)) {
                Ok(found) => Ok(Some(found.len())),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error).with_context(|| digest.to_string()),
            },
            Self::Repository { registry, repository, .. } => {
                match registry.head_blob(repository, digest).await {
                    Ok(Some(size)) => Ok(Some(size)),
                    Ok(None) => bail!("{} does not tell the size of {digest}", repository.host()),
                    Err(error) if error.is_not_found() => Ok(None),
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
            Self::Layout(_) => Ok(self.size(&descriptor.digest).await? == Some(descriptor.size)),
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
            Self::Layout(layout) => {
                let (layout, media_type) = (layout.clone(), media_type.to_owned());
                spawn_blocking(move || layout.add(spool, &media_type)).await?
            }
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

impl fmt::Display for ImagePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(layout) => write!(f, "{}", layout.root().display()),
            Self::Repository { repository, .. } => write!(f, "{}/{}", repository.host(), repository.path()),
        }
    }
}

/// Bytes of a chunk of an upload. A connection that breaks costs no more than that.
const CHUNK: u64 = 32 << 20;
