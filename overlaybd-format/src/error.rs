//! What can go wrong between stored bytes and a caller's buffer.
//!
//! The variants keep apart what a caller handles differently: bytes that contradict the format
//! ([`Error::Broken`], [`Error::Checksum`]), well-formed bytes that this crate does not read
//! ([`Error::Unsupported`], [`Error::Limit`]), a caller's mistake ([`Error::OutOfBounds`]) and the
//! storage below ([`Error::Io`]).

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with the place it was found at; cheap to clone, so that several waiters can have it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes contradict the format they claim to be in.
    #[error("broken {what} at byte {at}: {why}")]
    Broken {
        /// The structure, such as `"LSMT trailer"`.
        what: &'static str,
        /// Where it starts, in bytes of the stream it is stored in.
        at: u64,
        /// The field and the value that cannot be.
        why: Cow<'static, str>,
    },

    /// A checksum that the format carries does not match the bytes it covers.
    #[error("checksum mismatch in {what} at byte {at}: stored {stored:#010x}, computed {computed:#010x}")]
    Checksum {
        /// The structure, such as `"ZFile block"`.
        what: &'static str,
        /// Where it starts, in bytes of the stream it is stored in.
        at: u64,
        /// The checksum as stored.
        stored: u32,
        /// The checksum of the bytes as read.
        computed: u32,
    },

    /// Well-formed, but of a kind that this crate does not read.
    #[error("unsupported {what}: {value}")]
    Unsupported {
        /// The field, such as `"ZFile algorithm"`.
        what: &'static str,
        /// Its value.
        value: u64,
    },

    /// A value exceeds a limit of [`Limits`](crate::Limits).
    #[error("{what} is {value}, over the limit of {limit}")]
    Limit {
        /// The quantity, such as `"segments in a layer"`.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The limit in force.
        limit: u64,
    },

    /// An index-only layer was opened without the blob that holds the contents of its files; see
    /// [`LayerBlob::with_target`](crate::LayerBlob::with_target).
    #[error("an index-only layer without its target")]
    MissingTarget,

    /// The caller asked for bytes beyond the end.
    #[error("{len} bytes at {offset} are out of bounds of {size} bytes")]
    OutOfBounds {
        /// First byte asked for.
        offset: u64,
        /// Number of bytes asked for.
        len: u64,
        /// Size of what was read, in bytes.
        size: u64,
    },

    /// A write that a layer cannot take.
    #[error("cannot write {len} bytes at {offset}: {why}")]
    InvalidWrite {
        /// First byte of the write.
        offset: u64,
        /// Number of bytes of the write.
        len: u64,
        /// The rule it breaks.
        why: &'static str,
    },

    /// What cannot be changed was to be changed.
    #[error("{what} cannot be changed")]
    ReadOnly {
        /// What it is, such as `"a sealed layer"`.
        what: &'static str,
    },

    /// An operation on a layer or device that its present state does not admit.
    #[error("cannot {operation}: {why}")]
    Refused {
        /// The operation.
        operation: &'static str,
        /// What is in its way.
        why: &'static str,
    },

    /// The storage below failed.
    #[error("{op} {len} bytes at {offset}: {source}")]
    Io {
        /// `"reading"`, `"writing"`, `"syncing"` and so on.
        op: &'static str,
        /// First byte of the transfer.
        offset: u64,
        /// Number of bytes of the transfer.
        len: u64,
        /// What the storage said.
        source: Arc<io::Error>,
    },

    /// An error inside a named blob.
    #[error("{blob}: {source}")]
    InBlob {
        /// The name the embedder gave the blob: a digest or a path.
        blob: Arc<str>,
        /// What is wrong in it.
        source: Box<Error>,
    },
}

impl Error {
    /// An [`Error::Io`] for a read of `len` bytes at `offset`.
    pub fn io(offset: u64, len: usize, source: impl Into<io::Error>) -> Self {
        Self::Io { op: "reading", offset, len: len as u64, source: Arc::new(source.into()) }
    }

    pub(crate) fn write_io(offset: u64, len: usize, source: io::Error) -> Self {
        Self::Io { op: "writing", offset, len: len as u64, source: Arc::new(source) }
    }

    /// The same error, said of the blob `name`. The innermost name is kept.
    #[must_use]
    pub fn in_blob(self, name: &Arc<str>) -> Self {
        match self {
            Self::InBlob { .. } => self,
            source => Self::InBlob { blob: Arc::clone(name), source: Box::new(source) },
        }
    }

    /// The error below any [`Error::InBlob`].
    pub fn root(&self) -> &Self {
        match self {
            Self::InBlob { source, .. } => source.root(),
            other => other,
        }
    }

    pub(crate) fn broken(what: &'static str, at: u64, why: impl Into<Cow<'static, str>>) -> Self {
        Self::Broken { what, at, why: why.into() }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.root() {
            Error::Broken { .. } | Error::Checksum { .. } | Error::Limit { .. } => io::ErrorKind::InvalidData,
            Error::Unsupported { .. } => io::ErrorKind::Unsupported,
            Error::MissingTarget => io::ErrorKind::NotFound,
            Error::OutOfBounds { .. } | Error::InvalidWrite { .. } | Error::Refused { .. } => {
                io::ErrorKind::InvalidInput
            }
            Error::ReadOnly { .. } => io::ErrorKind::ReadOnlyFilesystem,
            Error::Io { source, .. } => source.kind(),
            Error::InBlob { .. } => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
