//! Listing the referrers of a manifest: the Referrers API, and the fallback tag where there is none.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::collections::HashSet;

use reqwest::Method;
use reqwest::header::{ACCEPT, LINK};
use url::Url;

use crate::fallback::fallback_reference;
use crate::media_type::OCI_INDEX;
use crate::{
    Capability, Descriptor, Digest, Error, ErrorKind, Freshness, Index, Manifest, Registry, Repository,
    Result,
};

use super::exchange::{self, Ask, Reply};
use super::{link, pull, refusal};

/// All referrers of a manifest that the registry knows of.
///
/// What stands here is the registry's word, in no particular order: whether an entry really has the
/// subject is known only when its manifest has been read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Listing {
    /// The referrers, as they are listed.
    pub referrers: Vec<Descriptor>,
    /// How many entries could not be read.
    pub skipped: usize,
    /// Whether the registry has the Referrers API.
    pub api: ApiSupport,
    /// Why something was found at the fallback tag but not used.
    pub ignored: Option<String>,
    /// How old the list is.
    pub freshness: Freshness,
}

/// What a listing says of the Referrers API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApiSupport {
    /// It answered.
    Supported,
    /// It does not exist; the referrers are those at the fallback tag.
    Unsupported,
    /// The registry does not know the repository, which says nothing of the API. The fallback tag was
    /// asked.
    Unknown,
}

impl Listing {
    pub(crate) fn empty(api: ApiSupport) -> Self {
        Self { referrers: Vec::new(), skipped: 0, api, ignored: None, freshness: Freshness::Fresh }
    }
}

impl Registry {
    /// The referrers of `subject`, of `artifact_type` only if one is given.
    ///
    /// The whole list or an error: pages that fail or do not end are no shorter list.
    ///
    /// # Errors
    ///
    /// A transient error or [`ErrorKind::Auth`] never means that there are none.
    /// [`ErrorKind::Limit`] for more than 16 pages or 4096 entries, [`ErrorKind::Refused`] for a page on
    /// another host.
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Listing> {
        let mut url = self.url(repository, &format!("referrers/{subject}"))?;
        if let Some(artifact_type) = artifact_type {
            url.query_pairs_mut().append_pair("artifactType", artifact_type);
        }
        // What is known of the registry says nothing of its mirrors.
        let is_mirrored = self.mirrors(repository).any(|mirror| mirror.can(Capability::Referrers));
        let is_missing = !is_mirrored && self.0.support.is_missing(repository, self.clock().now());
        let mut listing = if is_missing {
            self.fallback_listing(repository, subject, ApiSupport::Unsupported).await?
        } else {
            self.api_listing(repository, subject, &url).await?
        };
        // The filter is a registry's favour, and one that claims to filter may not.
        listing.referrers.retain(|entry| {
            artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted))
        });
        Ok(listing)
    }

    /// What the API lists, else what the fallback tag does.
    async fn api_listing(&self, repository: &Repository, subject: &Digest, url: &Url) -> Result<Listing> {
        let first = self.referrers_page(repository, url).await?;
        let api = support(&first)?;
        if api == ApiSupport::Supported {
            self.0.support.found(repository);
            return self.follow_pages(first).await;
        }
        // Other answers may be those of something that stands before the registry for a moment.
        if api == ApiSupport::Unsupported && matches!(first.status.as_u16(), 404 | 405 | 501) {
            self.0.support.missed(repository, self.clock().now());
        }
        self.fallback_listing(repository, subject, api).await
    }

    async fn referrers_page(&self, repository: &Repository, url: &Url) -> Result<Reply> {
        let limit = self.0.options.limits.referrers_page;
        let ask = Ask::new(repository, Method::GET, url.clone(), limit)
            .header(ACCEPT, OCI_INDEX)
            .mirrored(Capability::Referrers, None);
        self.exchange(ask).await
    }

    async fn follow_pages(&self, first: Reply) -> Result<Listing> {
        let mut listing = Listing::empty(ApiSupport::Supported);
        let mut visited = HashSet::from([first.url.clone()]);
        // The pages of one host are no continuation of another's.
        let repository = first.repository.clone();
        let mut page = first;
        loop {
            let next = next_page(&page)?;
            let place = page.place.clone();
            let index = read_page(page)?;
            listing.skipped = listing.skipped.saturating_add(index.skipped);
            listing.referrers.extend(index.manifests);
            if listing.referrers.len().saturating_add(listing.skipped) > MAX_ENTRIES {
                return Err(limit("referrers", MAX_ENTRIES, place));
            }
            let Some(next) = next else { return Ok(listing) };
            if !visited.insert(next.clone()) {
                return Err(Error::protocol(place, "page link", "it leads back to a page already read"));
            }
            if visited.len() > MAX_PAGES {
                return Err(limit("pages of referrers", MAX_PAGES, place));
            }
            page = self.referrers_page(&repository, &next).await?.success()?;
            if page.media_type() != OCI_INDEX {
                return Err(Error::protocol(page.place, "page of referrers", "it is not an OCI index"));
            }
        }
    }

    /// What the fallback tag lists. An absent tag, and anything there that is not a list of referrers, is
    /// an empty list (OCI distribution-spec, "Listing Referrers").
    async fn fallback_listing(
        &self,
        repository: &Repository,
        subject: &Digest,
        api: ApiSupport,
    ) -> Result<Listing> {
        let reference = fallback_reference(repository, subject)?;
        let ask = self.ask_manifest(&reference, self.0.options.limits.referrers_page)?;
        let reply = self.exchange(ask.mirrored(Capability::Referrers, None)).await?;
        let mut listing = Listing::empty(api);
        if reply.status == reqwest::StatusCode::NOT_FOUND {
            return Ok(listing);
        }
        match fallback_index(reply.success()?, subject) {
            Ok(index) => {
                listing.skipped = index.skipped;
                listing.referrers = index.manifests;
            }
            Err(why) => listing.ignored = Some(format!("{reference}: {why}")),
        }
        if listing.referrers.len() > MAX_ENTRIES {
            return Err(limit("referrers", MAX_ENTRIES, reference.to_string()));
        }
        Ok(listing)
    }
}

