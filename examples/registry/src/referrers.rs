//! The Referrers API: which manifests have a given subject.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use hyper::header::{CONTENT_TYPE, LINK};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::call::{Answer, Call, With, answer, header};
use crate::digest::Digest;
use crate::faults::{Fault, PageLink};
use crate::lock;
use crate::manifest::{Manifest, OCI_INDEX};
use crate::name::Repository;
use crate::refusal::Refusal;
use crate::registry::Registry;
use crate::store::Storage;

/// From a repository and a subject to the descriptors of its referrers.
///
/// It is rebuilt from every stored manifest at the start, so what was pushed while the API was switched
/// off, and what fallback tags list, is found once it is on.
#[derive(Debug, Default)]
pub(crate) struct Subjects(Mutex<BTreeMap<(Repository, Digest), Referrers>>);

/// Descriptors by digest, which is also the order of pages.
type Referrers = BTreeMap<Digest, Referrer>;

#[derive(Debug, Clone)]
struct Referrer {
    artifact_type: Option<String>,
    descriptor: Value,
}

impl Subjects {
    /// Reads every manifest of the store.
    ///
    /// # Errors
    ///
    /// If one cannot be read, or is not the bytes its digest names.
    pub(crate) fn load(store: &dyn Storage) -> io::Result<Self> {
        let subjects = Self::default();
        for repository in store.repositories()? {
            for digest in store.manifests(&repository)? {
                let bytes = store.manifest(&repository, &digest)?.unwrap_or_default();
                let broken = |why: String| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("stored manifest {repository}@{digest}: {why}"),
                    )
                };
                if Digest::of(digest.algorithm(), &bytes) != digest {
                    return Err(broken("other bytes than the digest says".to_owned()));
                }
                let manifest = Manifest::parse(&bytes).map_err(|error| broken(error.to_string()))?;
                subjects.add(&repository, &digest, bytes.len(), &manifest);
            }
        }
        Ok(subjects)
    }

    /// Lists a manifest of `size` bytes under its subject, if it has one.
    pub(crate) fn add(&self, repository: &Repository, digest: &Digest, size: usize, manifest: &Manifest) {
        let Some(subject) = manifest.subject() else { return };
        let artifact_type = manifest.artifact_type().map(str::to_owned);
        let mut descriptor = json!({
            "mediaType": manifest.media_type(),
            "digest": digest.as_str(),
            "size": size,
        });
        if let Some(fields) = descriptor.as_object_mut() {
            fields.extend(artifact_type.iter().map(|name| ("artifactType".to_owned(), json!(name))));
            if !manifest.annotations().is_empty() {
                fields.insert("annotations".to_owned(), json!(manifest.annotations()));
            }
        }
        let referrer = Referrer { artifact_type, descriptor };
        let key = (repository.clone(), subject.clone());
        lock(&self.0).entry(key).or_default().insert(digest.clone(), referrer);
    }

    /// Takes a manifest out of the listing of its subject.
    pub(crate) fn remove(&self, repository: &Repository, digest: &Digest) {
        let mut subjects = lock(&self.0);
        for (_, referrers) in subjects.iter_mut().filter(|((owner, _), _)| owner == repository) {
            referrers.remove(digest);
        }
        subjects.retain(|_, referrers| !referrers.is_empty());
    }

    fn of(&self, repository: Repository, subject: Digest) -> Referrers {
        lock(&self.0).get(&(repository, subject)).cloned().unwrap_or_default()
    }
}

impl Registry {
    /// `GET /v2/<name>/referrers/<digest>[?artifactType=<type>]`.
    pub(crate) fn referrers(&self, call: &Call, repository: Repository, subject: Digest) -> Answer {
        let path = call.path();
        if self.faults.has(path, &Fault::ReferrersOff) {
            return Ok(answer(StatusCode::NOT_FOUND)
                .with(CONTENT_TYPE, "text/plain; charset=utf-8")
                .with_body("404 page not found\n".to_owned()));
        }
        let code = self.faults.strike(path, |fault| match fault {
            Fault::ReferrersError { code } => Some(code.clone()),
            _ => None,
        });
        if let Some(code) = code {
            return Err(Refusal::new(StatusCode::NOT_FOUND, code, "switched on by a fault"));
        }
        if *call.method() != Method::GET {
            return Err(Refusal::unsupported());
        }
        let mut referrers = self.subjects.of(repository, subject);
        let wanted: Vec<&str> = call.parameters("artifactType").collect();
        let filter = match wanted.is_empty() {
            true => Filter::Absent,
            false if self.faults.has(path, &Fault::FilterIgnored) => Filter::Absent,
            false if self.faults.has(path, &Fault::FilterLies) => Filter::Claimed,
            false => Filter::Applied,
        };
        if filter == Filter::Applied {
            referrers.retain(|_, referrer| {
                referrer.artifact_type.as_deref().is_some_and(|artifact_type| wanted.contains(&artifact_type))
            });
        }
        if let Some(last) = call.parameter(LAST) {
            referrers.retain(|digest, _| digest.as_str() > last);
        }
        let limit = self.faults.strike(path, |fault| match fault {
            Fault::PageSize(size) => Some((*size).max(1)),
            _ => None,
        });
        let mut rest = referrers.into_iter();
        let page: Vec<_> = rest.by_ref().take(limit.unwrap_or(PAGE)).collect();
        let next = rest.next().and(page.last()).map(|(digest, _)| self.next_page(call, digest));
        let descriptors: Vec<Value> = page.into_iter().map(|(_, referrer)| referrer.descriptor).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors });
        let mut response = answer(StatusCode::OK).with(CONTENT_TYPE, OCI_INDEX).with_body(index.to_string());
        if let Some(next) = next {
            response = response.with(LINK, format!("<{next}>; rel=\"next\""));
        }
        Ok(match filter {
            Filter::Absent => response,
            Filter::Applied | Filter::Claimed => response.with(header::FILTERS_APPLIED, "artifactType"),
        })
    }

    /// The URL of the page behind `last`: the same query, continued.
    fn next_page(&self, call: &Call, last: &Digest) -> String {
        let kept = call.query().iter().filter(|(name, _)| name != LAST);
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(kept)
            .append_pair(LAST, last.as_str())
            .finish();
        let next = format!("{}?{query}", call.path());
        let spelling = self.faults.strike(call.path(), |fault| match fault {
            Fault::PageLink(spelling) => Some(*spelling),
            _ => None,
        });
        match spelling {
            None => next,
            Some(PageLink::Absolute) => format!("{}{next}", self.origin),
            Some(PageLink::ForeignHost) => format!("http://foreign.invalid{next}"),
            Some(PageLink::Loop) => format!("{}?{}", call.path(), call.raw_query()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    /// Not asked for, or ignored.
    Absent,
    Applied,
    /// Not applied, but the answer says so.
    Claimed,
}

/// The query parameter that continues a listing behind a digest.
const LAST: &str = "last";

/// Descriptors a page; with annotations of ordinary size a page stays below the 4 MiB that clients
/// read of an index.
const PAGE: usize = 1000;
