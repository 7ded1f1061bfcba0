//! Who may do what: Basic, or Bearer with tokens of our own.
//!
//! Tokens are opaque random texts in a table, each with an expiry on tokio's clock and the access it
//! grants, so nothing about them can be guessed from their form.

mod scope;
mod token;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use tokio::time::Instant;

pub(crate) use scope::{Action, Scope};

use crate::lock;
use crate::name::Repository;
use crate::nonce::nonce;
use crate::refusal::Refusal;

/// How clients prove who they are.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    /// Everybody may do everything.
    #[default]
    None,
    /// `Authorization: Basic` with each request.
    Basic(Account),
    /// `Authorization: Bearer` with tokens of the token endpoint.
    Bearer(Bearer),
}

/// A user name and a password, which `Debug` hides.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    username: String,
    password: String,
}

impl Account {
    /// The account of one user, who may do everything.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: password.into() }
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Token authentication by the distribution project's token specification.
#[derive(Debug, Clone)]
pub struct Bearer {
    account: Account,
    anonymous_pull: bool,
    lifetime: Duration,
    own_listener: bool,
}

impl Bearer {
    /// Tokens for `account`, valid for five minutes, from `/token` of the registry's own listener.
    pub fn new(account: Account) -> Self {
        Self { account, anonymous_pull: false, lifetime: Duration::from_secs(300), own_listener: false }
    }

    /// Also grants `pull` to those who show no credentials.
    #[must_use]
    pub fn with_anonymous_pull(self) -> Self {
        Self { anonymous_pull: true, ..self }
    }

    /// How long a token is valid; `expires_in` tells it in whole seconds.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// Moves the token endpoint to a listener of its own: a realm on another origin.
    #[must_use]
    pub fn with_own_listener(self) -> Self {
        Self { own_listener: true, ..self }
    }

    pub(crate) fn has_own_listener(&self) -> bool {
        self.own_listener
    }
}

/// Checks credentials and issues tokens.
#[derive(Debug)]
pub(crate) struct Gate {
    auth: Auth,
    /// URL of the token endpoint.
    realm: String,
    tokens: Mutex<Tokens>,
}

#[derive(Default)]
struct Tokens {
    access: HashMap<String, Grant>,
    refresh: HashSet<String>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("access", &self.access.len()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Grant {
    scopes: Vec<Scope>,
    expires: Instant,
}

/// What the sender of a request may do.
#[derive(Debug)]
pub(crate) enum Access {
    Everything,
    Scopes(Vec<Scope>),
}

impl Access {
    pub(crate) fn allows(&self, repository: &Repository, action: Action) -> bool {
        match self {
            Self::Everything => true,
            Self::Scopes(scopes) => scopes.iter().any(|scope| scope.allows(repository.as_str(), action)),
        }
    }
}

impl Gate {
    pub(crate) fn new(auth: Auth, realm: String) -> Self {
        Self { auth, realm, tokens: Mutex::default() }
    }

    /// Whether the token endpoint is part of the listener at `origin`.
    pub(crate) fn issues_tokens_at(&self, origin: &str) -> bool {
        matches!(self.auth, Auth::Bearer(_)) && self.realm.starts_with(origin)
    }

    /// Lets a request that needs `needs` pass.
    ///
    /// # Errors
    ///
    /// 401 with a challenge that names the scopes.
    pub(crate) fn check(&self, headers: &HeaderMap, needs: &[Scope]) -> Result<Access, Refusal> {
        match &self.auth {
            Auth::None => Ok(Access::Everything),
            Auth::Basic(account) if basic(headers).as_ref() == Some(account) => Ok(Access::Everything),
            Auth::Basic(_) => Err(self.challenge(&[], None)),
            Auth::Bearer(_) => {
                let token = bearer(headers).ok_or_else(|| self.challenge(needs, None))?;
                let scopes =
                    self.scopes(token).ok_or_else(|| self.challenge(needs, Some("invalid_token")))?;
                let missing = |need: &Scope| !scopes.iter().any(|scope| scope.covers(need));
                if needs.iter().any(missing) {
                    return Err(self.challenge(needs, Some("insufficient_scope")));
                }
                Ok(Access::Scopes(scopes))
            }
        }
    }

    /// The 401 for somebody who needs `needs`.
    pub(crate) fn challenge(&self, needs: &[Scope], error: Option<&str>) -> Refusal {
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
        let mut challenge = match &self.auth {
            Auth::None | Auth::Basic(_) => format!("Basic realm=\"{SERVICE}\""),
            Auth::Bearer(_) => format!("Bearer realm=\"{}\",service=\"{SERVICE}\"", self.realm),
        };
        if !needs.is_empty() {
            let scopes = needs.iter().map(Scope::to_string).collect::<Vec<_>>().join(" ");
            challenge.push_str(&format!(",scope=\"{scopes}\""));
        }
        if let Some(error) = error {
            challenge.push_str(&format!(",error=\"{error}\""));
        }
        match HeaderValue::try_from(challenge) {
            Ok(value) => refusal.with_header(WWW_AUTHENTICATE, value),
            Err(_) => refusal,
        }
    }

    /// Makes every token invalid that was issued so far, refresh tokens excepted.
    pub(crate) fn revoke_tokens(&self) {
        lock(&self.tokens).access.clear();
    }

    fn scopes(&self, token: &str) -> Option<Vec<Scope>> {
        let mut tokens = lock(&self.tokens);
        let now = Instant::now();
        tokens.access.retain(|_, grant| grant.expires > now);
        tokens.access.get(token).map(|grant| grant.scopes.clone())
    }

    fn issue(&self, scopes: Vec<Scope>, lifetime: Duration) -> io::Result<String> {
        let token = nonce()?;
        let grant = Grant { scopes, expires: Instant::now() + lifetime };
        lock(&self.tokens).access.insert(token.clone(), grant);
        Ok(token)
    }

    fn issue_refresh(&self) -> io::Result<String> {
        let token = nonce()?;
        lock(&self.tokens).refresh.insert(token.clone());
        Ok(token)
    }

    fn is_refresh(&self, token: &str) -> bool {
        lock(&self.tokens).refresh.contains(token)
    }
}

/// The account in an `Authorization: Basic` header.
fn basic(headers: &HeaderMap) -> Option<Account> {
    let decoded = BASE64.decode(credentials(headers, "Basic")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(username, password)| Account::new(username, password))
}

/// The token in an `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    credentials(headers, "Bearer")
}

fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let (given, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then_some(rest.trim())
}

/// The name of this registry in challenges.
const SERVICE: &str = "registry";
