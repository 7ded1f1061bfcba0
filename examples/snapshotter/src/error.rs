//! What a request can fail with, in the terms that containerd tells failures apart by.

use std::io;

use examples::one_line::one_line;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no snapshot of this name.
    #[error("snapshot {0}: not found")]
    NotFound(String),
    /// There is a snapshot of this name, or what was to be unpacked is here already.
    #[error("snapshot {0}: already exists")]
    AlreadyExists(String),
    /// The snapshot is not in the state that the request needs.
    #[error("snapshot {name}: {why}")]
    FailedPrecondition {
        /// The snapshot.
        name: String,
        /// What it is or is not.
        why: &'static str,
    },
    /// The request asks for what there is not.
    #[error("{0}")]
    InvalidArgument(String),
    /// The rootfs of a lazy snapshot could not be mounted. Another try may find the registry back.
    #[error("rootfs of snapshot {name}: {}", one_line(.source))]
    Rootfs {
        /// The lazy snapshot.
        name: String,
        /// What went wrong.
        source: anyhow::Error,
    },
    /// The state directory failed.
    #[error("{what}: {source}")]
    Disk {
        /// What was being done, and where.
        what: String,
        /// What the system says.
        source: io::Error,
    },
}

/// The result of a request.
pub type Result<T> = std::result::Result<T, Error>;

/// Says of an I/O error what was being done.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Disk { what: what(), source })
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::NotFound(_) => tonic::Code::NotFound,
            Error::AlreadyExists(_) => tonic::Code::AlreadyExists,
            Error::FailedPrecondition { .. } => tonic::Code::FailedPrecondition,
            Error::InvalidArgument(_) => tonic::Code::InvalidArgument,
            Error::Rootfs { .. } => tonic::Code::Unavailable,
            Error::Disk { .. } => tonic::Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}
