//! Authorisation: which header a request carries, and what to do when it is refused.
//!
//! For each repository and access there is a slot with the challenge that the registry made last and
//! the header that answered it. A request takes the header from the slot. If the registry refuses it, the
//! request asks for a renewal and names the header that was refused:
//!
//! * if the slot holds another header by now, somebody else has renewed it, and that one is used;
//! * else the credentials are asked for again and tried in order, each once in a request.
//!
//! The slot's lock is held during a renewal, so that all who wait share one token request, and also share
//! its failure. A renewal that is dropped half-way leaves the slot as it was; the next waiter takes over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::{AuthFailure, Credential, CredentialSource, Error, Reason, Registry, Repository, Result};
use reqwest::header::HeaderValue;

use super::challenge::Challenge;
use super::realm::Realm;
use super::token;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    Pull,
    Push,
}

/// Credentials and the slots of all repositories.
#[derive(Debug)]
pub(crate) struct Auth {
    credentials: Arc<dyn CredentialSource>,
    slots: Mutex<HashMap<(Repository, Access), Arc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Counts renewals, so that a waiter knows whether one was made while it waited.
    renewals: AtomicU64,
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    challenge: Option<Challenge>,
    held: Option<Held>,
    failure: Option<Error>,
}

#[derive(Debug)]
struct Held {
    header: HeaderValue,
    expires: Option<Instant>,
}

/// The authorisation of one request, from its first header to its last.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    registry: &'a Registry,
    repository: &'a Repository,
    access: Access,
    slot: Arc<Slot>,
    sent: Option<HeaderValue>,
    /// How many credentials were used up by this request; `None` before the first renewal.
    tried: Option<usize>,
}

impl Auth {
    pub(crate) fn new(credentials: Arc<dyn CredentialSource>) -> Self {
        Self { credentials, slots: Mutex::default() }
    }

    fn slot(&self, repository: &Repository, access: Access) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Forgetting a token costs one request.
        if slots.len() >= MAX_SLOTS {
            slots.clear();
        }
        Arc::clone(slots.entry((repository.clone(), access)).or_default())
    }
}

impl Registry {
    pub(crate) fn session<'a>(&'a self, repository: &'a Repository, access: Access) -> Session<'a> {
        let slot = self.0.auth.slot(repository, access);
        Session { registry: self, repository, access, slot, sent: None, tried: None }
    }
}