/// What the first answer of the Referrers API says of it.
fn support(reply: &Reply) -> Result<ApiSupport> {
    match reply.status.as_u16() {
        200 if reply.media_type() == OCI_INDEX => Ok(ApiSupport::Supported),
        // A landing page or a proxy's apology.
        200 => Ok(ApiSupport::Unsupported),
        404 if refusal::code(reply).as_deref() == Some("NAME_UNKNOWN") => Ok(ApiSupport::Unknown),
        400 | 404 | 405 | 406 | 501 => Ok(ApiSupport::Unsupported),
        _ => Err(refusal::error(reply)),
    }
}

fn read_page(reply: Reply) -> Result<Index> {
    let place = reply.place.clone();
    let manifest = Manifest::parse_at(reply.body, OCI_INDEX, None, &place)?;
    let index = manifest.index().cloned();
    index.ok_or_else(|| Error::protocol(place, "page of referrers", "it is not an index"))
}

pub(crate) fn next_page(reply: &Reply) -> Result<Option<Url>> {
    let values = reply.headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let Some(target) = link::next(values) else { return Ok(None) };
    let url = exchange::resolve(&reply.url, target, &reply.place)?;
    if url.origin() != reply.url.origin() {
        return Err(Error::refused(&*reply.place, "a page link to another host"));
    }
    Ok(Some(url))
}

/// The index at a fallback tag, unless it is something else. One registry resolves the tag to the subject
/// itself, whose children would then be taken for referrers.
fn fallback_index(reply: Reply, subject: &Digest) -> Result<Index, String> {
    if subject.verify(&reply.body, "").is_ok() {
        return Err("it is the subject itself".to_owned());
    }
    if reply.media_type() != OCI_INDEX {
        return Err("it is not an OCI index".to_owned());
    }
    let manifest = pull::read_manifest(reply, None).map_err(|e| e.to_string())?;
    match manifest.index() {
        Some(index) if index.subject.is_none() => Ok(index.clone()),
        Some(_) => Err("it has a subject of its own".to_owned()),
        None => Err("it is not an index".to_owned()),
    }
}

fn limit(what: &'static str, limit: usize, place: String) -> Error {
    Error::new(ErrorKind::Limit { what, limit: limit as u64 }, place)
}

/// No known registry needs more for the referrers of one image.
const MAX_PAGES: usize = 16;
const MAX_ENTRIES: usize = 4096;
