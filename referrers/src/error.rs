//! What can go wrong between a reference and the manifest, blob or decision it stands for.
//!
//! An [`Error`] is a kind, the place it was found at and, where there is one, the error below it.
//! The place is a method with a host and path, or a repository with a digest; it never holds a query,
//! because registries redirect to URLs whose query is a signature.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::{Decision, Outcome, Stage};

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with the place it was found at; cheap to clone, so that several waiters can have it.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    place: Arc<str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong, in the classes that a caller handles differently.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Text given by the caller or found in a file is not what it should be.
    #[error("invalid {what}: {why}")]
    Invalid {
        /// What the text should have been, such as `"digest"`.
        what: &'static str,
        /// The rule that it breaks.
        why: Cow<'static, str>,
    },

    /// The registry says that the thing does not exist, or hides it.
    #[error("{what} not found")]
    NotFound {
        /// `"manifest"`, `"blob"`, `"repository"` or `"image for the platform"`.
        what: &'static str,
    },

    /// Well-formed, but of a kind that this crate or the registry does not do.
    #[error("unsupported {what}: {value}")]
    Unsupported {
        /// The field, such as `"media type"`.
        what: &'static str,
        /// Its value.
        value: String,
    },

    /// No access.
    #[error("{0}")]
    Auth(AuthFailure),

    /// The registry wants fewer requests.
    #[error("rate limited by the registry")]
    RateLimited {
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },

    /// A status that means neither success nor one of the other kinds.
    #[error("status {status}{}", .code.as_deref().map(|c| format!(", code {c}")).unwrap_or_default())]
    Status {
        /// The HTTP status.
        status: u16,
        /// The code of the first entry of the registry's error list, cut to a harmless length.
        code: Option<String>,
    },

    /// The bytes are not the ones that were asked for.
    #[error("{what} is {actual}, expected {expected}")]
    Integrity {
        /// `"digest"`, `"size"` or `"media type"`.
        what: &'static str,
        /// The value asked for.
        expected: String,
        /// The value found.
        actual: String,
    },

    /// The answer contradicts the protocol or the format it claims to be in.
    #[error("broken {what}: {why}")]
    Protocol {
        /// The structure, such as `"manifest"`.
        what: &'static str,
        /// The field and the value that cannot be.
        why: Cow<'static, str>,
    },

    /// A size or count is over its limit.
    #[error("{what} is over the limit of {limit}")]
    Limit {
        /// The quantity with its unit, such as `"manifest size in bytes"`.
        what: &'static str,
        /// The limit in force.
        limit: u64,
    },

    /// A request was not sent because a safety rule forbids it.
    #[error("refused: {rule}")]
    Refused {
        /// The rule.
        rule: &'static str,
    },

    /// The deadline passed.
    #[error("no answer within {} ms", .after.as_millis())]
    Timeout {
        /// The time allowed.
        after: Duration,
    },

    /// The connection failed or broke.
    #[error("network failure")]
    Network,

    /// A local file, other than one that holds credentials, cannot be read or written.
    #[error("the {what} cannot be read or written")]
    File {
        /// The file's purpose, such as `"pin file"`.
        what: &'static str,
    },

    /// There is no accelerated image that may be used, and without one the image is not to be run.
    #[error("no accelerated image: {}", reasons(.decisions))]
    NoAcceleration {
        /// What each stage came to.
        decisions: Vec<Decision>,
    },

    /// A local file or helper that holds credentials cannot be read.
    #[error("credentials cannot be read")]
    Credentials,
}

