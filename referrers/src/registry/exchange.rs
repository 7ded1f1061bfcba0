//! One call: authorisation, redirects, retries, all within a deadline and a size limit.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    LOCATION, WWW_AUTHENTICATE,
};
use reqwest::{Method, StatusCode};
use url::Url;

use crate::{Capability, Digest, Error, ErrorKind, Registry, Repository, Result, media_type};

use super::auth::Access;
use super::gate::Late;
use super::payload::Payload;
use super::{address, refusal, retry};

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) struct Ask<'a> {
    pub(super) repository: &'a Repository,
    pub(super) access: Access,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
    /// The largest body of a successful answer, in bytes.
    pub(super) limit: u64,
    /// What a mirror must be capable of to be asked instead, and the digest of what it then answers; without
    /// it none is asked.
    pub(super) mirrored: Option<(Capability, Option<&'a Digest>)>,
}

/// What came back: any status but 401, 403 and those that a retry may mend.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whose answer it is: that of the registry asked, or of a mirror.
    pub(crate) repository: Repository,
    /// Where it came from, after redirects.
    pub(crate) url: Url,
    /// The method with the URL's host and path, for errors.
    pub(crate) place: String,
    /// Whether it came from the registry itself, so that its challenges may be answered.
    from_registry: bool,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(repository: &'a Repository, method: Method, url: Url, limit: u64) -> Self {
        let access = match method {
            Method::GET | Method::HEAD => Access::Pull,
            Method::DELETE => Access::Delete,
            _ => Access::Push,
        };
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        Self {
            repository,
            access,
            method,
            url,
            headers,
            payload: Payload::Bytes(Bytes::new()),
            limit,
            mirrored: None,
        }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    pub(crate) fn header_text(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(crate) fn body(self, content_type: &str, body: Bytes) -> Self {
        self.payload(content_type, Payload::Bytes(body))
    }

    pub(crate) fn payload(mut self, content_type: &str, payload: Payload) -> Self {
        self.payload = payload;
        self.header_text(CONTENT_TYPE, content_type)
    }

    /// For a right that the method does not tell.
    pub(crate) fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// May be asked of mirrors that are capable of it. What they answer to a `GET` must have the digest, if
    /// there is one: a mirror with other bytes has not what was asked for.
    pub(crate) fn mirrored(mut self, capability: Capability, digest: Option<&'a Digest>) -> Self {
        self.mirrored = Some((capability, digest));
        self
    }

    /// Time beyond the deadline of small calls that the payload may take.
    fn extra_time(&self) -> Duration {
        Duration::from_secs(self.payload.len().checked_div(SLOWEST).unwrap_or_default())
    }

    /// Whether sending it twice does the same as sending it once. The `PUT` that closes an upload does
    /// not: its session is gone the second time.
    fn is_repeatable(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
            || matches!(self.method, Method::PUT | Method::DELETE) && self.url.path().contains("/manifests/")
    }

    fn may_follow(&self, status: StatusCode, from: &Url, to: &Url) -> bool {
        let reading = matches!(self.method, Method::GET | Method::HEAD);
        reading || matches!(status.as_u16(), 307 | 308) && from.origin() == to.origin()
    }
}

impl Reply {
    /// The reply if its status is one of 200–299.
    pub(crate) fn success(self) -> Result<Self> {
        if self.status.is_success() { Ok(self) } else { Err(refusal::error(&self)) }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The media type without its parameters.
    pub(crate) fn media_type(&self) -> String {
        media_type::essence(self.header(CONTENT_TYPE.as_str()).unwrap_or_default())
    }

    pub(super) fn challenges(&self) -> Vec<String> {
        let values = self.headers.get_all(WWW_AUTHENTICATE).iter();
        values.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    }
}

impl Registry {
    /// Sends `ask` to the mirrors that may answer, then to the registry; answers challenges, follows redirects
    /// and repeats what a repetition may mend.
    pub(crate) async fn exchange(&self, ask: Ask<'_>) -> Result<Reply> {
        let (clock, after) = (self.clock(), self.0.options.deadline.saturating_add(ask.extra_time()));
        let deadline = clock.now().checked_add(after);
        if let Some(reply) = self.ask_mirrors(&ask, deadline).await {
            return Ok(reply);
        }
        let at = |kind| Error::new(kind, place(&ask.method, &ask.url));
        let host = ask.repository.api_host();
        let mut tries = 1;
        loop {
            // The reason for waiting says more than that the time is up.
            let passage = match self.0.gates.pass(host, clock, deadline).await {
                Ok(passage) => passage,
                Err(Late::Closed(wait)) => {
                    return Err(at(ErrorKind::RateLimited { retry_after: Some(wait) }));
                }
                Err(Late::Full) => return Err(at(ErrorKind::Timeout { after })),
            };
            let left = deadline.map_or(after, |deadline| deadline.saturating_duration_since(clock.now()));
            let outcome = match tokio::time::timeout(left, self.authorised(&ask)).await {
                Ok(outcome) => outcome.and_then(refusal::unless_transient),
                Err(_) => return Err(at(ErrorKind::Timeout { after })),
            };
            let error = match outcome {
                Err(error) if ask.is_repeatable() && retry::worth_another(tries, &error) => error,
                settled => {
                    if !settled.as_ref().is_err_and(Error::is_transient) {
                        passage.succeeded();
                    }
                    return settled;
                }
            };
            let Some(until) = clock.now().checked_add(retry::backoff(tries, &error)) else {
                return Err(error);
            };
            if let ErrorKind::RateLimited { .. } = error.kind() {
                passage.close(until);
            }
            drop(passage);
            if deadline.is_some_and(|deadline| until >= deadline) {
                return Err(error);
            }
            clock.sleep_until(until).await;
            tries = tries.saturating_add(1);
        }
    }

    /// One try, repeated only to answer a challenge.
    pub(super) async fn authorised(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut session = self.session(ask.repository, ask.access.clone());
        let mut authorization = session.current().await?;
        loop {
            let reply = self.follow(ask, authorization.as_ref()).await?;
            let refused = matches!(reply.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            if !refused || !reply.from_registry {
                return Ok(reply);
            }
            let next = session.refused(&reply.challenges(), &reply.place).await?;
            authorization = Some(next);
        }
    }

    /// One request and the redirects it leads to. The authorisation is for the registry's origin only.
    pub(super) async fn follow(&self, ask: &Ask<'_>, authorization: Option<&HeaderValue>) -> Result<Reply> {
        let registry = self.url(ask.repository, "")?;
        let mut url = ask.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let place = place(&ask.method, &url);
            let from_registry = url.origin() == registry.origin();
            let client = self.client_for(&url, &registry, &place)?;
            let headers = if from_registry { ask.headers.clone() } else { without_secrets(&ask.headers) };
            let mut request = client.request(ask.method.clone(), url.clone()).headers(headers);
            if let (true, Some(authorization)) = (from_registry, authorization) {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            if !matches!(ask.method, Method::GET | Method::HEAD) {
                request = request.body(ask.payload.body());
            }
            let response = request.send().await.map_err(|e| network(&place, e))?;
            let status = response.status();
            if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                let next = redirect(&url, response.headers(), &place)?;
                if !ask.may_follow(status, &url, &next) {
                    return Err(Error::refused(place, "an upload is not redirected to another host"));
                }
                url = next;
                continue;
            }
            let headers = response.headers().clone();
            if from_registry {
                self.0.warnings.collect(registry.host_str().unwrap_or_default(), &headers);
            }
            let coded = headers.get(CONTENT_ENCODING).is_some_and(|value| value != "identity");
            if coded && status.is_success() {
                return Err(Error::protocol(place, "answer", "it is encoded, which was not accepted"));
            }
            let limit = if status.is_success() { ask.limit } else { self.0.options.limits.token };
            let body = match read(response, limit, &place).await {
                Ok(body) => body,
                // The status of a failure says enough when its body cannot be read.
                Err(_) if !status.is_success() => Bytes::new(),
                Err(error) => return Err(error),
            };
            let repository = ask.repository.clone();
            return Ok(Reply { status, headers, body, repository, url, place, from_registry });
        }
        Err(Error::refused(place(&ask.method, &url), "more than 5 redirects"))
    }
}

/// The headers that any host may see: one that was configured for a mirror is for that alone.
fn without_secrets(headers: &HeaderMap) -> HeaderMap {
    headers.iter().filter(|(_, value)| !value.is_sensitive()).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read(mut response: reqwest::Response, limit: u64, place: &str) -> Result<Bytes> {
    let over = || Error::new(ErrorKind::Limit { what: "answer size in bytes", limit }, place);
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(over());
    }
    let mut body = BytesMut::new();
    while let Some(piece) = response.chunk().await.map_err(|e| network(place, e))? {
        if (body.len() as u64).saturating_add(piece.len() as u64) > limit {
            return Err(over());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// A method with the host, port and path of a URL.
pub(crate) fn place(method: &Method, url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{method} {host}{port}{}", url.path())
}

pub(crate) fn network(place: &str, error: reqwest::Error) -> Error {
    if let Some(denied) = address::denial(&error) {
        return Error::refused(place, denied.0);
    }
    let kind = if error.is_builder() {
        let what = "URL";
        ErrorKind::Invalid { what, why: "no request can be made of it".into() }
    } else {
        ErrorKind::Network
    };
    Error::new(kind, place).because(error.without_url())
}

/// The URL that an answer points to, relative to the one it came from.
///
/// # Errors
///
/// [`ErrorKind::Refused`] for a step from HTTPS to HTTP, another scheme, or user information in the URL.
pub(crate) fn resolve(base: &Url, target: &str, place: &str) -> Result<Url> {
    let refused = |rule| Error::refused(place, rule);
    let url = base.join(target).map_err(|e| Error::protocol(place, "link", "not a URL").because(e))?;
    match (base.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err(refused("a link from HTTPS to plain HTTP")),
        _ => return Err(refused("a link that is neither HTTPS nor HTTP")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("a link with user information"));
    }
    Ok(url)
}

fn redirect(from: &Url, headers: &HeaderMap, place: &str) -> Result<Url> {
    let target = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let target = target.ok_or_else(|| Error::protocol(place, "redirect", "it names no location"))?;
    resolve(from, target, place)
}

/// OCI distribution-spec does not say; blob stores need one or two.
const MAX_REDIRECTS: u32 = 5;
/// Bytes a second that an upload makes at least.
const SLOWEST: u64 = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_and_never_weaker() {
        let base = Url::parse("https://h.io/v2/a/x?y=1").unwrap();
        assert_eq!(resolve(&base, "/z?q=2", "p").unwrap().as_str(), "https://h.io/z?q=2");
        assert_eq!(resolve(&base, "https://o.io:1/z", "p").unwrap().as_str(), "https://o.io:1/z");
        for target in
            ["http://h.io/", "ftp://h.io/", "file:///etc/passwd", "https://u@h.io/", "https://u:p@h.io/"]
        {
            let error = resolve(&base, target, "p").unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Refused { .. }), "{error}");
        }
        assert!(resolve(&base, "https://[", "p").is_err());
    }

    #[test]
    fn places_hold_no_query() {
        let url = Url::parse("https://h.io:1/v2/a?X-Amz-Signature=secret#f").unwrap();
        assert_eq!(place(&Method::GET, &url), "GET h.io:1/v2/a");
    }
}
