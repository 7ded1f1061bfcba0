//! Answers that say no: a status and the specification's JSON error body.

use std::borrow::Cow;
use std::io;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use crate::body::Body;
use crate::digest::Digest;

/// Why a request is not served. Boxed, so that a `Result` that carries it stays small.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", .0.code, .0.message)]
pub(crate) struct Refusal(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    detail: Option<String>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// A refusal with one of the specification's error codes.
    pub(crate) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Parts {
            status,
            code: code.into(),
            message: message.into(),
            detail: None,
            header: None,
        }))
    }

    /// The same refusal about the thing named by `detail`.
    pub(crate) fn about(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// The same refusal with one more header.
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    pub(crate) fn name_invalid() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "NAME_INVALID", "not a repository name")
    }

    pub(crate) fn name_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such repository")
    }

    pub(crate) fn tag_invalid() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", "not a tag")
    }

    pub(crate) fn digest_invalid(detail: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "not a digest of the content, or not a digest")
            .about(detail)
    }

    pub(crate) fn blob_unknown(digest: &Digest) -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "no such blob").about(digest.as_str())
    }

    pub(crate) fn manifest_unknown(reference: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "no such manifest").about(reference)
    }

    pub(crate) fn manifest_invalid(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", why)
    }

    pub(crate) fn upload_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "no such upload")
    }

    pub(crate) fn unsupported() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "the method does not apply here")
    }

    /// The answer on the wire.
    pub(crate) fn into_response(self) -> Response<Body> {
        let Parts { status, code, message, detail, header } = *self.0;
        let error = serde_json::json!({ "code": code, "message": message, "detail": detail });
        let body = serde_json::json!({ "errors": [error] }).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The store failed: the client learns that much, with the operating system's reason.
impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", format!("the store failed: {error}"))
    }
}
