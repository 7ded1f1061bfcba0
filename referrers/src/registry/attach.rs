//! Publishing a referrer, so that it is found on any registry.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fallback::fallback_reference;
use crate::media_type::OCI_INDEX;
use crate::{Descriptor, Digest, Error, ErrorKind, Manifest, Reference, Registry, Repository, Result};

use super::exchange::{Ask, Reply};
use super::retry::random_part;
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
        self.edit_fallback(repository, &subject, Edit::Add(&manifest.listed_descriptor())).await?;
        Ok(Attached { descriptor: pushed.descriptor, listed: Listed::FallbackTag })
    }

    /// Takes a referrer out of the list of its subject and deletes it.
    ///
    /// Where there is a fallback tag, the entry is removed from its index first, so that no list names what is
    /// gone; an index that is left empty is deleted, or stays empty where nothing can be.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such manifest, [`ErrorKind::Invalid`] if it has no subject,
    /// [`ErrorKind::Unsupported`] if the registry deletes nothing: it is then not listed at the fallback tag any
    /// more, but a Referrers API still lists it.
    pub async fn detach(&self, repository: &Repository, referrer: &Digest) -> Result<()> {
        let manifest = self.manifest(&repository.with_digest(referrer.clone())).await?;
        let subject = manifest.subject().map(|subject| subject.digest.clone());
        let subject =
            subject.ok_or_else(|| Error::invalid("referrer", referrer.as_str(), "it has no subject"))?;
        {
            let _alone = self.0.fallback_writer.lock().await;
            self.edit_fallback(repository, &subject, Edit::Remove(referrer)).await?;
        }
        self.delete_manifest(repository, referrer).await
    }

    /// Writes until a read shows the edit.
    async fn edit_fallback(&self, repository: &Repository, subject: &Digest, edit: Edit<'_>) -> Result<()> {
        let reference = fallback_reference(repository, subject)?;
        for writes in 0..=MAX_WRITES {
            let (mut index, digest) = match self.read_fallback(&reference, subject).await? {
                Some((index, digest)) => (index, Some(digest)),
                None => (FallbackIndex::empty(), None),
            };
            if edit.is_done(&mut index) {
                return Ok(());
            }
            if writes == MAX_WRITES {
                break;
            }
            edit.apply(&mut index);
            // Most registries cannot delete a tag alone, and some delete nothing.
            let deleted = match digest {
                Some(digest) if index.is_empty() => match self.delete_manifest(repository, &digest).await {
                    Err(error) if matches!(error.kind(), ErrorKind::Unsupported { .. }) => false,
                    deleted => deleted.map(|()| true)?,
                },
                _ => false,
            };
            if !deleted {
                self.store_fallback(&reference, &mut index, edit).await?;
            }
            // Writers that met once do not meet again.
            if writes > 0
                && let Some(until) = self.clock().now().checked_add(random_part(MEETING))
            {
                self.clock().sleep_until(until).await;
            }
        }
        Err(Error::protocol(reference.to_string(), "fallback tag", "other writers replace it all the time"))
    }

    async fn store_fallback(
        &self,
        reference: &Reference,
        index: &mut FallbackIndex,
        edit: Edit<'_>,
    ) -> Result<()> {
        let mut reply = self.write_fallback(reference, index).await?;
        // A listed manifest that was deleted makes the registry refuse the whole index.
        if refusal::code(&reply).as_deref() == Some("MANIFEST_BLOB_UNKNOWN")
            && index.remove_named_in(&reply.body, edit.digest())
        {
            reply = self.write_fallback(reference, index).await?;
        }
        reply.success().map(drop)
    }

    /// The index at the fallback tag with its digest, if there is one.
    async fn read_fallback(
        &self,
        reference: &Reference,
        subject: &Digest,
    ) -> Result<Option<(FallbackIndex, Digest)>> {
        // What a mirror has may be older than what is about to be replaced.
        let ask = self.ask_manifest(reference, self.0.options.limits.referrers_page)?;
        let reply = self.exchange(ask).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(None);
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
        let index = FallbackIndex::parse(manifest.bytes(), place)?;
        Ok(Some((index, manifest.digest().clone())))
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

/// A change of a fallback index.
#[derive(Clone, Copy)]
enum Edit<'a> {
    Add(&'a Descriptor),
    Remove(&'a Digest),
}

impl Edit<'_> {
    fn digest(&self) -> &Digest {
        match self {
            Self::Add(entry) => &entry.digest,
            Self::Remove(digest) => digest,
        }
    }

    fn is_done(&self, index: &mut FallbackIndex) -> bool {
        index.lists(self.digest()) == matches!(self, Self::Add(_))
    }

    fn apply(&self, index: &mut FallbackIndex) {
        match self {
            Self::Add(entry) => index.add(entry),
            Self::Remove(digest) => index.remove(digest),
        }
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

    fn remove(&mut self, digest: &Digest) {
        if let Some(entries) = self.entries() {
            entries.retain(|entry| entry["digest"] != digest.as_str());
        }
    }

    fn is_empty(&mut self) -> bool {
        self.entries().is_none_or(|entries| entries.is_empty())
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
/// Longer than one round of reading and writing.
const MEETING: Duration = Duration::from_secs(1);
