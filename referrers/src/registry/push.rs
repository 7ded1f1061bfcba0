//! Uploading blobs and manifests.

use bytes::Bytes;
use reqwest::header::LOCATION;
use reqwest::{Method, StatusCode};

use crate::{Descriptor, Digest, Error, Manifest, Reference, Registry, Repository, Result};

use super::exchange::{self, Ask};
use super::pull::CONTENT_DIGEST;

/// What became of a pushed manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// Media type, digest and size of the manifest.
    pub descriptor: Descriptor,
    /// Whether the registry said that it lists the manifest as a referrer of its subject.
    pub subject_listed: bool,
}

impl Registry {
    /// Uploads a blob in one piece, unless the repository has it already, and returns its digest.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Auth`](crate::ErrorKind::Auth) without the right to push;
    /// [`ErrorKind::Integrity`](crate::ErrorKind::Integrity) if the registry stored something else.
    pub async fn push_blob(&self, repository: &Repository, bytes: Bytes) -> Result<Digest> {
        let digest = Digest::sha256_of(&bytes);
        let url = self.url(repository, &format!("blobs/{digest}"))?;
        let head = self.exchange(Ask::new(repository, Method::HEAD, url, 0)).await?;
        if head.status == StatusCode::OK {
            return Ok(digest);
        }
        let answers = self.0.options.limits.token;
        let url = self.url(repository, "blobs/uploads/")?;
        let started = self.exchange(Ask::new(repository, Method::POST, url, answers)).await?.success()?;
        let location = started.header(LOCATION.as_str());
        let location =
            location.ok_or_else(|| Error::protocol(&*started.place, "upload", "it names no location"))?;
        // The location may have a query that the registry needs; the digest is added to it.
        let mut location = exchange::resolve(&started.url, location, &started.place)?;
        location.query_pairs_mut().append_pair("digest", digest.as_str());
        let ask = Ask::new(repository, Method::PUT, location, answers)
            .body("application/octet-stream", bytes.clone());
        let stored = self.exchange(ask).await?.success()?;
        confirm(stored.header(CONTENT_DIGEST), &digest, &bytes, &stored.place)?;
        Ok(digest)
    }

    /// Uploads a manifest under the reference's digest or tag.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Integrity`](crate::ErrorKind::Integrity) if the reference's digest is another one, or
    /// the registry stored something else; as [`Manifest::parse`] for bytes that are no manifest.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Pushed> {
        let manifest = Manifest::parse_at(bytes, media_type, reference.digest(), &reference.to_string())?;
        let url = self.url(reference.repository(), &format!("manifests/{}", reference.selector()))?;
        let ask = Ask::new(reference.repository(), Method::PUT, url, self.0.options.limits.token)
            .body(manifest.media_type(), manifest.bytes().clone());
        let stored = self.exchange(ask).await?.success()?;
        confirm(stored.header(CONTENT_DIGEST), manifest.digest(), manifest.bytes(), &stored.place)?;
        let subject = manifest.subject().map(|subject| subject.digest.as_str());
        let subject_listed = subject.is_some() && stored.header(OCI_SUBJECT) == subject;
        Ok(Pushed { descriptor: manifest.descriptor(), subject_listed })
    }
}

/// Checks what the registry says it stored. One that hashes by another algorithm is checked by that.
fn confirm(stated: Option<&str>, digest: &Digest, bytes: &[u8], place: &str) -> Result<()> {
    match stated.map(str::parse::<Digest>) {
        Some(Ok(stated)) if stated != *digest => stated.verify(bytes, place),
        _ => Ok(()),
    }
}

/// OCI distribution-spec, "Pushing Manifests with Subject": names the subject if the registry has the API.
const OCI_SUBJECT: &str = "oci-subject";
