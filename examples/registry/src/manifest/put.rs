//! Storing manifests.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH, LOCATION};

use super::Manifest;
use crate::call::{Answer, Call, With, answer, header};
use crate::digest::Digest;
use crate::faults::Fault;
use crate::lock;
use crate::name::{Reference, Repository};
use crate::refusal::Refusal;
use crate::registry::Registry;

impl Registry {
    /// `PUT /v2/<name>/manifests/<tag or digest>`.
    pub(super) async fn receive_manifest(
        &self,
        call: &mut Call,
        repository: &Repository,
        reference: &Reference,
    ) -> Answer {
        let bytes = call.read_body(MANIFEST_MAX).await?;
        let content_type = call.header(CONTENT_TYPE).unwrap_or_default();
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        let manifest = Manifest::parse(&bytes)?;
        if manifest.media_type() != content_type {
            return Err(Refusal::manifest_invalid("Content-Type is not the manifest's media type"));
        }
        let digest = {
            let _writing = lock(&self.writing);
            self.check_condition(call, repository, reference)?;
            self.store_manifest(repository, reference, &manifest, bytes)?
        };
        let created = answer(StatusCode::CREATED)
            .with(LOCATION, format!("/v2/{repository}/manifests/{digest}"))
            .with(header::CONTENT_DIGEST, digest.as_str());
        Ok(match manifest.subject() {
            Some(subject) if !self.faults.has(call.path(), &Fault::ReferrersOff) => {
                created.with(header::SUBJECT, subject.as_str())
            }
            _ => created,
        })
    }

    /// Stores a manifest whose blobs and children are there. Its subject need not be.
    pub(crate) fn store_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        manifest: &Manifest,
        bytes: Bytes,
    ) -> Result<Digest, Refusal> {
        let digest = match reference {
            Reference::Tag(_) => Digest::sha256(&bytes),
            Reference::Digest(digest) if Digest::of(digest.algorithm(), &bytes) == *digest => digest.clone(),
            Reference::Digest(digest) => return Err(Refusal::digest_invalid(digest.as_str())),
        };
        for blob in manifest.blobs() {
            self.store.blob(repository, blob)?.ok_or_else(|| missing(blob))?;
        }
        for child in manifest.children() {
            self.store.manifest(repository, child)?.ok_or_else(|| missing(child))?;
        }
        let size = bytes.len();
        self.store.put_manifest(repository, &digest, bytes)?;
        if let Reference::Tag(tag) = reference {
            self.store.put_tag(repository, tag, &digest)?;
        }
        self.subjects.add(repository, &digest, size, manifest);
        Ok(digest)
    }

    /// Conditions on what the reference names now, by RFC 9110 §13: `If-Match` guards an update
    /// against a lost one, `If-None-Match: *` against another's first push.
    fn check_condition(
        &self,
        call: &Call,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<(), Refusal> {
        let conditional = [IF_MATCH, IF_NONE_MATCH].iter().any(|name| call.headers().contains_key(name));
        if !conditional || self.faults.has(call.path(), &Fault::IfMatchIgnored) {
            return Ok(());
        }
        let current = match reference {
            Reference::Tag(tag) => self.store.tag(repository, tag)?,
            Reference::Digest(digest) => self.store.manifest(repository, digest)?.map(|_| digest.clone()),
        };
        let names = |name| {
            current.as_ref().is_some_and(|digest| call.condition_names(name, &format!("\"{digest}\"")))
        };
        let unmatched = call.headers().contains_key(IF_MATCH) && !names(IF_MATCH);
        if unmatched || names(IF_NONE_MATCH) {
            let status = StatusCode::PRECONDITION_FAILED;
            return Err(Refusal::new(status, "DENIED", "the reference names another manifest now"));
        }
        Ok(())
    }
}

fn missing(digest: &Digest) -> Refusal {
    let message = "a blob or manifest that it names is missing";
    Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", message).about(digest.as_str())
}

/// Longest manifest in bytes: what the distribution specification asks a registry to take at least.
const MANIFEST_MAX: usize = 4 << 20;
