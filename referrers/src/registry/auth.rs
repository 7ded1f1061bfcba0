//! Authorisation: which header a request carries, and what to do when it is refused.
//!
//! For each repository and access there is a slot with the challenge that the registry made last and
//! the header that answered it. A request takes the header from the slot. If the registry refuses it, the
//! request asks for a renewal and names the header that was refused:
//!
//! * if the slot holds another header by now, somebody else has renewed it, and that one is used;
//! * else the credentials are asked for again and tried in order, each once in a request. When all are used up,
//!   the source is asked whether it has others by now.
//!
//! The slot's lock is held during a renewal, so that all who wait share one token request, and also share
//! its failure. A renewal that is dropped half-way leaves the slot as it was; the next waiter takes over.
//!
//! A token in the last part of its life is renewed on the side while it still serves, so that a reader in
//! the middle of an image does not wait for a token server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{AuthFailure, Credential, CredentialSource, Error, Reason, Registry, Repository, Result};
use reqwest::header::HeaderValue;

use super::challenge::Challenge;
use super::realm::Realm;
use super::token::{self, Grant};

/// What a token allows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    Pull,
    Push,
    Delete,
    /// Also reading from another repository of the registry, whose path this is.
    Mount(Arc<str>),
}

impl Access {
    /// The scopes of a token for `path`: never more than the request needs, whatever a challenge names.
    fn scopes(&self, path: &str) -> Vec<String> {
        let scope = |path: &str, actions: &str| format!("repository:{path}:{actions}");
        match self {
            Self::Pull => vec![scope(path, "pull")],
            Self::Push => vec![scope(path, "pull,push")],
            Self::Delete => vec![scope(path, "delete")],
            Self::Mount(from) => vec![scope(path, "pull,push"), scope(from, "pull")],
        }
    }
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
    /// The credential that worked last, to be tried first.
    preferred: Option<Credential>,
    failure: Option<Error>,
}

#[derive(Debug)]
struct Held {
    header: HeaderValue,
    expires: Option<Instant>,
    /// When it is to be renewed while it still serves.
    refresh: Option<Instant>,
}

/// How a challenge was answered.
struct Answered {
    held: Held,
    /// The credential that was accepted; none if nobody was named.
    with: Option<Credential>,
}

/// The credentials that a request has used up; `None` stands for nobody's name.
pub(crate) type Tried = Vec<Option<Credential>>;

/// The authorisation of one request, from its first header to its last.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    registry: &'a Registry,
    repository: &'a Repository,
    access: Access,
    slot: Arc<Slot>,
    sent: Option<HeaderValue>,
    /// Whether somebody else's renewal was taken over.
    shared: bool,
    tried: Tried,
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
        let slot = self.0.auth.slot(repository, access.clone());
        Session { registry: self, repository, access, slot, sent: None, shared: false, tried: Tried::new() }
    }
}

