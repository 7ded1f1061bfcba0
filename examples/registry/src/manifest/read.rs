//! Reading and deleting manifests and tags.

use hyper::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use hyper::{Method, StatusCode};

use super::Manifest;
use crate::call::{Answer, Call, With, answer, header};
use crate::digest::Digest;
use crate::faults::Fault;
use crate::lock;
use crate::name::{Reference, Repository};
use crate::refusal::Refusal;
use crate::registry::Registry;

impl Registry {
    /// `GET`, `HEAD`, `PUT` and `DELETE` of `/v2/<name>/manifests/<tag or digest>`.
    pub(crate) async fn manifest(
        &self,
        call: &mut Call,
        repository: Repository,
        reference: Reference,
    ) -> Answer {
        match *call.method() {
            Method::GET | Method::HEAD => self.send_manifest(call, &repository, &reference),
            Method::PUT => self.receive_manifest(call, &repository, &reference).await,
            Method::DELETE => self.delete_manifest(&repository, &reference),
            _ => Err(Refusal::unsupported()),
        }
    }

    fn send_manifest(&self, call: &Call, repository: &Repository, reference: &Reference) -> Answer {
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => match self.store.tag(repository, tag)? {
                Some(digest) => digest,
                None => {
                    self.alias(call, tag.as_str()).ok_or_else(|| Refusal::manifest_unknown(tag.as_str()))?
                }
            },
        };
        let bytes = self
            .store
            .manifest(repository, &digest)?
            .ok_or_else(|| Refusal::manifest_unknown(digest.as_str()))?;
        let etag = format!("\"{digest}\"");
        let about = |status| answer(status).with(header::CONTENT_DIGEST, digest.as_str()).with(ETAG, &etag);
        if call.condition_names(IF_NONE_MATCH, &etag) {
            return Ok(about(StatusCode::NOT_MODIFIED));
        }
        let media_type = Manifest::parse(&bytes)?.media_type();
        Ok(about(StatusCode::OK).with(CONTENT_TYPE, media_type).with_body(bytes))
    }

    /// The digest that a fallback tag spells, if the server is to confuse the two.
    fn alias(&self, call: &Call, tag: &str) -> Option<Digest> {
        let digest = tag.replacen('-', ":", 1).parse().ok()?;
        self.faults.has(call.path(), &Fault::SubjectAlias).then_some(digest)
    }

    /// A digest is removed with the tags that point at it, a tag alone.
    fn delete_manifest(&self, repository: &Repository, reference: &Reference) -> Answer {
        let _writing = lock(&self.writing);
        let removed = match reference {
            Reference::Digest(digest) => {
                let removed = self.store.remove_manifest(repository, digest)?;
                self.subjects.remove(repository, digest);
                removed
            }
            Reference::Tag(tag) => self.store.remove_tag(repository, tag)?,
        };
        match reference {
            _ if removed => Ok(answer(StatusCode::ACCEPTED)),
            Reference::Digest(digest) => Err(Refusal::manifest_unknown(digest.as_str())),
            Reference::Tag(tag) => Err(Refusal::manifest_unknown(tag.as_str())),
        }
    }
}
