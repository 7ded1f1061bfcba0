//! A request while it is being served, and the answer's making.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use crate::body::Body;
use crate::link::Scissors;
use crate::refusal::Refusal;

/// The answer of a handler.
pub(crate) type Answer = Result<Response<Body>, Refusal>;

/// A request with its query taken apart, and a hold on its connection.
#[derive(Debug)]
pub(crate) struct Call {
    head: Parts,
    query: Vec<(String, String)>,
    pub(crate) body: Incoming,
    /// For an answer that is to end too soon.
    pub(crate) scissors: Scissors,
}

impl Call {
    pub(crate) fn new(request: Request<Incoming>, scissors: Scissors) -> Self {
        let (head, body) = request.into_parts();
        let query = form(head.uri.query().unwrap_or_default().as_bytes());
        Self { head, query, body, scissors }
    }

    pub(crate) fn method(&self) -> &Method {
        &self.head.method
    }

    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The header's text, `None` if it is absent or not ASCII.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// The query as it was sent.
    pub(crate) fn raw_query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// The query in order, decoded.
    pub(crate) fn query(&self) -> &[(String, String)] {
        &self.query
    }

    /// The first value of `key` in the query.
    pub(crate) fn parameter(&self, key: &str) -> Option<&str> {
        self.parameters(key).next()
    }

    /// Every value of `key` in the query.
    pub(crate) fn parameters(&self, key: &str) -> impl Iterator<Item = &str> {
        self.query.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Whether a condition of entity tags is there and names `tag`, which has its quotes, or is `*`.
    pub(crate) fn condition_names(&self, name: HeaderName, tag: &str) -> bool {
        let mut tags = self.header(name).into_iter().flat_map(|condition| condition.split(','));
        tags.any(|one| matches!(one.trim(), one if one == "*" || one.trim_start_matches("W/") == tag))
    }

    /// The whole body.
    ///
    /// # Errors
    ///
    /// 413 if it is longer than `limit` bytes; 400 if it breaks off.
    pub(crate) async fn read_body(&mut self, limit: usize) -> Result<Bytes, Refusal> {
        let mut bytes = BytesMut::new();
        while let Some(piece) = self.next_piece().await? {
            if bytes.len().saturating_add(piece.len()) > limit {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                return Err(Refusal::new(status, "SIZE_INVALID", format!("over {limit} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
    }

    /// The next bytes of the body, `None` at its end.
    ///
    /// # Errors
    ///
    /// 400 if it breaks off.
    pub(crate) async fn next_piece(&mut self) -> Result<Option<Bytes>, Refusal> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| {
                Refusal::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", format!("the body broke off: {error}"))
            })?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Reads what a handler left of the body, up to a bound, because a client that is still sending
    /// would otherwise see a reset instead of the answer.
    pub(crate) async fn drain(&mut self) {
        let mut left = DRAIN_MAX;
        while left > 0 {
            match self.next_piece().await {
                Ok(Some(piece)) => left = left.saturating_sub(piece.len()),
                _ => return,
            }
        }
    }
}

/// The pairs of a query or of an `application/x-www-form-urlencoded` body.
pub(crate) fn form(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).into_owned().collect()
}

/// An answer without a body.
pub(crate) fn answer(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Adding to an answer by chaining.
pub(crate) trait With {
    /// With a header. One whose value is not legal in a header is left out; everything that is put
    /// into headers here is made of checked names, digests and numbers.
    fn with(self, name: HeaderName, value: impl AsRef<str>) -> Self;

    /// With a body and its length, which also the answer to a HEAD carries.
    fn with_body(self, body: impl Into<Body>) -> Self;
}

impl With for Response<Body> {
    fn with(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers_mut().insert(name, value);
        }
        self
    }

    fn with_body(mut self, body: impl Into<Body>) -> Self {
        *self.body_mut() = body.into();
        let len = self.body().len();
        self.headers_mut().insert(hyper::header::CONTENT_LENGTH, HeaderValue::from(len));
        self
    }
}

/// The headers that the distribution specification adds to HTTP.
pub(crate) mod header {
    use hyper::header::HeaderName;

    pub(crate) const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
    pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
    pub(crate) const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
    pub(crate) const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");
    pub(crate) const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
    pub(crate) const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
}

/// Bytes of an unwanted body that are read before the answer is given: twice the manifest limit.
const DRAIN_MAX: usize = 8 << 20;