impl Session<'_> {
    /// The header to start with: the one held, renewed if it has expired; none if nothing is known.
    pub(crate) async fn current(&mut self) -> Result<Option<HeaderValue>> {
        let slot = Arc::clone(&self.slot);
        let before = slot.renewals.load(Ordering::Acquire);
        let mut state = slot.state.lock().await;
        let Some(held) = &state.held else { return Ok(None) };
        let expired = held.expires.is_some_and(|expires| expires <= self.registry.clock().now());
        if expired {
            let place = self.repository.to_string();
            self.sent = Some(self.renew(&mut state, before, Reason::First, 0, &place).await?);
        } else {
            self.sent = Some(held.header.clone());
        }
        Ok(self.sent.clone())
    }

    /// What to send instead, after the registry answered 401 or 403 with `challenges` at `place`.
    pub(crate) async fn refused(
        &mut self,
        status: u16,
        challenges: &[String],
        place: &str,
    ) -> Result<HeaderValue> {
        let slot = Arc::clone(&self.slot);
        let before = slot.renewals.load(Ordering::Acquire);
        let mut state = slot.state.lock().await;
        // Some registries answer 403 to an expired token; to a new one it means what it says.
        if status == 403 && self.tried.is_some() {
            return Err(Error::auth(place, AuthFailure::Denied));
        }
        match Challenge::best(challenges.iter().map(String::as_str)) {
            Some(challenge) => state.challenge = Some(challenge),
            None if !challenges.is_empty() => return Err(Error::auth(place, AuthFailure::UnsupportedScheme)),
            None if self.sent.is_none() => return Err(Error::auth(place, AuthFailure::Denied)),
            None => {}
        }
        let renewed_by_other =
            state.held.as_ref().map(|held| &held.header).filter(|held| Some(*held) != self.sent.as_ref());
        if let (Some(header), None) = (renewed_by_other, self.tried) {
            self.tried = Some(0);
            self.sent = Some(header.clone());
            return Ok(header.clone());
        }
        state.held = None;
        let reason = if self.sent.is_some() { Reason::Rejected } else { Reason::First };
        let skip = self.tried.unwrap_or(0);
        let header = self.renew(&mut state, before, reason, skip, place).await?;
        self.sent = Some(header.clone());
        Ok(header)
    }

    /// For a request that is not made here: `sent` is the header it carried.
    #[cfg(feature = "lazy-fetch")]
    pub(crate) fn with_sent(mut self, sent: Option<HeaderValue>) -> Self {
        self.sent = sent;
        self
    }

    /// Renews the slot, or takes over the failure of a renewal that was waited for.
    async fn renew(
        &mut self,
        state: &mut State,
        before: u64,
        reason: Reason,
        skip: usize,
        place: &str,
    ) -> Result<HeaderValue> {
        let renewed_meanwhile = self.slot.renewals.load(Ordering::Acquire) != before;
        if let (true, 0, Some(failure)) = (renewed_meanwhile, skip, &state.failure) {
            return Err(failure.clone());
        }
        let outcome = self.answer(state.challenge.as_ref(), reason, skip, place).await;
        self.slot.renewals.fetch_add(1, Ordering::AcqRel);
        match outcome {
            Ok((held, tried)) => {
                self.tried = Some(tried);
                state.failure = None;
                let header = held.header.clone();
                state.held = Some(held);
                Ok(header)
            }
            Err(error) => {
                state.held = None;
                state.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Answers the challenge with the first credential after `skip` that is accepted, and says how many
    /// are used up then.
    async fn answer(
        &self,
        challenge: Option<&Challenge>,
        reason: Reason,
        skip: usize,
        place: &str,
    ) -> Result<(Held, usize)> {
        let failed = |failure| Error::auth(place, failure);
        let challenge = challenge.ok_or_else(|| failed(AuthFailure::UnsupportedScheme))?;
        let credentials = self.registry.0.auth.credentials.get(self.repository, reason).await?;
        if credentials.is_empty() {
            return match challenge {
                Challenge::Bearer { realm, service } if skip == 0 => {
                    let held = self.ask_realm(realm, service.as_deref(), None, place).await?;
                    Ok((held.ok_or_else(|| failed(AuthFailure::NoCredential))?, 1))
                }
                _ => Err(failed(AuthFailure::NoCredential)),
            };
        }
        for (position, credential) in credentials.iter().enumerate().skip(skip) {
            let held = match (challenge, credential) {
                (Challenge::Bearer { .. }, Credential::Token(secret)) => {
                    token::bearer(secret).map(|header| Held { header, expires: None })
                }
                (Challenge::Bearer { realm, service }, Credential::Password { username, password }) => {
                    let Some(basic) = token::basic(username, password) else { continue };
                    self.ask_realm(realm, service.as_deref(), Some(&basic), place).await?
                }
                (Challenge::Basic, Credential::Password { username, password }) => {
                    token::basic(username, password).map(|header| Held { header, expires: None })
                }
                (Challenge::Basic, Credential::Token(_)) => None,
            };
            if let Some(held) = held {
                return Ok((held, position.saturating_add(1)));
            }
        }
        Err(failed(AuthFailure::Denied))
    }

    /// Asks the token server; `None` if it refuses the credential.
    async fn ask_realm(
        &self,
        realm: &str,
        service: Option<&str>,
        basic: Option<&HeaderValue>,
        place: &str,
    ) -> Result<Option<Held>> {
        let registry = self.registry.url(self.repository, "")?;
        let realm = Realm::judge(&registry, realm, &self.registry.0.options.trusted_realms, place)?;
        if basic.is_some() && !realm.trusted {
            let at = format!("{place} (token server {})", realm.url.host_str().unwrap_or_default());
            return Err(Error::auth(at, AuthFailure::RealmRefused));
        }
        // Never more than the request needs, whatever the challenge names.
        let actions = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let scope = format!("repository:{}:{actions}", self.repository.path());
        let Some(token) = self.registry.token(realm.url, service, &scope, basic).await? else {
            return Ok(None);
        };
        let header = token::bearer(&token.secret);
        let header = header.ok_or_else(|| Error::protocol(place, "token", "it cannot stand in a header"))?;
        Ok(Some(Held { header, expires: self.registry.clock().now().checked_add(token.lifetime) }))
    }
}

/// How many repositories tokens are kept for.
const MAX_SLOTS: usize = 4096;
