//! What can go wrong between a remote blob and a caller's buffer.
//!
//! One fetch may serve many readers, so an error is cheap to clone: a kind to act on, the place it
//! happened at, a line that says why, and the cause below it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use crate::BlobId;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with the blob and the range it belongs to.
///
/// `Display` is one line that includes the causes below. It holds no header value and no query of
/// a URL, because both carry credentials; whoever makes an error keeps to that too.
#[derive(Debug, Clone)]
pub struct Error(Arc<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: ErrorKind,
    why: Cow<'static, str>,
    blob: Option<BlobId>,
    range: Option<Range<u64>>,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What a caller handles differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller asked for bytes beyond the end of the blob.
    OutOfBounds,
    /// An argument or option that cannot be.
    InvalidInput,
    /// The origin does not have the blob (any more).
    NotFound,
    /// The origin refuses these credentials.
    Denied,
    /// The origin asks for fewer requests. Transient.
    RateLimited,
    /// The origin says that it cannot answer now. Transient.
    Unavailable,
    /// No connection, or one that broke before the last byte. Transient.
    Connection,
    /// Nothing arrived for the stall timeout. Transient.
    Stalled,
    /// The deadline of the read passed. The cause says what kept it waiting, where that is known.
    DeadlineExceeded,
    /// The origin broke the rules of the protocol, so that its bytes cannot be told from wrong ones.
    Protocol,
    /// Bytes that do not match their digest, also after they were fetched again.
    Corrupt,
    /// The origin serves no ranges and the wanted one lies too far from the start.
    RangesUnsupported,
    /// The origin's blob has another size than the one stated when it was opened.
    SizeMismatch,
    /// A redirect or a URL that policy forbids to follow.
    Refused,
    /// A local file or directory failed.
    Storage,
    /// A blocking call inside an async context, where it could wait for itself.
    AsyncContext,
    /// The runtime dropped the fetch, as it does when it shuts down.
    Closed,
}

impl Error {
    /// An error of `kind`; `why` is one lower-case line without secrets.
    pub fn new(kind: ErrorKind, why: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            why: why.into(),
            blob: None,
            range: None,
            retry_after: None,
            source: None,
        }))
    }

    /// The same error, caused by `source`, whose `Display` must be free of secrets too.
    #[must_use]
    pub fn with_source(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.map(|inner| inner.source = Some(Arc::new(source)))
    }

    /// The same error, said of `range` of `blob`. The innermost place is kept.
    #[must_use]
    pub fn at(self, blob: &BlobId, range: Range<u64>) -> Self {
        if self.0.blob.is_some() {
            return self;
        }
        self.map(|inner| {
            inner.blob = Some(blob.plain());
            inner.range = Some(range);
        })
    }

    /// The same error, with the time after which the origin wants to be asked again.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        self.map(|inner| inner.retry_after = Some(wait))
    }

    /// The same error, with what was being done before its reason.
    #[cfg(feature = "http")]
    pub(crate) fn during(self, what: String) -> Self {
        self.map(|inner| inner.why = Cow::Owned(format!("{what}: {}", inner.why)))
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The blob it happened in, where one is known.
    pub fn blob(&self) -> Option<&BlobId> {
        self.0.blob.as_ref()
    }

    /// The range in bytes it happened at, where one is known.
    pub fn range(&self) -> Option<Range<u64>> {
        self.0.range.clone()
    }

    /// How long the origin asks to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the same request may succeed later without anything being changed.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::Connection | ErrorKind::Stalled
        )
    }

    fn map(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        change(&mut inner);
        Self(Arc::new(inner))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(blob) = &self.0.blob {
            write!(f, "blob {blob}, ")?;
        }
        if let Some(range) = &self.0.range {
            write!(f, "bytes {}..{}: ", range.start, range.end)?;
        }
        f.write_str(&self.0.why)?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            // An error of this type has written its own causes already.
            cause = if error.is::<Self>() { None } else { error.source() };
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::OutOfBounds | ErrorKind::InvalidInput => io::ErrorKind::InvalidInput,
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::Denied | ErrorKind::Refused => io::ErrorKind::PermissionDenied,
            ErrorKind::Stalled | ErrorKind::DeadlineExceeded => io::ErrorKind::TimedOut,
            ErrorKind::Protocol | ErrorKind::SizeMismatch | ErrorKind::Corrupt => io::ErrorKind::InvalidData,
            ErrorKind::RangesUnsupported => io::ErrorKind::Unsupported,
            ErrorKind::RateLimited
            | ErrorKind::Unavailable
            | ErrorKind::Connection
            | ErrorKind::Storage
            | ErrorKind::AsyncContext
            | ErrorKind::Closed => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_with_place_and_causes() {
        let blob = BlobId::new("sha256:ab").unwrap();
        let inner = Error::new(ErrorKind::Connection, "the body ended")
            .with_source(io::Error::other("reset"))
            .at(&blob, 5..9);
        let outer = Error::new(ErrorKind::DeadlineExceeded, "out of time").with_source(inner.clone());
        assert_eq!(inner.to_string(), "blob sha256:ab, bytes 5..9: the body ended: reset");
        assert_eq!(outer.to_string(), format!("out of time: {inner}"));
    }

    #[test]
    fn the_innermost_place_is_kept() {
        let (a, b) = (BlobId::new("a").unwrap(), BlobId::new("b").unwrap());
        let error = Error::new(ErrorKind::Protocol, "x").at(&a, 0..1).at(&b, 2..3);
        assert_eq!((error.blob(), error.range()), (Some(&a), Some(0..1)));
    }
}