impl Session<'_> {
    /// The header to start with: the one held, renewed if it has expired; none if nothing is known.
    pub(crate) async fn current(&mut self) -> Result<Option<HeaderValue>> {
        let slot = Arc::clone(&self.slot);
        let before = slot.renewals.load(Ordering::Acquire);
        let mut state = slot.state.lock().await;
        let now = self.registry.clock().now();
        let Some(held) = &mut state.held else { return Ok(None) };
        if held.expires.is_some_and(|expires| expires <= now) {
            let place = self.repository.to_string();
            self.sent = Some(self.renew(&mut state, before, Reason::First, &place).await?);
            return Ok(self.sent.clone());
        }
        if held.refresh.is_some_and(|refresh| refresh <= now) {
            // If it fails, the next is not before a while.
            held.refresh = now.checked_add(REFRESH_PAUSE);
            self.refresh_ahead();
        }
        self.sent = Some(held.header.clone());
        Ok(self.sent.clone())
    }

    /// What to send instead, after the registry answered 401 or 403 with `challenges` at `place`. A 403 says
    /// no more than a 401: some registries answer it to an expired token, and another name may have the right.
    pub(crate) async fn refused(&mut self, challenges: &[String], place: &str) -> Result<HeaderValue> {
        let slot = Arc::clone(&self.slot);
        let before = slot.renewals.load(Ordering::Acquire);
        let mut state = slot.state.lock().await;
        match Challenge::best(challenges.iter().map(String::as_str)) {
            Some(challenge) => state.challenge = Some(challenge),
            None if !challenges.is_empty() => return Err(Error::auth(place, AuthFailure::UnsupportedScheme)),
            None if self.sent.is_none() => return Err(Error::auth(place, AuthFailure::Denied)),
            None => {}
        }
        let renewed_by_other =
            state.held.as_ref().map(|held| &held.header).filter(|held| Some(*held) != self.sent.as_ref());
        if let (Some(header), false) = (renewed_by_other, self.shared) {
            self.shared = true;
            self.sent = Some(header.clone());
            return Ok(header.clone());
        }
        state.held = None;
        let reason = if self.sent.is_some() { Reason::Rejected } else { Reason::First };
        let header = self.renew(&mut state, before, reason, place).await?;
        self.sent = Some(header.clone());
        Ok(header)
    }

    /// Renews the token on the side, unless it is another one by then.
    fn refresh_ahead(&self) {
        let (registry, repository, access) =
            (self.registry.clone(), self.repository.clone(), self.access.clone());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        drop(runtime.spawn(async move {
            let mut session = registry.session(&repository, access);
            let (challenge, preferred, header) = {
                let state = session.slot.state.lock().await;
                let header = state.held.as_ref().map(|held| held.header.clone());
                (state.challenge.clone(), state.preferred.clone(), header)
            };
            let place = repository.to_string();
            let answer = session.answer(challenge.as_ref(), preferred.as_ref(), Reason::First, &place);
            let after = registry.0.options.deadline;
            // A failure shows when the token has expired; until then it serves.
            if let Ok(Ok(answered)) = tokio::time::timeout(after, answer).await {
                let mut state = session.slot.state.lock().await;
                if state.held.as_ref().map(|held| &held.header) == header.as_ref() {
                    state.held = Some(answered.held);
                }
            }
        }));
    }

    /// For a request that is not made here: `sent` is the header it carried, `tried` what it has used up.
    #[cfg(feature = "lazy-fetch")]
    pub(crate) fn resume(mut self, sent: Option<HeaderValue>, tried: Tried) -> Self {
        (self.sent, self.tried) = (sent, tried);
        self
    }

    /// What it has used up so far.
    #[cfg(feature = "lazy-fetch")]
    pub(crate) fn into_tried(self) -> Tried {
        self.tried
    }

    /// Renews the slot, or takes over the failure of a renewal that was waited for.
    async fn renew(
        &mut self,
        state: &mut State,
        before: u64,
        reason: Reason,
        place: &str,
    ) -> Result<HeaderValue> {
        let renewed_meanwhile = self.slot.renewals.load(Ordering::Acquire) != before;
        if let (true, true, Some(failure)) = (renewed_meanwhile, self.tried.is_empty(), &state.failure) {
            return Err(failure.clone());
        }
        let preferred = state.preferred.clone();
        let outcome = self.answer(state.challenge.as_ref(), preferred.as_ref(), reason, place).await;
        self.slot.renewals.fetch_add(1, Ordering::AcqRel);
        match outcome {
            Ok(answered) => {
                state.failure = None;
                state.preferred = answered.with;
                let header = answered.held.header.clone();
                state.held = Some(answered.held);
                Ok(header)
            }
            Err(error) => {
                state.held = None;
                state.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Answers the challenge with the first credential that is accepted and that this request has not used up;
    /// `preferred` comes before all others if the source still has it.
    async fn answer(
        &mut self,
        challenge: Option<&Challenge>,
        preferred: Option<&Credential>,
        mut reason: Reason,
        place: &str,
    ) -> Result<Answered> {
        let failed = |failure| Error::auth(place, failure);
        let challenge = challenge.ok_or_else(|| failed(AuthFailure::UnsupportedScheme))?;
        loop {
            let found = self.registry.0.auth.credentials.get(self.repository, reason).await?;
            let mut found: Vec<_> = found.into_iter().map(Some).collect();
            found.sort_by_key(|credential| credential.as_ref() != preferred);
            let named = self.tried.iter().any(Option::is_some);
            // Whoever has a name is never taken for nobody.
            if found.is_empty() && !named {
                found.push(None);
            }
            for credential in found {
                if self.tried.contains(&credential) {
                    continue;
                }
                self.tried.push(credential.clone());
                if let Some(held) = self.try_credential(challenge, credential.as_ref(), place).await? {
                    return Ok(Answered { held, with: credential });
                }
            }
            if reason == Reason::Rejected {
                let named = self.tried.iter().any(Option::is_some);
                return Err(failed(if named { AuthFailure::Denied } else { AuthFailure::NoCredential }));
            }
            reason = Reason::Rejected;
        }
    }

    /// Answers the challenge in one name, or in nobody's; `None` if that is not accepted.
    async fn try_credential(
        &self,
        challenge: &Challenge,
        credential: Option<&Credential>,
        place: &str,
    ) -> Result<Option<Held>> {
        let lasting = |header| Held { header, expires: None, refresh: None };
        let basic;
        let (realm, service, grant) = match (challenge, credential) {
            (Challenge::Bearer { .. }, Some(Credential::Token(secret))) => {
                return Ok(token::bearer(secret).map(lasting));
            }
            (Challenge::Basic, Some(Credential::Password { username, password })) => {
                return Ok(token::basic(username, password).map(lasting));
            }
            (Challenge::Basic, _) => return Ok(None),
            (Challenge::Bearer { realm, service }, Some(Credential::Password { username, password })) => {
                let Some(header) = token::basic(username, password) else { return Ok(None) };
                basic = header;
                (realm, service, Grant::Basic(&basic))
            }
            (Challenge::Bearer { realm, service }, Some(Credential::IdentityToken(secret))) => {
                (realm, service, Grant::Identity(secret))
            }
            (Challenge::Bearer { realm, service }, None) => (realm, service, Grant::Anonymous),
        };
        self.ask_realm(realm, service.as_deref(), grant, place).await
    }

    /// Asks the token server; `None` if it refuses the credential.
    async fn ask_realm(
        &self,
        realm: &str,
        service: Option<&str>,
        grant: Grant<'_>,
        place: &str,
    ) -> Result<Option<Held>> {
        let registry = self.registry.url(self.repository, "")?;
        let realm = Realm::judge(&registry, realm, &self.registry.0.options.trusted_realms, place)?;
        if !matches!(grant, Grant::Anonymous) && !realm.trusted {
            let at = format!("{place} (token server {})", realm.url.host_str().unwrap_or_default());
            return Err(Error::auth(at, AuthFailure::RealmRefused));
        }
        let scopes = self.access.scopes(self.repository.path());
        let Some(token) = self.registry.token(&registry, realm.url, service, &scopes, grant).await? else {
            return Ok(None);
        };
        let header = token::bearer(&token.secret);
        let header = header.ok_or_else(|| Error::protocol(place, "token", "it cannot stand in a header"))?;
        let now = self.registry.clock().now();
        let refresh = now.checked_add(token.lifetime.mul_f64(REFRESH_AT));
        Ok(Some(Held { header, expires: now.checked_add(token.lifetime), refresh }))
    }
}

/// How many repositories tokens are kept for.
const MAX_SLOTS: usize = 4096;
/// The part of its life after which a token is renewed while it still serves.
const REFRESH_AT: f64 = 0.75;
const REFRESH_PAUSE: Duration = Duration::from_secs(30);
