//! Images in a directory: an OCI image layout, for hosts without a registry in reach.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;

use crate::descriptor::expect;
use crate::media_type::{self, OCI_INDEX, OCI_MANIFEST};
use crate::{
    ApiSupport, Descriptor, Digest, Error, ErrorKind, ImageSource, Index, Limits, Listing, Manifest, Named,
    Reference, Repository, Result,
};

/// A directory with an OCI image layout (OCI image-spec "Image Layout"), as `skopeo copy … oci:` writes it.
///
/// It serves every repository that it is asked for: a tag is looked for in the annotation
/// `org.opencontainers.image.ref.name` of the entries of `index.json`, as a tag or as a whole reference. The
/// referrers of an image are those manifests with that `subject` which `index.json` leads to.
///
/// ```no_run
/// use referrers::{OciLayout, Platform, ResolveOptions, Resolver};
///
/// # async fn example() -> Result<(), referrers::Error> {
/// let layout = OciLayout::open("/var/lib/images/api")?;
/// let resolver = Resolver::new(layout, ResolveOptions::default());
/// let resolution = resolver.resolve(&"registry.example.com/shop/api:1.4".parse()?, &Platform::current()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct OciLayout {
    root: PathBuf,
    limits: Limits,
}

impl OciLayout {
    /// The layout in the directory `root`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::File`] if it cannot be read, [`ErrorKind::Unsupported`] if it has another version than 1.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            image_layout_version: String,
        }
        let this = Self { root: root.into(), limits: Limits::default() };
        let path = this.root.join("oci-layout");
        let place = path.display().to_string();
        let text = read(&path, MAX_VERSION, "OCI layout")
            .map_err(|e| e.unwrap_or_else(|| this.absent("OCI layout")))?;
        let version: Version = serde_json::from_slice(&text)
            .map_err(|e| Error::protocol(&*place, "OCI layout", "not the JSON it should be").because(e))?;
        if !version.image_layout_version.starts_with("1.") {
            let value = crate::error::printable(&version.image_layout_version);
            return Err(Error::new(ErrorKind::Unsupported { what: "version of OCI layout", value }, place));
        }
        Ok(this)
    }

    /// The file that should hold what `digest` names. Whoever asks checks it.
    fn blob(&self, digest: &Digest, limit: u64, what: &'static str) -> Result<Bytes> {
        let path = self.root.join("blobs").join(digest.algorithm().name()).join(digest.hex());
        read(&path, limit, what).map_err(|e| e.unwrap_or_else(|| self.absent(what)))
    }

    fn manifest(&self, digest: &Digest) -> Result<Manifest> {
        let bytes = self.blob(digest, self.limits.manifest, "manifest")?;
        let media_type = own_media_type(&bytes);
        Manifest::parse_at(bytes, &media_type, Some(digest), &self.place(digest.as_str()))
    }

    fn index(&self) -> Result<Index> {
        let path = self.root.join("index.json");
        let limit = self.limits.referrers_page;
        let bytes =
            read(&path, limit, "OCI layout").map_err(|e| e.unwrap_or_else(|| self.absent("OCI layout")))?;
        let place = path.display().to_string();
        let manifest = Manifest::parse_at(bytes, OCI_INDEX, None, &place)?;
        manifest.index().cloned().ok_or_else(|| Error::protocol(place, "OCI layout", "its index is none"))
    }

    fn tagged(&self, reference: &Reference) -> Result<Manifest> {
        let whole = reference.to_string();
        let names = |entry: &Descriptor| {
            let name = entry.annotation(REF_NAME);
            name.is_some() && (name == reference.tag() || name == Some(&*whole))
        };
        let index = self.index()?;
        let entry = index.manifests.iter().find(|entry| names(entry));
        self.manifest(&entry.ok_or_else(|| self.absent("manifest"))?.digest)
    }

    fn listing(&self, subject: &Digest) -> Result<Listing> {
        let mut listing = Listing::empty(ApiSupport::Supported);
        let mut waiting = self.index()?.manifests;
        let mut seen = HashSet::new();
        while let Some(entry) = waiting.pop() {
            if !(media_type::is_image(&entry.media_type) || media_type::is_index(&entry.media_type)) {
                continue;
            }
            if !seen.insert(entry.digest.clone()) {
                continue;
            }
            if seen.len() > MAX_MANIFESTS {
                let kind = ErrorKind::Limit { what: "manifests in a layout", limit: MAX_MANIFESTS as u64 };
                return Err(Error::new(kind, self.root.display().to_string()));
            }
            let manifest = match self.manifest(&entry.digest) {
                Ok(manifest) => manifest,
                // A copy of one platform's image leaves the other platforms' entries behind.
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            if manifest.subject().is_some_and(|own| own.digest == *subject) {
                listing.referrers.push(manifest.listed_descriptor());
            }
            waiting.extend(manifest.index().into_iter().flat_map(|index| index.manifests.iter().cloned()));
        }
        Ok(listing)
    }

    fn place(&self, what: &str) -> String {
        format!("{}: {what}", self.root.display())
    }

    fn absent(&self, what: &'static str) -> Error {
        Error::new(ErrorKind::NotFound { what }, self.root.display().to_string())
    }

    /// Runs `job`, which reads files, where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce(Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        let place = self.root.display().to_string();
        tokio::task::spawn_blocking(move || job(this))
            .await
            .map_err(|e| Error::new(ErrorKind::File { what: "OCI layout" }, place).because(e))?
    }
}

