//! Blob reads through a second host, as registries in front of an object store do it.
//!
//! The registry answers 307 with a URL of the storage listener. Its `Signature` is a ticket in a table:
//! good for one blob, as often as wanted, until it expires. Who comes without a good ticket gets a 403,
//! whatever other credentials are shown.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::{CONTENT_TYPE, LOCATION};
use hyper::{Method, StatusCode};
use tokio::time::Instant;

use crate::call::{Answer, Call, With, answer};
use crate::digest::Digest;
use crate::faults::Fault;
use crate::lock;
use crate::name::Repository;
use crate::nonce::nonce;
use crate::refusal::Refusal;
use crate::registry::Registry;

/// The tickets of the storage listener.
pub(crate) struct Redirects {
    /// Scheme, host and port of the storage listener.
    origin: String,
    lifetime: Duration,
    tickets: Mutex<HashMap<String, Ticket>>,
}

#[derive(Debug, Clone)]
struct Ticket {
    repository: Repository,
    digest: Digest,
    expires: Instant,
}

impl Redirects {
    pub(crate) fn new(origin: String) -> Self {
        Self { origin, lifetime: LIFETIME, tickets: Mutex::default() }
    }

    fn ticket(&self, signature: &str) -> Option<Ticket> {
        let now = Instant::now();
        let mut tickets = lock(&self.tickets);
        tickets.retain(|_, ticket| ticket.expires > now);
        tickets.get(signature).cloned()
    }
}

impl fmt::Debug for Redirects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redirects").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Registry {
    /// Sends the client to the storage listener.
    pub(crate) fn redirect(
        &self,
        redirects: &Redirects,
        call: &Call,
        repository: Repository,
        digest: Digest,
    ) -> Answer {
        let lifetime = self.faults.strike(call.path(), |fault| match fault {
            Fault::RedirectLifetime(lifetime) => Some(*lifetime),
            _ => None,
        });
        let lifetime = lifetime.unwrap_or(redirects.lifetime);
        let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + lifetime;
        let signature = nonce()?;
        let url = format!(
            "{}{STORAGE}{digest}?Expires={}&Signature={signature}",
            redirects.origin,
            expires.as_secs()
        );
        let ticket = Ticket { repository, digest, expires: Instant::now() + lifetime };
        lock(&redirects.tickets).insert(signature, ticket);
        Ok(answer(StatusCode::TEMPORARY_REDIRECT).with(LOCATION, url))
    }

    /// Answers a request at the storage listener.
    pub(crate) fn storage(&self, call: &Call) -> Answer {
        if !matches!(*call.method(), Method::GET | Method::HEAD) {
            return Err(Refusal::unsupported());
        }
        let redirects = self.redirects.as_ref().ok_or_else(Refusal::unsupported)?;
        let ticket = call.parameter("Signature").and_then(|signature| redirects.ticket(signature));
        match ticket.filter(|ticket| call.path().strip_prefix(STORAGE) == Some(ticket.digest.as_str())) {
            Some(ticket) => self.send_blob(call, &ticket.repository, &ticket.digest),
            None => Ok(answer(StatusCode::FORBIDDEN).with(CONTENT_TYPE, "application/xml").with_body(
                "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>".to_owned(),
            )),
        }
    }
}

const STORAGE: &str = "/storage/";

/// How long a redirect URL is good.
const LIFETIME: Duration = Duration::from_secs(300);