/// Why there is no access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthFailure {
    /// Every credential was refused, or has too few rights.
    #[error("access denied")]
    Denied,
    /// The registry wants a credential and none is configured for the repository.
    #[error("no credential for this repository")]
    NoCredential,
    /// The registry names a token server that the credentials must not be sent to.
    #[error(
        "credentials are not sent to this token server; add it to the trusted realms if it belongs to the registry"
    )]
    RealmRefused,
    /// The registry asks in no scheme that this crate speaks.
    #[error("no supported authentication scheme")]
    UnsupportedScheme,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, place: impl Into<Arc<str>>) -> Self {
        Self { kind, place: place.into(), source: None }
    }

    pub(crate) fn invalid(what: &'static str, place: &str, why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid { what, why: why.into() }, printable(place))
    }

    pub(crate) fn protocol(
        place: impl Into<Arc<str>>,
        what: &'static str,
        why: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(ErrorKind::Protocol { what, why: why.into() }, place)
    }

    pub(crate) fn refused(place: impl Into<Arc<str>>, rule: &'static str) -> Self {
        Self::new(ErrorKind::Refused { rule }, place)
    }

    pub(crate) fn auth(place: impl Into<Arc<str>>, failure: AuthFailure) -> Self {
        Self::new(ErrorKind::Auth(failure), place)
    }

    pub(crate) fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Where: a method with host and path, a repository with a digest, or the text given.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether the same call may succeed later without anything being changed.
    pub fn is_transient(&self) -> bool {
        match &self.kind {
            ErrorKind::RateLimited { .. } | ErrorKind::Timeout { .. } | ErrorKind::Network => true,
            ErrorKind::NoAcceleration { decisions } => {
                decisions.iter().any(|decision| decision.outcome == Outcome::Failed)
            }
            ErrorKind::Status { status, .. } => matches!(status, 408 | 425 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// Whether the registry said that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self.kind, ErrorKind::NotFound { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.kind)?;
        let mut below = std::error::Error::source(self);
        while let Some(source) = below {
            write!(f, ": {source}")?;
            below = source.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error.kind {
            ErrorKind::Invalid { .. } => io::ErrorKind::InvalidInput,
            ErrorKind::NotFound { .. } | ErrorKind::NoAcceleration { .. } => io::ErrorKind::NotFound,
            ErrorKind::Unsupported { .. } => io::ErrorKind::Unsupported,
            ErrorKind::Auth(_) | ErrorKind::Refused { .. } => io::ErrorKind::PermissionDenied,
            ErrorKind::Integrity { .. } | ErrorKind::Protocol { .. } | ErrorKind::Limit { .. } => {
                io::ErrorKind::InvalidData
            }
            ErrorKind::Timeout { .. } => io::ErrorKind::TimedOut,
            ErrorKind::RateLimited { .. } => io::ErrorKind::ResourceBusy,
            ErrorKind::Status { .. }
            | ErrorKind::Network
            | ErrorKind::File { .. }
            | ErrorKind::Credentials => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// The decisions in one line, without that for the base image.
fn reasons(decisions: &[Decision]) -> String {
    let reasons = decisions.iter().filter(|decision| decision.stage != Stage::Base);
    reasons.map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Text from outside, fit for one line of an error: short and without control characters.
pub(crate) fn printable(text: &str) -> String {
    let mut out: String = text.chars().filter(|c| !c.is_control()).take(MAX_QUOTED).collect();
    if text.chars().nth(MAX_QUOTED).is_some() {
        out.push('…');
    }
    out
}

/// Longest piece of outside text that an error quotes, in characters.
const MAX_QUOTED: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_short_and_on_one_line() {
        let long = format!("a\nb\u{1b}[31m{}", "x".repeat(500));
        let quoted = printable(&long);
        assert!(quoted.starts_with("ab[31mxxx"));
        assert_eq!(quoted.chars().count(), MAX_QUOTED + 1);
    }

    #[test]
    fn only_conditions_that_pass_are_transient() {
        let status = |status| Error::new(ErrorKind::Status { status, code: None }, "GET h/p");
        assert!(status(503).is_transient());
        assert!(!status(501).is_transient());
        assert!(Error::new(ErrorKind::Network, "GET h/p").is_transient());
        assert!(!Error::auth("GET h/p", AuthFailure::Denied).is_transient());
    }
}
