//! Where images, and what refers to them, are read from.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Descriptor, Digest, ImageConfig, ImageManifest, Listing, Manifest, Reference, Repository, Result,
};

/// What a [`Resolver`](crate::Resolver) reads: a [`Registry`](crate::Registry), an
/// [`OciLayout`](crate::OciLayout), or either behind a [`Cache`](crate::Cache).
///
/// # Contract
///
/// * Bytes are checked against the digest that was asked for before they are returned.
/// * A [`Listing`] is whole, or there is an error. Nothing found is an empty listing.
/// * An absent image is [`ErrorKind::NotFound`](crate::ErrorKind::NotFound); a source that cannot tell
///   whether it is there has another error.
/// * Concurrent calls are allowed, and a call that is dropped harms no other.
#[async_trait]
pub trait ImageSource: Send + Sync + fmt::Debug {
    /// The manifest that `reference` names.
    async fn named(&self, reference: &Reference) -> Result<Named>;

    /// The manifest that `descriptor` describes, of exactly that digest, size and media type.
    async fn manifest_of(&self, repository: &Repository, descriptor: &Descriptor) -> Result<Manifest>;

    /// The bytes of a small blob, such as an image configuration.
    async fn small_blob(&self, repository: &Repository, descriptor: &Descriptor) -> Result<Bytes>;

    /// All referrers of `subject`.
    async fn referrers(&self, repository: &Repository, subject: &Digest) -> Result<Listing>;

    /// The manifest that `reference` names, or `None` if it is still `known`.
    async fn named_unless(&self, reference: &Reference, known: &Digest) -> Result<Option<Manifest>> {
        let manifest = self.named(reference).await?.manifest;
        Ok((manifest.digest() != known).then_some(manifest))
    }
}

/// A manifest, and how old the knowledge is that the reference names it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Named {
    /// The manifest.
    pub manifest: Manifest,
    /// How old the knowledge is.
    pub freshness: Freshness,
}

/// How old an answer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// As new as the caller allows.
    #[default]
    Fresh,
    /// The source could not be asked again; this is what it said so long ago.
    Stale(Duration),
}

impl Named {
    /// A manifest that the reference names now.
    pub fn fresh(manifest: Manifest) -> Self {
        Self { manifest, freshness: Freshness::Fresh }
    }
}

/// The configuration of `image`.
pub(crate) async fn image_config(
    source: &dyn ImageSource,
    repository: &Repository,
    image: &ImageManifest,
) -> Result<ImageConfig> {
    let bytes = source.small_blob(repository, &image.config).await?;
    ImageConfig::parse_at(bytes, &repository.with_digest(image.config.digest.clone()).to_string())
}
