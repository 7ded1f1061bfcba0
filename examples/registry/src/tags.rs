//! The list of tags.

use hyper::header::{CONTENT_TYPE, LINK};
use hyper::{Method, StatusCode};
use serde_json::json;

use crate::call::{Answer, Call, With, answer};
use crate::name::{Repository, Tag};
use crate::refusal::Refusal;
use crate::registry::Registry;

impl Registry {
    /// `GET /v2/<name>/tags/list[?n=<count>][&last=<tag>]`: tags in the order of their bytes, those
    /// behind `last`, at most `n`.
    pub(crate) fn tags(&self, call: &Call, repository: &Repository) -> Answer {
        if *call.method() != Method::GET {
            return Err(Refusal::unsupported());
        }
        let tags = self.store.tags(repository)?.ok_or_else(Refusal::name_unknown)?;
        let limit = match call.parameter("n") {
            Some(n) => n.parse::<usize>().map_err(|_| {
                Refusal::new(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", "n is not a number")
                    .about(n)
            })?,
            None => usize::MAX,
        };
        let last = call.parameter("last").unwrap_or_default();
        let mut rest = tags.keys().map(Tag::as_str).filter(|tag| *tag > last);
        let page: Vec<&str> = rest.by_ref().take(limit).collect();
        let body = json!({ "name": repository.as_str(), "tags": page }).to_string();
        let response = answer(StatusCode::OK).with(CONTENT_TYPE, "application/json").with_body(body);
        Ok(match (page.last(), rest.next()) {
            (Some(last), Some(_)) => response
                .with(LINK, format!("</v2/{repository}/tags/list?n={limit}&last={last}>; rel=\"next\"")),
            _ => response,
        })
    }
}
