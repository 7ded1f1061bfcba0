//! Uploading blobs and manifests.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::Method;

use crate::digest::Hasher;
use crate::{
    Algorithm, Descriptor, Digest, Error, ErrorKind, Manifest, Reference, Registry, Repository, Result,
};

use super::exchange::Ask;
use super::payload::Payload;
use super::pull;
use super::upload::UploadOptions;

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
    /// [`ErrorKind::Auth`] without the right to push; [`ErrorKind::Integrity`] if the registry stored something
    /// else.
    pub async fn push_blob(&self, repository: &Repository, bytes: Bytes) -> Result<Digest> {
        let digest = Digest::sha256_of(&bytes);
        let options = UploadOptions::default();
        self.upload(repository, &digest, &Payload::Bytes(bytes), &options).await?;
        Ok(digest)
    }

    /// Uploads the file at `path` as a blob, unless the repository has it already, and returns its descriptor
    /// with the type `application/octet-stream`.
    ///
    /// The file is read twice, to name it and to send it, and never held as a whole. One that changes in
    /// between is refused by the registry. A large one has more time than other calls: it must not be slower
    /// than 128 KiB/s.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::File`] if the file cannot be read, and as [`push_blob`](Self::push_blob).
    pub async fn push_file(
        &self,
        repository: &Repository,
        path: impl AsRef<Path>,
        options: &UploadOptions,
    ) -> Result<Descriptor> {
        let path: Arc<Path> = path.as_ref().into();
        let hashed = Arc::clone(&path);
        let unreadable = |error| {
            let kind = ErrorKind::File { what: "blob" };
            Error::new(kind, path.display().to_string()).because(error)
        };
        let read = tokio::task::spawn_blocking(move || digest_of_file(&hashed)).await;
        let (digest, size) = read.map_err(std::io::Error::other).and_then(|read| read).map_err(unreadable)?;
        let payload = Payload::File { path: Arc::clone(&path), range: 0..size };
        self.upload(repository, &digest, &payload, options).await?;
        Ok(Descriptor::new("application/octet-stream", digest, size))
    }

    /// Uploads a manifest under the reference's digest or tag.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Integrity`] if the reference's digest is another one, or the registry stored something
    /// else; as [`Manifest::parse`] for bytes that are no manifest.
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
        pull::verify_stated(&stored, manifest.bytes())?;
        let subject = manifest.subject().map(|subject| subject.digest.as_str());
        let subject_listed = subject.is_some() && stored.header(OCI_SUBJECT) == subject;
        Ok(Pushed { descriptor: manifest.descriptor(), subject_listed })
    }
}

fn digest_of_file(path: &Path) -> std::io::Result<(Digest, u64)> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let (mut buffer, mut size) = (vec![0; HASH_PIECE], 0u64);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hasher.finish(), size));
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        size = size.saturating_add(read as u64);
    }
}

/// OCI distribution-spec, "Pushing Manifests with Subject": names the subject if the registry has the API.
const OCI_SUBJECT: &str = "oci-subject";
const HASH_PIECE: usize = 1 << 20;
