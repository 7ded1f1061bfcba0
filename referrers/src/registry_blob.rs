//! A registry's blob as something that `lazy-fetch` reads from.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use lazy_fetch::{Endpoint, Locate, Location};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use url::Url;

use crate::registry::{Access, Tried};
use crate::{Capability, Digest, Error, ErrorKind, Registry, Repository, Result};

/// Where a blob is and what authorises reading it: an [`Endpoint`] for `lazy_fetch::HttpSource`.
///
/// Tokens come from the [`Registry`] that made it and are renewed through its credential source, so a blob
/// can be read for as long as credentials are given, not only for as long as the first token lives.
///
/// The connections are those of `lazy-fetch`: redirects lose the credentials there as well, but which addresses
/// are connected to is not judged.
///
/// ```no_run
/// use referrers::{Digest, Registry, Repository};
///
/// # fn example(registry: Registry, digest: &Digest) -> Result<(), referrers::Error> {
/// let repository = Repository::new("registry.example.com", "shop/api")?;
/// let blob = registry.blob(&repository, digest)?;
/// # drop(blob);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RegistryBlob {
    registry: Registry,
    repository: Repository,
    url: Url,
    /// What else is sent, to a mirror.
    headers: HeaderMap,
    row: Mutex<Row>,
}

/// Rejections in a row, which begins with the header of a first try.
#[derive(Debug, Default)]
struct Row {
    first: Option<HeaderValue>,
    /// The credentials that were used up since.
    tried: Tried,
}

impl Registry {
    /// The blob `digest` of `repository`, to be read in ranges.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if no URL can be made of the names.
    pub fn blob(&self, repository: &Repository, digest: &Digest) -> Result<RegistryBlob> {
        let url = self.url(repository, &format!("blobs/{digest}"))?;
        Ok(self.blob_at(repository.clone(), url, HeaderMap::new()))
    }

    /// The blob at every host that may be asked for it: mirrors first, the registry last.
    ///
    /// # Errors
    ///
    /// As [`blob`](Self::blob).
    pub fn blob_with_mirrors(&self, repository: &Repository, digest: &Digest) -> Result<Vec<RegistryBlob>> {
        let mut blobs = Vec::new();
        for mirror in self.mirrors(repository).filter(|mirror| mirror.can(Capability::Pull)) {
            let url = mirror.url(repository, &format!("blobs/{digest}"), None);
            blobs.push(self.blob_at(mirror.repository(repository)?, url, mirror.headers().clone()));
        }
        blobs.push(self.blob(repository, digest)?);
        Ok(blobs)
    }

    fn blob_at(&self, repository: Repository, url: Url, headers: HeaderMap) -> RegistryBlob {
        RegistryBlob { registry: self.clone(), repository, url, headers, row: Mutex::default() }
    }
}

impl RegistryBlob {
    async fn authorization(&self, reason: Locate) -> Result<Option<HeaderValue>> {
        let mut session = self.registry.session(&self.repository, Access::Pull);
        match reason {
            Locate::Fresh => {
                let header = session.current().await?;
                self.row().first.clone_from(&header);
                Ok(header)
            }
            Locate::Rejected { challenges, location, .. } => {
                let sent = sent_in(&location);
                let tried = {
                    let row = self.row();
                    if sent == row.first { Tried::new() } else { row.tried.clone() }
                };
                let mut session = session.resume(sent, tried);
                let header = session.refused(&challenges, &self.place()).await?;
                self.row().tried = session.into_tried();
                Ok(Some(header))
            }
        }
    }

    fn row(&self) -> MutexGuard<'_, Row> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> String {
        crate::registry::place(&reqwest::Method::GET, &self.url)
    }
}

#[async_trait]
impl Endpoint for RegistryBlob {
    async fn locate(&self, reason: Locate) -> lazy_fetch::Result<Location> {
        let after = self.registry.deadline();
        let header = match tokio::time::timeout(after, self.authorization(reason)).await {
            Ok(header) => header,
            Err(_) => Err(Error::new(ErrorKind::Timeout { after }, self.place())),
        };
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let extra = self.headers.iter().filter_map(|(name, value)| Some((name, text(value)?)));
        let location = extra.fold(Location::new(self.url.as_str()), |location, (name, value)| {
            location.with_header(name.as_str(), value)
        });
        let header = header?;
        Ok(match header.as_ref().and_then(|header| header.to_str().ok()) {
            Some(header) => location.with_header(AUTHORIZATION.as_str(), header),
            None => location,
        })
    }
}

/// The authorisation that a location carries.
fn sent_in(location: &Location) -> Option<HeaderValue> {
    let mut headers = location.headers().iter();
    let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case(AUTHORIZATION.as_str()))?;
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl From<Error> for lazy_fetch::Error {
    fn from(error: Error) -> Self {
        use lazy_fetch::ErrorKind as Kind;
        let (kind, wait) = match error.kind() {
            ErrorKind::RateLimited { retry_after } => (Kind::RateLimited, *retry_after),
            ErrorKind::NotFound { .. } => (Kind::NotFound, None),
            ErrorKind::Auth(_) | ErrorKind::Credentials => (Kind::Denied, None),
            ErrorKind::Refused { .. } => (Kind::Refused, None),
            ErrorKind::Invalid { .. } => (Kind::InvalidInput, None),
            ErrorKind::Network => (Kind::Connection, None),
            ErrorKind::Timeout { .. } => (Kind::Stalled, None),
            ErrorKind::Status { .. } if error.is_transient() => (Kind::Unavailable, None),
            _ => (Kind::Protocol, None),
        };
        let outer = Self::new(kind, "no authorisation to read the blob").with_source(error);
        match wait {
            Some(wait) => outer.with_retry_after(wait),
            None => outer,
        }
    }
}
