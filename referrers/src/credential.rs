//! Credentials: what proves to a registry who is asking.

use std::fmt;

use async_trait::async_trait;

use crate::{Repository, Result};

mod auths;
mod chain;
mod docker_config;
mod endpoint;
mod helper;
mod plugin;
mod process;
mod pull_secret;

#[cfg(fuzzing)]
pub(crate) use docker_config::{File as ConfigFile, Form};

pub use chain::Chain;
pub use docker_config::DockerConfig;
pub use endpoint::CredentialEndpoint;
pub use helper::CredentialHelper;
pub use plugin::CredentialPlugin;
pub use pull_secret::{PullSecret, PullSecrets};

/// Text that must not be shown: its `Debug` form hides it and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// A user and a password, sent as Basic authentication to the registry or its token server.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token that only a token server accepts, which makes others from it (OAuth 2.0 refresh token).
    IdentityToken(Secret),
    /// A token that the registry itself accepts, sent as Bearer authentication.
    Token(Secret),
}

impl Credential {
    /// A user and a password.
    pub fn password(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Password { username: username.into(), password: Secret::new(password) }
    }

    /// What files and helpers write as user and secret, where the user `<token>` says that the secret is an
    /// identity token.
    pub(crate) fn of_login(username: String, secret: String) -> Self {
        match username.as_str() {
            "<token>" => Self::IdentityToken(Secret::new(secret)),
            _ => Self::Password { username, password: Secret::new(secret) },
        }
    }

    #[cfg(test)]
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Password { username, .. } => username,
            Self::IdentityToken(_) => "identity token",
            Self::Token(_) => "token",
        }
    }
}

/// Why a credential is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// None is known for the repository, or the token made with it has expired.
    First,
    /// What was made from the last answer is refused: a source that caches should look again.
    Rejected,
}

/// Where credentials come from.
///
/// # Contract
///
/// * The answer is for exactly this repository: a credential for `registry.example.com` is no credential
///   for `registry.example.com.example.net` or for another port.
/// * Several credentials are tried in order. None at all means that the repository is read anonymously.
/// * A source is asked whenever a token is needed, days after the first time if need be, and may answer
///   with another credential each time. Concurrent calls are allowed.
/// * An error means that it is unknown whether there are credentials; it is reported, never taken as none.
#[async_trait]
pub trait CredentialSource: Send + Sync + fmt::Debug {
    /// The credentials for `repository`, the best first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Credentials`](crate::ErrorKind::Credentials) if the source cannot be read.
    async fn get(&self, repository: &Repository, reason: Reason) -> Result<Vec<Credential>>;
}

/// The same credentials for every repository of one registry; none for any other registry.
///
/// ```
/// use referrers::{Credential, StaticCredentials};
///
/// let source = StaticCredentials::new("registry.example.com", vec![Credential::password("user", "secret")]);
/// assert!(!format!("{source:?}").contains("secret\""));
/// ```
#[derive(Debug, Clone)]
pub struct StaticCredentials {
    host: String,
    credentials: Vec<Credential>,
}

impl StaticCredentials {
    /// Credentials for the registry whose references start with `host` (with its port).
    pub fn new(host: impl Into<String>, credentials: Vec<Credential>) -> Self {
        Self { host: host.into(), credentials }
    }
}

#[async_trait]
impl CredentialSource for StaticCredentials {
    async fn get(&self, repository: &Repository, _reason: Reason) -> Result<Vec<Credential>> {
        Ok(if repository.host() == self.host { self.credentials.clone() } else { Vec::new() })
    }
}

/// No credentials: everything is read anonymously.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

#[async_trait]
impl CredentialSource for Anonymous {
    async fn get(&self, _repository: &Repository, _reason: Reason) -> Result<Vec<Credential>> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_forms_hide_secrets() {
        let source = StaticCredentials::new("h.io", vec![Credential::password("user", "hunter2")]);
        let shown = format!("{source:?} {:?}", Credential::Token(Secret::new("hunter2")));
        assert!(shown.contains("user") && !shown.contains("hunter2"), "{shown}");
    }
}
