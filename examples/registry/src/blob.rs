//! Reading and deleting blobs.

use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    RANGE, TRANSFER_ENCODING,
};
use hyper::{Method, Response, StatusCode};

use crate::body::{Body, Stop};
use crate::call::{Answer, Call, With, answer, header};
use crate::digest::Digest;
use crate::faults::Fault;
use crate::name::Repository;
use crate::range::{Asked, asked};
use crate::refusal::Refusal;
use crate::registry::Registry;

impl Registry {
    /// `GET`, `HEAD` and `DELETE` of `/v2/<name>/blobs/<digest>`.
    pub(crate) fn blob(&self, call: &Call, repository: Repository, digest: Digest) -> Answer {
        match (call.method(), &self.redirects) {
            (&Method::GET, Some(redirects)) => {
                self.store.blob(&repository, &digest)?.ok_or_else(|| Refusal::blob_unknown(&digest))?;
                self.redirect(redirects, call, repository, digest)
            }
            (&Method::GET | &Method::HEAD, _) => self.send_blob(call, &repository, &digest),
            (&Method::DELETE, _) if self.store.remove_blob(&repository, &digest)? => {
                Ok(answer(StatusCode::ACCEPTED))
            }
            (&Method::DELETE, _) => Err(Refusal::blob_unknown(&digest)),
            _ => Err(Refusal::unsupported()),
        }
    }

    /// The blob, or the part of it that is asked for.
    pub(crate) fn send_blob(&self, call: &Call, repository: &Repository, digest: &Digest) -> Answer {
        let content = self.store.blob(repository, digest)?.ok_or_else(|| Refusal::blob_unknown(digest))?;
        let size = content.size();
        let etag = format!("\"{digest}\"");
        let about = |status| {
            answer(status)
                .with(header::CONTENT_DIGEST, digest.as_str())
                .with(ETAG, &etag)
                .with(CACHE_CONTROL, "max-age=31536000")
                .with(ACCEPT_RANGES, "bytes")
        };
        if call.condition_names(IF_NONE_MATCH, &etag) {
            return Ok(about(StatusCode::NOT_MODIFIED));
        }
        let unchanged = call.header(IF_RANGE).is_none_or(|condition| condition == etag);
        let range = call.header(RANGE).filter(|_| unchanged && *call.method() == Method::GET);
        let path = call.path();
        match asked(range, size) {
            Asked::Part(_) if self.faults.has(path, &Fault::RangeIgnored) => {
                Ok(octets(about(StatusCode::OK), Body::part(content, 0..size)))
            }
            Asked::Whole => Ok(octets(about(StatusCode::OK), Body::part(content, 0..size))),
            Asked::Part(range) => {
                let shift = u64::from(self.faults.has(path, &Fault::WrongContentRange));
                let (first, last) = (range.start.saturating_add(shift), range.end.saturating_sub(1));
                let content_range = format!("bytes {first}-{}/{size}", last.saturating_add(shift));
                let response = about(StatusCode::PARTIAL_CONTENT).with(CONTENT_RANGE, content_range);
                if range.end < size && self.faults.has(path, &Fault::LongBody) {
                    let mut response = octets(response, Body::part(content, range.start..size));
                    response.headers_mut().remove(CONTENT_LENGTH);
                    return Ok(response.with(TRANSFER_ENCODING, "chunked"));
                }
                Ok(octets(response, Body::part(content, range)))
            }
            Asked::Nothing => {
                let response = about(StatusCode::RANGE_NOT_SATISFIABLE)
                    .with(CONTENT_RANGE, format!("bytes */{size}"))
                    .with(CONTENT_TYPE, "text/plain; charset=utf-8");
                if self.faults.has(path, &Fault::LongNotSatisfiable) {
                    let mut body = Body::part(content, 0..size);
                    body.spoil(None, Some((size.min(LONG_CUT), Stop::Cut(call.scissors.clone()))));
                    return Ok(response.with_body(body));
                }
                Ok(response.with_body("no byte of the blob is in this range\n".to_owned()))
            }
        }
    }
}

fn octets(response: Response<Body>, body: Body) -> Response<Body> {
    response.with(CONTENT_TYPE, "application/octet-stream").with_body(body)
}

/// Bytes of the body before a 416 with a wrong length breaks off: the length of a short sentence.
const LONG_CUT: u64 = 60;
