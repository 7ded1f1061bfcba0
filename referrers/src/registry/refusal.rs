//! What a registry says when it does not do what it was asked.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::time::Duration;

use serde::Deserialize;

use crate::error::printable;
use crate::{AuthFailure, Error, ErrorKind, Result};

use super::exchange::Reply;
use super::retry;

/// The error that an unsuccessful answer stands for.
pub(crate) fn error(reply: &Reply) -> Error {
    let code = code(reply);
    let kind = match (reply.status.as_u16(), code.as_deref()) {
        (401 | 403, _) => ErrorKind::Auth(AuthFailure::Denied),
        (404, Some("NAME_UNKNOWN")) => ErrorKind::NotFound { what: "repository" },
        (404, _) if reply.url.path().contains("/blobs/") => ErrorKind::NotFound { what: "blob" },
        (404, _) => ErrorKind::NotFound { what: "manifest" },
        (429, _) | (_, Some("TOOMANYREQUESTS")) => ErrorKind::RateLimited { retry_after: retry_after(reply) },
        (status, _) => ErrorKind::Status { status, code },
    };
    Error::new(kind, &*reply.place)
}

/// The reply, unless it says that the same request may succeed later.
pub(crate) fn unless_transient(reply: Reply) -> Result<Reply> {
    let status = reply.status;
    if status.is_success() || status.is_redirection() {
        return Ok(reply);
    }
    let error = error(&reply);
    let settled = !error.is_transient() && !matches!(error.kind(), ErrorKind::Auth(_));
    if settled { Ok(reply) } else { Err(error) }
}

/// The code of the first entry of the error list, if the body is one.
pub(crate) fn code(reply: &Reply) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        code: String,
    }
    let body: Body = serde_json::from_slice(&reply.body).ok()?;
    body.errors.first().map(|entry| printable(&entry.code))
}

fn retry_after(reply: &Reply) -> Option<Duration> {
    retry::parse_retry_after(reply.header("retry-after")?, jiff::Timestamp::now())
}
