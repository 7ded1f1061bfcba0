//! A registry's blob as something that `lazy-fetch` reads from.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use lazy_fetch::{Endpoint, Locate, Location};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use url::Url;

use crate::registry::Access;
use crate::{Digest, Error, ErrorKind, Registry, Repository, Result};

/// Where a blob is and what authorises reading it: an [`Endpoint`] for `lazy_fetch::HttpSource`.
///
/// Tokens come from the [`Registry`] that made it and are renewed through its credential source, so a blob
/// can be read for as long as credentials are given, not only for as long as the first token lives.
#[derive(Debug)]
pub struct RegistryBlob {
    registry: Registry,
    repository: Repository,
    url: Url,
    /// The header given to the last first try. It is not replaced by the one that follows a rejection, so
    /// that several requests which were rejected together lead to one renewal.
    given: Mutex<Option<HeaderValue>>,
}

impl Registry {
    /// The blob `digest` of `repository`, to be read in ranges.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if no URL can be made of the names.
    pub fn blob(&self, repository: &Repository, digest: &Digest) -> Result<RegistryBlob> {
        let url = self.url(repository, &format!("blobs/{digest}"))?;
        let given = Mutex::new(None);
        Ok(RegistryBlob { registry: self.clone(), repository: repository.clone(), url, given })
    }
}

impl RegistryBlob {
    async fn authorization(&self, reason: Locate) -> Result<Option<HeaderValue>> {
        let mut session = self.registry.session(&self.repository, Access::Pull);
        match reason {
            Locate::Fresh => {
                let header = session.current().await?;
                self.given().clone_from(&header);
                Ok(header)
            }
            Locate::Rejected { status, challenges } => {
                let given = self.given().clone();
                let mut session = session.with_sent(given);
                session.refused(status, &challenges, &self.place()).await.map(Some)
            }
        }
    }

    fn given(&self) -> std::sync::MutexGuard<'_, Option<HeaderValue>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
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
        let location = Location::new(self.url.as_str());
        let header = header?;
        Ok(match header.as_ref().and_then(|header| header.to_str().ok()) {
            Some(header) => location.with_header(AUTHORIZATION.as_str(), header),
            None => location,
        })
    }
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
