//! Reading manifests and small blobs.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{ACCEPT, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};

use crate::descriptor::expect;
use crate::media_type::ACCEPT_MANIFESTS;
use crate::{
    Capability, Descriptor, Digest, Error, ErrorKind, ImageConfig, ImageManifest, ImageSource, Listing,
    Manifest, Named, Reference, Registry, Repository, Result,
};

use super::exchange::{Ask, Reply};

impl Registry {
    /// The manifest that `reference` names, with its bytes checked against the digest if it has one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Integrity`] if the bytes are not the ones
    /// named or differ from what the registry says they are, and as [`Manifest::parse`].
    pub async fn manifest(&self, reference: &Reference) -> Result<Manifest> {
        let reply = self.fetch_manifest(reference, self.0.options.limits.manifest).await?.success()?;
        self.0.support.readable(reference.repository());
        read_manifest(reply, reference.digest())
    }

    /// The manifest that `reference` names, or `None` if it still names `known`. Where the registry understands
    /// conditional requests, an unchanged one is not transferred again.
    ///
    /// # Errors
    ///
    /// As [`manifest`](Self::manifest).
    pub async fn manifest_unless(&self, reference: &Reference, known: &Digest) -> Result<Option<Manifest>> {
        let limit = self.0.options.limits.manifest;
        let ask = self.ask_manifest(reference, limit)?.header_text(IF_NONE_MATCH, &format!("\"{known}\""));
        let reply = self.exchange(ask.mirrored(capability(reference), reference.digest())).await?;
        if reply.status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let manifest = read_manifest(reply.success()?, reference.digest())?;
        Ok((manifest.digest() != known).then_some(manifest))
    }

    /// The manifest that `descriptor` describes, of exactly that digest, size and media type.
    ///
    /// # Errors
    ///
    /// As [`manifest`](Self::manifest).
    pub async fn manifest_of(&self, repository: &Repository, descriptor: &Descriptor) -> Result<Manifest> {
        let limit = self.0.options.limits.manifest;
        let reference = repository.with_digest(descriptor.digest.clone());
        within("manifest size in bytes", descriptor.size, limit, &reference)?;
        let reply = self.fetch_manifest(&reference, limit).await?.success()?;
        let place = reply.place.clone();
        let manifest = read_manifest(reply, Some(&descriptor.digest))?;
        expect("size", &descriptor.size.to_string(), &manifest.bytes().len().to_string(), &place)?;
        expect("media type", &descriptor.media_type, manifest.media_type(), &place)?;
        Ok(manifest)
    }

    /// Media type, digest and size of the manifest that `reference` names, without its bytes where the
    /// registry can tell. What it tells is not checked against the bytes.
    ///
    /// # Errors
    ///
    /// As [`manifest`](Self::manifest).
    pub async fn head_manifest(&self, reference: &Reference) -> Result<Descriptor> {
        let url = self.url(reference.repository(), &format!("manifests/{}", reference.selector()))?;
        let ask = Ask::new(reference.repository(), Method::HEAD, url, 0)
            .header(ACCEPT, ACCEPT_MANIFESTS)
            .mirrored(capability(reference), None);
        let reply = self.exchange(ask).await?;
        if reply.status != StatusCode::METHOD_NOT_ALLOWED {
            let reply = reply.success()?;
            let digest = reply.header(CONTENT_DIGEST).and_then(|text| text.parse::<Digest>().ok());
            let size = reply.header("content-length").and_then(|text| text.parse().ok());
            if let (Some(digest), Some(size)) = (digest, size) {
                if let Some(asked) = reference.digest() {
                    expect("digest", asked.as_str(), digest.as_str(), &reply.place)?;
                }
                return Ok(Descriptor::new(reply.media_type(), digest, size));
            }
        }
        Ok(self.manifest(reference).await?.descriptor())
    }

    /// The size in bytes of the blob `digest`, if the registry has it and tells.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if it has not.
    pub async fn head_blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>> {
        let url = self.url(repository, &format!("blobs/{digest}"))?;
        let reply = self.exchange(Ask::new(repository, Method::HEAD, url, 0)).await?.success()?;
        Ok(reply.header("content-length").and_then(|text| text.parse().ok()))
    }

