//! What was asked of the server, for assertions and for counting requests.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap, RANGE};
use hyper::{Method, Request};
use tokio::time::Instant;

use crate::lock;

/// A request as the server saw it, and how the answer went so far.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoggedRequest {
    /// Time from the start of the server to the end of the request's head.
    pub at: Duration,
    /// Where it came in.
    pub listener: Listener,
    /// Number of the connection, counted from 0 over all listeners.
    pub connection: u64,
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The query, without the question mark.
    pub query: Option<String>,
    /// The `Range` header.
    pub range: Option<String>,
    /// Whether there was an `Authorization` header.
    pub authorization: bool,
    /// Every header of the request. Credentials are marked sensitive, so `Debug` hides them.
    pub headers: HeaderMap,
    /// Status of the answer, `None` while there is none.
    pub status: Option<u16>,
    /// Bytes of the answer's body that were handed to the connection.
    pub body_bytes: u64,
}

/// The listeners of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listener {
    /// The registry itself.
    Registry,
    /// The token endpoint, if it has a listener of its own.
    Token,
    /// The host that blob reads are redirected to.
    Storage,
}

/// All requests since the start.
#[derive(Debug)]
pub(crate) struct Log {
    start: Instant,
    entries: Mutex<Vec<Arc<Entry>>>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), entries: Mutex::default() }
    }

    pub(crate) fn begin<B>(&self, listener: Listener, connection: u64, request: &Request<B>) -> Arc<Entry> {
        let mut headers = request.headers().clone();
        for secret in [AUTHORIZATION, COOKIE] {
            if let Some(value) = headers.get_mut(secret) {
                value.set_sensitive(true);
            }
        }
        let uri = request.uri();
        let asked = LoggedRequest {
            at: self.start.elapsed(),
            listener,
            connection,
            method: request.method().clone(),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            range: headers.get(RANGE).and_then(|value| value.to_str().ok()).map(str::to_owned),
            authorization: headers.contains_key(AUTHORIZATION),
            headers,
            status: None,
            body_bytes: 0,
        };
        let entry = Arc::new(Entry { asked, status: AtomicU16::new(0), body_bytes: AtomicU64::new(0) });
        lock(&self.entries).push(Arc::clone(&entry));
        entry
    }

    pub(crate) fn snapshot(&self) -> Vec<LoggedRequest> {
        lock(&self.entries).iter().map(|entry| entry.snapshot()).collect()
    }
}

/// One request: the asked part is fixed, the answered part grows.
#[derive(Debug)]
pub(crate) struct Entry {
    asked: LoggedRequest,
    /// 0 until there is an answer.
    status: AtomicU16,
    body_bytes: AtomicU64,
}

impl Entry {
    pub(crate) fn answered(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.body_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn snapshot(&self) -> LoggedRequest {
        let status = self.status.load(Ordering::Relaxed);
        LoggedRequest {
            status: (status != 0).then_some(status),
            body_bytes: self.body_bytes.load(Ordering::Relaxed),
            ..self.asked.clone()
        }
    }
}
