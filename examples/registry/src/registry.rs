//! The registry between its listeners and its store: every request passes here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};

use crate::auth::{Gate, Scope};
use crate::body::{Body, Stop};
use crate::builder::Builder;
use crate::call::{Answer, Call, With, answer, header};
use crate::digest::Digest;
use crate::faults::{Fault, Faults};
use crate::link::Scissors;
use crate::lock;
use crate::log::{Listener, Log};
use crate::manifest::Manifest;
use crate::name::{Reference, Repository};
use crate::redirect::Redirects;
use crate::referrers::Subjects;
use crate::refusal::Refusal;
use crate::route::Route;
use crate::store::Storage;
use crate::upload::Uploads;

/// An OCI registry; [`Registry::builder`] is the way to one.
#[derive(Debug)]
pub struct Registry {
    pub(crate) store: Arc<dyn Storage>,
    pub(crate) subjects: Subjects,
    pub(crate) uploads: Uploads,
    pub(crate) gate: Gate,
    pub(crate) redirects: Option<Redirects>,
    pub(crate) faults: Faults,
    pub(crate) log: Log,
    /// Scheme, host and port of the registry's own listener.
    pub(crate) origin: String,
    pub(crate) connections: AtomicU64,
    /// Held while manifests and tags change, so that what was checked still holds when it is acted on.
    pub(crate) writing: Mutex<()>,
}

impl Registry {
    /// A registry with an empty store in memory, for everybody, at once, without faults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Stores a blob without a request.
    pub(crate) fn put_blob(&self, repository: &str, bytes: Bytes) -> Result<Digest, Refusal> {
        let repository: Repository = repository.parse()?;
        let digest = Digest::sha256(&bytes);
        let mut staging = self.store.stage()?;
        staging.append(bytes)?;
        staging.commit(&repository, &digest)?;
        Ok(digest)
    }

    /// Stores a manifest without a request.
    pub(crate) fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        bytes: Bytes,
    ) -> Result<Digest, Refusal> {
        let reference = match tag {
            Some(tag) => Reference::Tag(tag.parse()?),
            None => Reference::Digest(Digest::sha256(&bytes)),
        };
        let manifest = Manifest::parse(&bytes)?;
        let _writing = lock(&self.writing);
        self.store_manifest(&repository.parse()?, &reference, &manifest, bytes)
    }

    /// Serves one request.
    pub(crate) async fn serve(
        &self,
        listener: Listener,
        connection: u64,
        scissors: Scissors,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let entry = self.log.begin(listener, connection, &request);
        let mut call = Call::new(request, scissors);
        let answer = match self.upfront_fault(&call) {
            Some(response) => Ok(response),
            None => match listener {
                Listener::Registry => self.dispatch(&mut call).await,
                Listener::Token => self.gate.token(&mut call, &self.faults).await,
                Listener::Storage => self.storage(&call),
            },
        };
        call.drain().await;
        let response =
            answer.unwrap_or_else(Refusal::into_response).with(header::API_VERSION, "registry/2.0");
        let mut response = self.spoil(&call, response);
        entry.answered(response.status().as_u16());
        response.body_mut().count_in(entry);
        response
    }

    async fn dispatch(&self, call: &mut Call) -> Answer {
        if call.path() == TOKEN_PATH && self.gate.issues_tokens_at(&self.origin) {
            return self.gate.token(call, &self.faults).await;
        }
        let Some(route) = Route::of(call.path())? else {
            return Ok(not_found());
        };
        let needs = Scope::needs(&route, call);
        if call.headers().contains_key(hyper::header::AUTHORIZATION) {
            self.expired_token(call, &needs)?;
        }
        let access = self.gate.check(call.headers(), &needs)?;
        match route {
            Route::Base => base(call),
            Route::Manifest(repository, reference) => self.manifest(call, repository, reference).await,
            Route::Blob(repository, digest) => self.blob(call, repository, digest),
            Route::Uploads(repository) => self.start_upload(call, repository, &access).await,
            Route::Upload(repository, id) => self.upload(call, &repository, &id).await,
            Route::Referrers(repository, digest) => self.referrers(call, repository, digest),
            Route::Tags(repository) => self.tags(call, &repository),
        }
    }

    /// A fault that replaces the whole answer.
    fn upfront_fault(&self, call: &Call) -> Option<Response<Body>> {
        self.faults.strike(call.path(), |fault| match fault {
            Fault::Html => {
                let page = "<!DOCTYPE html><title>Welcome</title><p>Nothing to see here.".to_owned();
                Some(answer(StatusCode::OK).with(CONTENT_TYPE, "text/html; charset=utf-8").with_body(page))
            }
            Fault::Status(status) => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Some(Refusal::new(status, "UNKNOWN", "switched on by a fault").into_response())
            }
            Fault::TooManyRequests { retry_after } => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                let refusal = Refusal::new(status, "TOOMANYREQUESTS", "too many requests").into_response();
                Some(match retry_after {
                    Some(value) => refusal.with(RETRY_AFTER, value),
                    None => refusal,
                })
            }
            _ => None,
        })
    }

    fn expired_token(&self, call: &Call, needs: &[Scope]) -> Result<(), Refusal> {
        let status = self.faults.strike(call.path(), |fault| match fault {
            Fault::ExpiredToken { status } => Some(*status),
            _ => None,
        });
        match status {
            None => Ok(()),
            Some(401) => Err(self.gate.challenge(needs, Some("invalid_token"))),
            Some(status) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
                Err(Refusal::new(status, "DENIED", "the authorization token has expired"))
            }
        }
    }

    /// Faults of a good answer on its way out.
    fn spoil(&self, call: &Call, mut response: Response<Body>) -> Response<Body> {
        let path = call.path();
        if !matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return response;
        }
        if response.headers().contains_key(header::CONTENT_DIGEST)
            && self.faults.has(path, &Fault::LyingDigest)
        {
            response = response.with(header::CONTENT_DIGEST, Digest::sha256(b"other content").as_str());
        }
        if *call.method() != Method::GET {
            return response;
        }
        let body = response.body_mut();
        let len = body.len();
        let flip = self.faults.strike(path, |fault| match fault {
            Fault::BitFlip { at } => Some(*at).filter(|at| *at < len),
            _ => None,
        });
        let stop = self.faults.strike(path, |fault| match fault {
            Fault::Cut { at } if *at < len => Some((*at, Stop::Cut(call.scissors.clone()))),
            Fault::Stall { at } if *at < len => Some((*at, Stop::Stall)),
            _ => None,
        });
        body.spoil(flip, stop);
        response
    }
}

fn base(call: &Call) -> Answer {
    if !matches!(*call.method(), Method::GET | Method::HEAD) {
        return Err(Refusal::unsupported());
    }
    Ok(answer(StatusCode::OK).with(CONTENT_TYPE, "application/json").with_body("{}".to_owned()))
}

fn not_found() -> Response<Body> {
    answer(StatusCode::NOT_FOUND)
        .with(CONTENT_TYPE, "text/plain; charset=utf-8")
        .with_body("404 page not found\n".to_owned())
}

/// Path of the token endpoint, which is outside the distribution specification's.
pub(crate) const TOKEN_PATH: &str = "/token";