    /// The bytes of a small blob, checked against its descriptor. Layers are not small.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Limit`] if it is larger than [`Limits::config`](crate::Limits::config),
    /// [`ErrorKind::Integrity`] if the bytes are not the ones described.
    pub async fn small_blob(&self, repository: &Repository, descriptor: &Descriptor) -> Result<Bytes> {
        let limit = self.0.options.limits.config;
        within(
            "blob size in bytes",
            descriptor.size,
            limit,
            &repository.with_digest(descriptor.digest.clone()),
        )?;
        let url = self.url(repository, &format!("blobs/{}", descriptor.digest))?;
        // A longer body than the described one is wrong already; reading it whole would only cost time.
        let limit = descriptor.size.saturating_add(1).min(limit);
        let reply = self
            .exchange(
                Ask::new(repository, Method::GET, url, limit)
                    .mirrored(Capability::Pull, Some(&descriptor.digest)),
            )
            .await?
            .success()?;
        descriptor.verify(&reply.body, &reply.place)?;
        Ok(reply.body)
    }

    /// The configuration of an image.
    ///
    /// # Errors
    ///
    /// As [`small_blob`](Self::small_blob) and [`ImageConfig::parse`].
    pub async fn image_config(&self, repository: &Repository, image: &ImageManifest) -> Result<ImageConfig> {
        let bytes = self.small_blob(repository, &image.config).await?;
        ImageConfig::parse_at(bytes, &repository.with_digest(image.config.digest.clone()).to_string())
    }

    /// The answer to a request for a manifest, whatever its status, of a mirror that is capable of that or else
    /// of the registry.
    async fn fetch_manifest(&self, reference: &Reference, limit: u64) -> Result<Reply> {
        let ask = self.ask_manifest(reference, limit)?;
        self.exchange(ask.mirrored(capability(reference), reference.digest())).await
    }

    pub(crate) fn ask_manifest<'a>(&self, reference: &'a Reference, limit: u64) -> Result<Ask<'a>> {
        let url = self.url(reference.repository(), &format!("manifests/{}", reference.selector()))?;
        let ask = Ask::new(reference.repository(), Method::GET, url, limit).header(ACCEPT, ACCEPT_MANIFESTS);
        Ok(ask)
    }
}

#[async_trait]
impl ImageSource for Registry {
    async fn named(&self, reference: &Reference) -> Result<Named> {
        self.manifest(reference).await.map(Named::fresh)
    }

    async fn manifest_of(&self, repository: &Repository, descriptor: &Descriptor) -> Result<Manifest> {
        self.manifest_of(repository, descriptor).await
    }

    async fn small_blob(&self, repository: &Repository, descriptor: &Descriptor) -> Result<Bytes> {
        self.small_blob(repository, descriptor).await
    }

    async fn referrers(&self, repository: &Repository, subject: &Digest) -> Result<Listing> {
        self.referrers(repository, subject, None).await
    }

    async fn named_unless(&self, reference: &Reference, known: &Digest) -> Result<Option<Manifest>> {
        self.manifest_unless(reference, known).await
    }
}

/// The manifest in a successful answer. The digest asked for is the authority, then the bytes; what the
/// registry says of them must agree.
pub(crate) fn read_manifest(reply: Reply, expected: Option<&Digest>) -> Result<Manifest> {
    verify_stated(&reply, &reply.body)?;
    let media_type = reply.media_type();
    Manifest::parse_at(reply.body, &media_type, expected, &reply.place)
}

/// Checks `bytes` against the digest that the registry states for them, by whatever algorithm that is.
pub(crate) fn verify_stated(reply: &Reply, bytes: &[u8]) -> Result<()> {
    let stated = reply.header(CONTENT_DIGEST).and_then(|text| text.parse::<Digest>().ok());
    stated.map_or(Ok(()), |stated| stated.verify(bytes, &reply.place))
}

/// What a mirror must be capable of to answer for `reference`.
fn capability(reference: &Reference) -> Capability {
    if reference.digest().is_some() { Capability::Pull } else { Capability::Resolve }
}

fn within(what: &'static str, size: u64, limit: u64, place: &Reference) -> Result<()> {
    if size <= limit { Ok(()) } else { Err(Error::new(ErrorKind::Limit { what, limit }, place.to_string())) }
}

/// OCI distribution-spec: the digest of the content, as the registry computed it.
pub(crate) const CONTENT_DIGEST: &str = "docker-content-digest";
