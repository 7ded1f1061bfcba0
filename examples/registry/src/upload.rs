//! Uploading blobs: in one request, in two, in chunks, or by mounting a blob of another repository.
//!
//! A session is one temporary place for bytes. Its content is hashed when it is closed, read back from
//! where it is kept, and becomes a blob only under the digest that comes out.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use hyper::body::Body as _;
use hyper::header::{CONTENT_RANGE, HeaderValue, LOCATION, RANGE};
use hyper::{Method, Response, StatusCode};

use crate::auth::{Access, Action};
use crate::body::Body;
use crate::call::{Answer, Call, With, answer, header};
use crate::digest::{Algorithm, Digest};
use crate::lock;
use crate::name::Repository;
use crate::nonce::nonce;
use crate::refusal::Refusal;
use crate::registry::Registry;
use crate::store::Staging;

/// The open upload sessions.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    /// Least length of a chunk that is not the last one, in bytes; 0 for any.
    chunk_min: u64,
}

#[derive(Debug)]
struct Session {
    id: String,
    repository: Repository,
    /// Held for as long as a request adds to the session. A request that breaks off leaves what
    /// arrived of it, so a client can ask how far it got and go on.
    progress: tokio::sync::Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    /// `None` once the session has ended.
    staging: Option<Box<dyn Staging>>,
    size: u64,
    /// A chunk below the least length has arrived, so no further one may follow.
    short_chunk: bool,
}

impl Uploads {
    pub(crate) fn new(chunk_min: u64) -> Self {
        Self { sessions: Mutex::default(), chunk_min }
    }

    fn open(&self, repository: Repository, staging: Box<dyn Staging>) -> io::Result<Arc<Session>> {
        let progress = Progress { staging: Some(staging), size: 0, short_chunk: false };
        let session = Arc::new(Session { id: nonce()?, repository, progress: progress.into() });
        lock(&self.sessions).insert(session.id.clone(), Arc::clone(&session));
        Ok(session)
    }

    fn find(&self, repository: &Repository, id: &str) -> Result<Arc<Session>, Refusal> {
        let session = lock(&self.sessions).get(id).cloned();
        session.filter(|session| session.repository == *repository).ok_or_else(Refusal::upload_unknown)
    }

    fn close(&self, id: &str) {
        lock(&self.sessions).remove(id);
    }
}

impl Session {
    fn location(&self) -> String {
        format!("/v2/{}/blobs/uploads/{}", self.repository, self.id)
    }
}

impl Registry {
    /// `POST /v2/<name>/blobs/uploads/`: opens a session, unless a mount or a single request does it.
    pub(crate) async fn start_upload(
        &self,
        call: &mut Call,
        repository: Repository,
        access: &Access,
    ) -> Answer {
        if *call.method() != Method::POST {
            return Err(Refusal::unsupported());
        }
        if let Some(mount) = call.parameter("mount") {
            let digest: Digest = mount.parse().map_err(|_| Refusal::digest_invalid(mount))?;
            if self.mount(call.parameter("from"), &repository, &digest, access)? {
                return Ok(created(&repository, &digest));
            }
        }
        if let Some(name) = call.parameter("digest-algorithm") {
            name.parse::<Algorithm>().map_err(|_| Refusal::digest_invalid(name))?;
        }
        let digest = parse_digest(call)?;
        let session = self.uploads.open(repository, self.store.stage()?)?;
        if let Some(digest) = digest {
            return self.finish_upload(call, &session, digest).await;
        }
        let response = answer(StatusCode::ACCEPTED)
            .with(LOCATION, session.location())
            .with(header::UPLOAD_UUID, &session.id)
            .with(RANGE, received(0));
        Ok(match self.uploads.chunk_min {
            0 => response,
            min => response.with(header::CHUNK_MIN_LENGTH, min.to_string()),
        })
    }

    /// `GET`, `PATCH`, `PUT` and `DELETE` of `/v2/<name>/blobs/uploads/<session>`.
    pub(crate) async fn upload(&self, call: &mut Call, repository: &Repository, id: &str) -> Answer {
        let session = self.uploads.find(repository, id)?;
        let status = match *call.method() {
            Method::GET => StatusCode::NO_CONTENT,
            Method::PATCH => {
                self.append(call, &session).await?;
                StatusCode::ACCEPTED
            }
            Method::PUT => {
                let digest =
                    parse_digest(call)?.ok_or_else(|| Refusal::digest_invalid("no digest is given"))?;
                return self.finish_upload(call, &session, digest).await;
            }
            Method::DELETE => {
                self.uploads.close(id);
                return Ok(answer(StatusCode::NO_CONTENT));
            }
            _ => return Err(Refusal::unsupported()),
        };
        let size = session.progress.lock().await.size;
        Ok(answer(status)
            .with(LOCATION, session.location())
            .with(header::UPLOAD_UUID, id)
            .with(RANGE, received(size)))
    }

