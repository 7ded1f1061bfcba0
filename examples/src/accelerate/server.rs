//! What the service is told and asked over HTTP.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /` | the status page |
//! | `GET /metrics` | numbers in Prometheus' text format |
//! | `POST /webhook` | takes the message of a registry; 202 once what it makes to do is on the disk |
//! | `POST /convert` | takes the reference of an image, converts it |
//!
//! The two that take something want the secret, if there is one.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use referrers::Digest;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

use super::Service;
use super::metrics::count;
use super::page::page;
use super::push::Push;
use crate::one_line::one_line;

/// What whoever tells something must know. Kept as a digest, whose comparison tells nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(Digest);

impl Secret {
    pub(super) fn new(text: &str) -> Self {
        Self(Digest::sha256_of(text.as_bytes()))
    }

    fn is_in(&self, header: Option<&HeaderValue>) -> bool {
        let Some(text) = header.and_then(|value| value.to_str().ok()) else { return false };
        let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        Self::new(token.map_or(text, |(_, token)| token)) == *self
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

type Answer = Response<Full<Bytes>>;

impl Service {
    /// Answers whoever connects, for good.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let service = Arc::clone(&self);
                    connections.spawn(async move {
                        service.converse(stream).await;
                        drop(place);
                    });
                }
                // The client gave up, or there are no descriptors left until another connection ends.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
            while connections.try_join_next().is_some() {}
        }
    }

    async fn converse(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(|request| {
            let this = Arc::clone(&self);
            async move { Ok::<_, Infallible>(this.answer(request).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
        // An error is a client that went away: nothing to tell anybody.
        let _ = http.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        match (&method, path.as_str()) {
            (&Method::GET, "/") => {
                let entries = self.queue.entries();
                text(StatusCode::OK, "text/html; charset=utf-8", page(&self.settings.registry, &entries))
            }
            (&Method::GET, "/metrics") => {
                text(StatusCode::OK, "text/plain; version=0.0.4", self.metrics.text(&self.queue.entries()))
            }
            (&Method::POST, "/webhook" | "/convert") => {
                let body = match self.read(request).await {
                    Ok(body) => body,
                    Err((status, why)) => return self.refuse(status, why),
                };
                let answered =
                    if path == "/webhook" { self.hear(&body).await } else { self.requested(&body).await };
                answered.unwrap_or_else(|(status, error)| self.refuse(status, &one_line(&error)))
            }
            (_, "/" | "/metrics" | "/webhook" | "/convert") => {
                self.refuse(StatusCode::METHOD_NOT_ALLOWED, "not in this way")
            }
            _ => self.refuse(StatusCode::NOT_FOUND, "there is nothing here"),
        }
    }

    /// The body of whoever may say something.
    async fn read(&self, request: Request<Incoming>) -> Result<Bytes, (StatusCode, &'static str)> {
        let authorization = request.headers().get(AUTHORIZATION);
        if self.secret.as_ref().is_some_and(|secret| !secret.is_in(authorization)) {
            return Err((StatusCode::UNAUTHORIZED, "the secret is missing or wrong"));
        }
        let body = Limited::new(request.into_body(), LONGEST).collect();
        match tokio::time::timeout(PATIENCE, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                Err((StatusCode::PAYLOAD_TOO_LARGE, "more than 1 MiB"))
            }
            Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the body broke off")),
            Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body does not come")),
        }
    }

    /// A message of a registry.
    async fn hear(&self, message: &[u8]) -> Result<Answer, (StatusCode, anyhow::Error)> {
        let pushes = Push::parse(message).map_err(|error| (StatusCode::BAD_REQUEST, error))?;
        let (mut queued, mut known, mut ignored) = (0, 0, 0);
        for push in pushes {
            // The others of the message are good, and a registry sends one that is refused for ever.
            let Some(job) = self.settings.job_of_push(&push).unwrap_or_default() else {
                ignored += 1;
                count(&self.metrics.pushes_ignored);
                continue;
            };
            // The registry sends the message again.
            if self.add(job).await.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error))? {
                queued += 1;
                count(&self.metrics.pushes_queued);
            } else {
                known += 1;
                count(&self.metrics.pushes_known);
            }
        }
        Ok(accepted(&json!({ "queued": queued, "known": known, "ignored": ignored })))
    }

    /// A request for an image, by its reference.
    async fn requested(&self, body: &[u8]) -> Result<Answer, (StatusCode, anyhow::Error)> {
        let refused = |error| (StatusCode::UNPROCESSABLE_ENTITY, error);
        let reference = std::str::from_utf8(body).context("a reference").map_err(refused)?.trim();
        let reference: referrers::Reference =
            reference.parse().map_err(|error| refused(anyhow::Error::new(error)))?;
        let repository = reference.repository();
        if repository.host() != self.settings.registry {
            return Err(refused(anyhow::anyhow!("{repository} is in another registry than is served here")));
        }
        let found =
            self.registry.head_manifest(&reference).await.map_err(|error| match error.is_not_found() {
                true => (StatusCode::NOT_FOUND, error.into()),
                false => (StatusCode::BAD_GATEWAY, error.into()),
            })?;
        let tag = reference.tag().or_else(|| reference.digest().is_none().then_some("latest"));
        let job = self.settings.job(repository, tag, found.digest);
        let job = job.with_context(|| format!("no rule is for {reference}")).map_err(refused)?;
        let queue = self.queue.clone();
        let asked = spawn_blocking(move || queue.ask(job)).await.unwrap_or_else(|error| Err(error.into()));
        let entry = asked.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error))?;
        Ok(accepted(&json!({ "image": entry.job.image.to_string(), "state": entry.state.name() })))
    }

    fn refuse(&self, status: StatusCode, why: &str) -> Answer {
        count(&self.metrics.refused);
        text(status, "text/plain; charset=utf-8", format!("{why}\n"))
    }
}

fn accepted(body: &serde_json::Value) -> Answer {
    text(StatusCode::ACCEPTED, "application/json", format!("{body}\n"))
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// An envelope of a thousand events is shorter.
const LONGEST: usize = 1 << 20;
const MOST_CONNECTIONS: usize = 64;
/// For headers, and for a body.
const PATIENCE: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
