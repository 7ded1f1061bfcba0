//! The HTTP client that sources share, so that they share its connections.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, RANGE};
use reqwest::{Response, Url};

use super::answer;
use super::endpoint::presentable;
use super::host::{HostUsage, Hosts, Visit};
use crate::source::FetchRequest;
use crate::{Error, ErrorKind, Result};

/// How an [`HttpClient`] connects.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpOptions {
    /// Time to connect, TLS included.
    pub connect_timeout: Duration,
    /// The `User-Agent` to send.
    pub user_agent: String,
    /// Requests at once to one host. The number sinks while the host answers 429 or 503 and grows back.
    pub max_requests_per_host: u32,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            user_agent: concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_requests_per_host: 16,
        }
    }
}

impl HttpOptions {
    /// Sets [`connect_timeout`](Self::connect_timeout).
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets [`user_agent`](Self::user_agent).
    #[must_use]
    pub fn with_user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// Sets [`max_requests_per_host`](Self::max_requests_per_host).
    #[must_use]
    pub fn with_max_requests_per_host(mut self, requests: u32) -> Self {
        self.max_requests_per_host = requests;
        self
    }
}

/// A pool of connections, and what each host can bear. Clones share both.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    hosts: Arc<Hosts>,
}

/// An answer whose body has not been read. Until it is dropped, it counts as a request to its host.
pub(super) struct Exchange {
    pub(super) response: Response,
    _visit: Visit,
}

impl HttpClient {
    /// A client that follows no redirect, sends no `Referer` and decodes no content coding on its own. It goes
    /// through the proxy that the environment names (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, but for the hosts of
    /// `NO_PROXY`), as the rest of a container runtime does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the user agent is no header value or TLS cannot be set up.
    pub fn new(options: HttpOptions) -> Result<Self> {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // Another crate in the same program may switch these features of reqwest on.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(options.connect_timeout)
            .user_agent(options.user_agent)
            .build()
            .map(|client| Self { client, hosts: Arc::new(Hosts::new(options.max_requests_per_host)) })
            .map_err(|e| Error::new(ErrorKind::InvalidInput, "setting up the http client").with_source(e))
    }

    /// What is asked of each host now, by origin.
    pub fn usage(&self) -> Vec<HostUsage> {
        self.hosts.usage()
    }

    /// Sends one GET for the range of `request`, which is not empty, when it is its turn at the host.
    pub(super) async fn get(
        &self,
        url: &Url,
        headers: &[(String, String)],
        request: &FetchRequest,
    ) -> Result<Exchange> {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let invalid = || Error::new(ErrorKind::InvalidInput, "the endpoint gave a header that is none");
            let name = HeaderName::try_from(name).map_err(|_| invalid())?;
            let mut value = HeaderValue::try_from(value).map_err(|_| invalid())?;
            value.set_sensitive(true);
            all.append(name, value);
        }
        let bytes = format!("bytes={}-{}", request.range.start, request.range.end.saturating_sub(1));
        all.insert(RANGE, HeaderValue::try_from(bytes).unwrap_or(HeaderValue::from_static("bytes=0-")));
        all.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let visit = self.hosts.of(url).visit(request).await?;
        let sent = self.client.get(url.clone()).headers(all).send().await;
        let response = sent.map_err(|e| transport(url, e))?;
        visit.answered(response.status().as_u16(), answer::retry_after(response.headers()));
        Ok(Exchange { response, _visit: visit })
    }
}

/// An error of the connection to `url`.
pub(super) fn transport(url: &Url, error: reqwest::Error) -> Error {
    let what = format!("get {}", presentable(url.as_str()));
    if url.scheme() == "https" && !HAS_TLS && is_not_spoken(&error) {
        return Error::new(ErrorKind::InvalidInput, "https needs the feature `rustls` or `native-tls`")
            .during(what);
    }
    let kind = if error.is_builder() { ErrorKind::InvalidInput } else { ErrorKind::Connection };
    Error::new(kind, what).with_source(error.without_url())
}

/// Whether the connector has no use for the scheme. It says so in words only.
fn is_not_spoken(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.to_string().contains("scheme is not http") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether this crate was told to bring TLS. Another crate in the same program may bring it unasked.
const HAS_TLS: bool = cfg!(any(feature = "rustls", feature = "native-tls"));

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_client_without_tls_says_so_once_and_for_all() {
        let url = Url::parse("https://127.0.0.1:1/blob?sig=s3cret").unwrap();
        let request = FetchRequest::new(0..1, Instant::now() + Duration::from_secs(20));
        let client = HttpClient::new(HttpOptions::default()).unwrap();
        let error = client.get(&url, &[], &request).await.err().unwrap();
        if HAS_TLS {
            assert!(error.is_transient(), "nobody listens: {error}");
        } else {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(
                error.to_string(),
                "get https://127.0.0.1:1/blob: https needs the feature `rustls` or `native-tls`"
            );
        }
    }
}
