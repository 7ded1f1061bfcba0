//! Uploading a blob: not at all if it is there, from another repository, in one piece or in chunks.
//!
//! ```text
//!   HEAD ──200──► done
//!    │404
//!   POST ──201──► mounted, done
//!    │202 and a location
//!    ├─ whole    PUT location?digest=…                   ──201──► done
//!    └─ chunks   PATCH location, each at its offset ─┐
//!                  ▲ └ failure: GET location, resume ┘   PUT location?digest=… ──201──► done
//! ```

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::ops::Range;

use reqwest::header::{CONTENT_RANGE, LOCATION, RANGE};
use reqwest::{Method, StatusCode};
use url::Url;

use crate::{Digest, Error, ErrorKind, Registry, Repository, Result};

use super::auth::Access;
use super::exchange::{self, Ask, Reply};
use super::payload::Payload;
use super::pull::CONTENT_DIGEST;
use super::retry;

/// How a blob is uploaded.
///
/// ```
/// use referrers::UploadOptions;
///
/// // Chunks outlive a broken connection; one piece costs fewer requests.
/// let options = UploadOptions::default().with_chunks(16 << 20);
/// # drop(options);
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct UploadOptions {
    /// A repository of the same registry that may have the blob already.
    pub mount_from: Option<Repository>,
    /// Bytes of a chunk, at least 2 and more if the registry wants larger ones; in one piece if there is none.
    pub chunk: Option<u64>,
}

impl UploadOptions {
    /// Takes the blob from `repository` of the same registry, if it is there.
    #[must_use]
    pub fn with_mount_from(mut self, repository: Repository) -> Self {
        self.mount_from = Some(repository);
        self
    }

    /// Sends chunks of `bytes`, and resumes an upload that breaks off.
    #[must_use]
    pub fn with_chunks(mut self, bytes: u64) -> Self {
        self.chunk = Some(bytes);
        self
    }
}

/// An upload under way.
struct Upload<'a> {
    registry: &'a Registry,
    repository: &'a Repository,
    location: Url,
    /// Bytes that chunks have at least, the last one excepted.
    min_chunk: u64,
}

impl Registry {
    /// Uploads `payload`, whose digest is `digest`, unless the repository has it already.
    pub(crate) async fn upload(
        &self,
        repository: &Repository,
        digest: &Digest,
        payload: &Payload,
        options: &UploadOptions,
    ) -> Result<()> {
        let url = self.url(repository, &format!("blobs/{digest}"))?;
        let head = self.exchange(Ask::new(repository, Method::HEAD, url, 0)).await?;
        if head.status == StatusCode::OK {
            return Ok(());
        }
        let Some(mut upload) = self.start_upload(repository, digest, options).await? else { return Ok(()) };
        let rest = match options.chunk {
            Some(chunk) if payload.len() > chunk => {
                upload.send_chunks(payload, chunk).await?;
                payload.slice(payload.len()..payload.len())
            }
            // What fits into one chunk is one piece.
            _ => payload.clone(),
        };
        upload.location.query_pairs_mut().append_pair("digest", digest.as_str());
        let ask = upload.ask(Method::PUT).payload("application/octet-stream", rest);
        let stored = self.exchange(ask).await?.success()?;
        confirm(&stored, digest)
    }

    /// Starts an upload; `None` if the registry took the blob from another repository.
    async fn start_upload<'a>(
        &'a self,
        repository: &'a Repository,
        digest: &Digest,
        options: &UploadOptions,
    ) -> Result<Option<Upload<'a>>> {
        let mut url = self.url(repository, "blobs/uploads/")?;
        let mut access = Access::Push;
        if let Some(from) = options.mount_from.as_ref().filter(|from| from.host() == repository.host()) {
            url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from.path());
            access = Access::Mount(from.path().into());
        }
        let answers = self.0.options.limits.token;
        let ask = Ask::new(repository, Method::POST, url.clone(), answers).access(access);
        let started = match self.exchange(ask).await.and_then(Reply::success) {
            // No right to read the other repository is no reason not to upload.
            Err(error) if options.mount_from.is_some() && !error.is_transient() => {
                url.set_query(None);
                self.exchange(Ask::new(repository, Method::POST, url, answers)).await?.success()?
            }
            started => started?,
        };
        if started.status == StatusCode::CREATED {
            return Ok(None);
        }
        let min_chunk = started.header("oci-chunk-min-length").and_then(|text| text.trim().parse().ok());
        let (location, min_chunk) = (next_location(&started)?, min_chunk.unwrap_or(0));
        Ok(Some(Upload { registry: self, repository, location, min_chunk }))
    }
}