#[async_trait]
impl ImageSource for OciLayout {
    async fn named(&self, reference: &Reference) -> Result<Named> {
        let reference = reference.clone();
        self.blocking(move |this| match reference.digest() {
            Some(digest) => this.manifest(digest),
            None => this.tagged(&reference),
        })
        .await
        .map(Named::fresh)
    }

    async fn manifest_of(&self, _repository: &Repository, descriptor: &Descriptor) -> Result<Manifest> {
        let descriptor = descriptor.clone();
        self.blocking(move |this| {
            let bytes = this.blob(&descriptor.digest, this.limits.manifest, "manifest")?;
            let place = this.place(descriptor.digest.as_str());
            expect("size", &descriptor.size.to_string(), &bytes.len().to_string(), &place)?;
            Manifest::parse_at(bytes, &descriptor.media_type, Some(&descriptor.digest), &place)
        })
        .await
    }

    async fn small_blob(&self, _repository: &Repository, descriptor: &Descriptor) -> Result<Bytes> {
        let descriptor = descriptor.clone();
        self.blocking(move |this| {
            let bytes = this.blob(&descriptor.digest, this.limits.config, "blob")?;
            descriptor.verify(&bytes, &this.place(descriptor.digest.as_str()))?;
            Ok(bytes)
        })
        .await
    }

    async fn referrers(&self, _repository: &Repository, subject: &Digest) -> Result<Listing> {
        let subject = subject.clone();
        self.blocking(move |this| this.listing(&subject)).await
    }
}

/// A file of at most `limit` bytes; no error if it is not there.
fn read(path: &Path, limit: u64, what: &'static str) -> Result<Bytes, Option<Error>> {
    let place = || path.display().to_string();
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => None,
        _ => Some(Error::new(ErrorKind::File { what: "OCI layout" }, place()).because(error)),
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Some(Error::new(ErrorKind::Limit { what, limit }, place())));
    }
    Ok(bytes.into())
}

/// What a manifest says it is, or looks like. A layout keeps no type beside the bytes.
fn own_media_type(bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Outline {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let outline: Option<Outline> = serde_json::from_slice(bytes).ok();
    let looks = if outline.as_ref().is_some_and(|outline| outline.manifests.is_some()) {
        OCI_INDEX
    } else {
        OCI_MANIFEST
    };
    outline.and_then(|outline| outline.media_type).unwrap_or_else(|| looks.to_owned())
}

/// OCI image-spec, "Pre-Defined Annotation Keys".
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const MAX_VERSION: u64 = 4096;
/// As many as a list of referrers may have entries.
const MAX_MANIFESTS: usize = 4096;
