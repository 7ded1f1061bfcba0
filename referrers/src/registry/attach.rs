//! Publishing a referrer, so that it is found on any registry.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fallback::fallback_reference;
use crate::media_type::OCI_INDEX;
use crate::{Descriptor, Digest, Error, ErrorKind, Manifest, Reference, Registry, Repository, Result};

use super::exchange::{Ask, Reply};
use super::{pull, refusal};

/// What became of an attached manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attached {
    /// Media type, digest and size of the manifest.
    pub descriptor: Descriptor,
    /// Where it is listed.
    pub listed: Listed,
}

/// Where a referrer is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// In the registry's Referrers API.
    Api,
    /// In the index at the subject's fallback tag.
    FallbackTag,
}

impl Registry {
    /// Uploads a manifest that has a subject, and sees to it that it is listed.
    ///
    /// Where the registry has no Referrers API the manifest is added to the index at the fallback tag
    /// (OCI distribution-spec, "Pushing Manifests with Subject"), which is read again afterwards. One
    /// [`Registry`] loses no update to itself; two hosts that write at the same instant both see their
    /// entry and one of them may still lose it, since no registry offers a conditional write that counts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if the manifest has no subject; [`ErrorKind::Protocol`] if something else than
    /// an index stands at the fallback tag, which is left alone.
    pub async fn attach(&self, repository: &Repository, media_type: &str, bytes: Bytes) -> Result<Attached> {
        let manifest = Manifest::parse(bytes.clone(), media_type, None)?;
        let subject = manifest.subject().map(|subject| subject.digest.clone());
        let subject = subject
            .ok_or_else(|| Error::invalid("referrer", manifest.digest().as_str(), "it has no subject"))?;
        let reference = repository.with_digest(manifest.digest().clone());
        let pushed = self.push_manifest(&reference, media_type, bytes).await?;
        if pushed.subject_listed {
            self.0.support.found(repository);
            return Ok(Attached { descriptor: pushed.descriptor, listed: Listed::Api });
        }
        let _alone = self.0.fallback_writer.lock().await;
        self.list_at_fallback_tag(repository, &subject, &manifest.listed_descriptor()).await?;
        Ok(Attached { descriptor: pushed.descriptor, listed: Listed::FallbackTag })
    }

    /// Writes until a read shows the entry.
    async fn list_at_fallback_tag(
        &self,
        repository: &Repository,
        subject: &Digest,
        entry: &Descriptor,
    ) -> Result<()> {
        let reference = fallback_reference(repository, subject)?;
        for writes in 0..=MAX_WRITES {
            let mut index = self.read_fallback(&reference, subject).await?;
            if index.lists(&entry.digest) {
                return Ok(());
            }
            if writes == MAX_WRITES {
                break;
            }
            index.add(entry);
            let mut reply = self.write_fallback(&reference, &index).await?;
            // A listed manifest that was deleted makes the registry refuse the whole index.
            if refusal::code(&reply).as_deref() == Some("MANIFEST_BLOB_UNKNOWN")
                && index.remove_named_in(&reply.body, &entry.digest)
            {
                reply = self.write_fallback(&reference, &index).await?;
            }
            reply.success()?;
        }
        Err(Error::protocol(reference.to_string(), "fallback tag", "other writers replace it all the time"))
    }

    async fn read_fallback(&self, reference: &Reference, subject: &Digest) -> Result<FallbackIndex> {
        let reply = self.fetch_manifest(reference, self.0.options.limits.referrers_page).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(FallbackIndex::empty());
        }
        let reply = reply.success()?;
        let place = reply.place.clone();
        let manifest = pull::read_manifest(reply, None)?;
        if manifest.media_type() != OCI_INDEX || manifest.subject().is_some() || manifest.digest() == subject
        {
            return Err(Error::protocol(
                place,
                "fallback tag",
                "it holds something else than a list of referrers",
            ));
        }
        FallbackIndex::parse(manifest.bytes(), place)
    }

    async fn write_fallback(&self, reference: &Reference, index: &FallbackIndex) -> Result<Reply> {
        let bytes = Bytes::from(index.0.to_string());
        let limit = self.0.options.limits.manifest;
        if bytes.len() as u64 > limit {
            let what = "fallback index size in bytes";
            return Err(Error::new(ErrorKind::Limit { what, limit }, reference.to_string()));
        }
        let url = self.url(reference.repository(), &format!("manifests/{}", reference.selector()))?;
        let ask = Ask::new(reference.repository(), Method::PUT, url, self.0.options.limits.token);
        self.exchange(ask.body(OCI_INDEX, bytes)).await
    }
}

/// The index as JSON, so that what this crate does not understand in it is written back as it was.
struct FallbackIndex(Value);

impl FallbackIndex {
    fn empty() -> Self {
        Self(json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] }))
    }

    fn parse(bytes: &[u8], place: String) -> Result<Self> {
        let json = serde_json::from_slice(bytes);
        json.map(Self).map_err(|e| Error::protocol(place, "fallback tag", "not JSON").because(e))
    }

    fn entries(&mut self) -> Option<&mut Vec<Value>> {
        self.0.get_mut("manifests")?.as_array_mut()
    }

    fn lists(&mut self, digest: &Digest) -> bool {
        self.entries().is_some_and(|entries| entries.iter().any(|entry| entry["digest"] == digest.as_str()))
    }

    fn add(&mut self, entry: &Descriptor) {
        if let (Some(entries), Ok(entry)) = (self.entries(), serde_json::to_value(entry)) {
            entries.push(entry);
        }
    }

    /// Removes the entries whose digest stands in `text`, except `own`; says whether there were any.
    fn remove_named_in(&mut self, text: &[u8], own: &Digest) -> bool {
        let text = String::from_utf8_lossy(text);
        let Some(entries) = self.entries() else { return false };
        let before = entries.len();
        entries.retain(|entry| match entry["digest"].as_str() {
            Some(digest) => digest == own.as_str() || !text.contains(digest),
            None => true,
        });
        entries.len() < before
    }
}

/// How often the index is written before other writers are taken to win every time.
const MAX_WRITES: u32 = 5;
