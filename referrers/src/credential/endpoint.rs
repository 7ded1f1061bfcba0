//! A local service that gives out credentials, in the protocol that overlaybd's runtime speaks.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use url::Url;

use crate::{Credential, CredentialSource, Error, ErrorKind, Reason, Repository, Result};

use super::auths::Auths;
use crate::registry::{network, read};

/// An HTTP service that is asked `GET <url>?remote_url=<URL of the repository's blobs>` and answers
/// `{"success": true, "data": {"auths": {…}}}`, over TCP or a Unix socket.
///
/// It is asked once per token. The answer may take 10 s and be 1 MiB long; redirects are not followed.
///
/// ```
/// use referrers::CredentialEndpoint;
///
/// let source = CredentialEndpoint::new("http://localhost:19876/auth")?;
/// # drop(source);
/// # Ok::<_, referrers::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CredentialEndpoint {
    http: reqwest::Client,
    url: Url,
}

impl CredentialEndpoint {
    /// The service at `url`. Over plain HTTP it should be on this host.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if `url` is not an HTTP URL or no client can be made.
    pub fn new(url: &str) -> Result<Self> {
        Self::build(url, client())
    }

    /// The service behind the Unix socket at `path`; `url` gives what is asked, such as
    /// `http://localhost/credentials`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    #[cfg(unix)]
    pub fn unix(path: impl AsRef<Path>, url: &str) -> Result<Self> {
        Self::build(url, client().unix_socket(path.as_ref()))
    }

    fn build(url: &str, client: reqwest::ClientBuilder) -> Result<Self> {
        let invalid = |why: &'static str| Error::invalid("credential service", url, why);
        let parsed = Url::parse(url).map_err(|e| invalid("not a URL").because(e))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(invalid("neither HTTP nor HTTPS"));
        }
        let http = client.build().map_err(|e| invalid("no client can be made for it").because(e))?;
        Ok(Self { http, url: parsed })
    }
}

fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .timeout(TIME_LIMIT)
}

#[async_trait]
impl CredentialSource for CredentialEndpoint {
    async fn get(&self, repository: &Repository, _reason: Reason) -> Result<Vec<Credential>> {
        let mut url = self.url.clone();
        let blobs = format!("https://{}/v2/{}/blobs", repository.api_host(), repository.path());
        url.query_pairs_mut().append_pair("remote_url", &blobs);
        let place = format!("credential service {}", self.url.host_str().unwrap_or_default());
        let failed = |why: &'static str| Error::protocol(&*place, "credential service", why);
        let response = self.http.get(url).send().await.map_err(|e| network(&place, e))?;
        if !response.status().is_success() {
            let kind = ErrorKind::Status { status: response.status().as_u16(), code: None };
            return Err(Error::new(kind, &*place));
        }
        let body = read(response, MAX_ANSWER, &place).await?;
        // A parser's message could quote a secret.
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| failed("the answer is not the JSON it should be"))?;
        match answer {
            Answer { success: false, .. } => Err(failed("it reports a failure")),
            Answer { data: None, .. } => Ok(Vec::new()),
            Answer { data: Some(data), .. } => data.auths.for_repository(repository, &place),
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    success: bool,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    auths: Auths,
}

const TIME_LIMIT: Duration = Duration::from_secs(10);
const MAX_ANSWER: u64 = 1 << 20;