impl<'a> Upload<'a> {
    fn ask(&self, method: Method) -> Ask<'a> {
        let answers = self.registry.0.options.limits.token;
        Ask::new(self.repository, method, self.location.clone(), answers).access(Access::Push)
    }

    async fn send_chunks(&mut self, payload: &Payload, chunk: u64) -> Result<()> {
        let chunk = chunk.max(self.min_chunk).max(2);
        let (mut sent, mut failures) = (0, 0u32);
        while sent < payload.len() {
            let end = sent.saturating_add(chunk).min(payload.len());
            match self.send_chunk(payload, sent..end).await {
                Ok(()) => (sent, failures) = (end, 0),
                Err(error) => {
                    failures = failures.saturating_add(1);
                    if failures >= retry::TRIES || !may_resume(&error) {
                        return Err(error);
                    }
                    let clock = self.registry.clock();
                    if let Some(until) = clock.now().checked_add(retry::backoff(failures, &error)) {
                        clock.sleep_until(until).await;
                    }
                    sent = self.received().await?.min(payload.len());
                }
            }
        }
        Ok(())
    }

    async fn send_chunk(&mut self, payload: &Payload, part: Range<u64>) -> Result<()> {
        let range = format!("{}-{}", part.start, part.end.saturating_sub(1));
        let end = part.end;
        let ask = self.ask(Method::PATCH).payload("application/octet-stream", payload.slice(part));
        let reply = self.registry.exchange(ask.header_text(CONTENT_RANGE, &range)).await?.success()?;
        self.location = next_location(&reply)?;
        // Not all registries notice a chunk that does not follow the last one.
        match reply.header(RANGE.as_str()).and_then(received) {
            Some(received) if received != end => {
                let why = format!("{received} bytes were received, {end} sent");
                Err(Error::protocol(reply.place, "upload", why))
            }
            _ => Ok(()),
        }
    }

    /// How many bytes the registry has.
    async fn received(&mut self) -> Result<u64> {
        let reply = self.registry.exchange(self.ask(Method::GET)).await?.success()?;
        if reply.header(LOCATION.as_str()).is_some() {
            self.location = next_location(&reply)?;
        }
        let range = reply.header(RANGE.as_str()).and_then(received);
        range.ok_or_else(|| Error::protocol(reply.place, "upload", "its status names no range"))
    }
}

/// Whether the registry may still have the upload, at another offset perhaps.
fn may_resume(error: &Error) -> bool {
    let out_of_order = matches!(error.kind(), ErrorKind::Status { status: 416, .. });
    error.is_transient() || out_of_order
}

/// The number of bytes in `0-<last>`. Nothing received is written in the same way as one byte, which no chunk
/// is.
fn received(range: &str) -> Option<u64> {
    let (_, last) = range.trim().trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.parse().ok()?;
    Some(if last == 0 { 0 } else { last.saturating_add(1) })
}

/// Where the upload goes on. The location may have a query that the registry needs.
/// Checks what the registry says it stored. What it says in another algorithm says nothing, as the bytes are
/// not at hand any more.
fn confirm(stored: &Reply, digest: &Digest) -> Result<()> {
    match stored.header(CONTENT_DIGEST).map(str::parse::<Digest>) {
        Some(Ok(stated)) if stated.algorithm() == digest.algorithm() && stated != *digest => {
            let (expected, actual) = (digest.to_string(), stated.to_string());
            Err(Error::new(ErrorKind::Integrity { what: "digest", expected, actual }, &*stored.place))
        }
        _ => Ok(()),
    }
}

fn next_location(reply: &Reply) -> Result<Url> {
    let location = reply.header(LOCATION.as_str());
    let location =
        location.ok_or_else(|| Error::protocol(&*reply.place, "upload", "it names no location"))?;
    exchange::resolve(&reply.url, location, &reply.place)
}