    /// Takes what the request still brings, checks the whole and makes it a blob. The session ends
    /// unless the chunk was out of order.
    async fn finish_upload(&self, call: &mut Call, session: &Session, digest: Digest) -> Answer {
        self.append(call, session).await?;
        self.uploads.close(&session.id);
        let staging = session.progress.lock().await.staging.take().ok_or_else(Refusal::upload_unknown)?;
        let found = Digest::of_content(digest.algorithm(), &staging.content()?).await?;
        if found != digest {
            return Err(Refusal::digest_invalid(digest.as_str()));
        }
        staging.commit(&session.repository, &digest)?;
        Ok(created(&session.repository, &digest))
    }

    /// Adds the request's body at the end of the session.
    async fn append(&self, call: &mut Call, session: &Session) -> Result<(), Refusal> {
        let mut progress = session.progress.lock().await;
        if let Some(range) = call.header(CONTENT_RANGE) {
            check_chunk(range, call.body.size_hint().exact(), progress.size)?;
        }
        let start = progress.size;
        while let Some(bytes) = call.next_piece().await? {
            if progress.short_chunk {
                let message = format!("a chunk below {} bytes must be the last", self.uploads.chunk_min);
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", message));
            }
            let staging = progress.staging.as_mut().ok_or_else(Refusal::upload_unknown)?;
            let size = bytes.len() as u64;
            if let Err(error) = staging.append(bytes) {
                // Part of the piece may be stored, so nobody could say where to go on.
                progress.staging = None;
                self.uploads.close(&session.id);
                return Err(error.into());
            }
            progress.size = progress.size.saturating_add(size);
        }
        let size = progress.size.saturating_sub(start);
        progress.short_chunk = 0 < size && size < self.uploads.chunk_min;
        Ok(())
    }

    /// Mounts from the repository `from`, or from any that the client may read.
    fn mount(
        &self,
        from: Option<&str>,
        repository: &Repository,
        digest: &Digest,
        access: &Access,
    ) -> Result<bool, Refusal> {
        let sources = match from {
            Some(from) => vec![from.parse()?],
            None => self.store.repositories()?,
        };
        for source in sources.iter().filter(|source| access.allows(source, Action::Pull)) {
            if self.store.mount(source, repository, digest)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn created(repository: &Repository, digest: &Digest) -> Response<Body> {
    answer(StatusCode::CREATED)
        .with(LOCATION, format!("/v2/{repository}/blobs/{digest}"))
        .with(header::CONTENT_DIGEST, digest.as_str())
}

fn parse_digest(call: &Call) -> Result<Option<Digest>, Refusal> {
    let parse = |text: &str| text.parse().map_err(|_| Refusal::digest_invalid(text));
    call.parameter("digest").map(parse).transpose()
}

/// Checks a chunk's `Content-Range`, which is `<first>-<last>` in this specification, against its
/// length and the bytes that are there.
fn check_chunk(range: &str, len: Option<u64>, have: u64) -> Result<(), Refusal> {
    let invalid = |status, why| Refusal::new(status, "BLOB_UPLOAD_INVALID", why).about(range);
    let parsed = range.split_once('-').and_then(|(first, last)| {
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        Some((first, last.checked_sub(first)?.checked_add(1)?))
    });
    let Some((first, expected)) = parsed else {
        return Err(invalid(StatusCode::BAD_REQUEST, "the chunk's range is malformed"));
    };
    if first != have {
        let refusal = invalid(StatusCode::RANGE_NOT_SATISFIABLE, "the chunk is out of order");
        return Err(match HeaderValue::try_from(received(have)) {
            Ok(value) => refusal.with_header(RANGE, value),
            Err(_) => refusal,
        });
    }
    if len != Some(expected) {
        return Err(invalid(StatusCode::BAD_REQUEST, "the chunk is not as long as its range"));
    }
    Ok(())
}

/// The `Range` of an answer: the first and the last byte that are there. The notation has no word for
/// "none", for which `0-0` is customary.
fn received(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_continues_what_is_there_and_is_as_long_as_it_says() {
        assert!(check_chunk("0-3", Some(4), 0).is_ok());
        assert!(check_chunk("4-4", Some(1), 4).is_ok());
        for (range, len, have) in [
            ("4-7", Some(4), 0),
            ("0-3", Some(4), 4),
            ("0-3", Some(5), 0),
            ("0-3", None, 0),
            ("3-0", Some(0), 3),
        ] {
            assert!(check_chunk(range, len, have).is_err(), "{range}");
        }
        for malformed in ["", "-", "a-b", "bytes 0-3/4", "0-18446744073709551615"] {
            assert!(check_chunk(malformed, Some(4), 0).is_err(), "{malformed}");
        }
    }
}
