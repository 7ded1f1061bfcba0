//! Whether a layer takes writes.

use crate::{Error, Result};

/// The state of a writable layer.
#[derive(Debug, Default)]
pub(super) enum State {
    #[default]
    Open,
    Sealed,
    /// The medium failed to sync. It may have dropped what it had not written, and no later sync
    /// would tell; so nothing is acknowledged any more.
    Failed(Error),
}

impl State {
    /// Whether a write may go on.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Open => Ok(()),
            Self::Sealed => Err(Error::ReadOnly { what: "a sealed layer" }),
            Self::Failed(error) => Err(error.clone()),
        }
    }

    /// Whether a flush may go on. A sealed layer has nothing to flush once it is sealed, and is
    /// flushed while it is being sealed.
    pub(super) fn check_flush(&self) -> Result<()> {
        match self {
            Self::Open | Self::Sealed => Ok(()),
            Self::Failed(error) => Err(error.clone()),
        }
    }

    pub(super) fn seal(&mut self) -> Result<()> {
        self.check()?;
        *self = Self::Sealed;
        Ok(())
    }

    pub(super) fn open(&mut self) {
        if matches!(self, Self::Sealed) {
            *self = Self::Open;
        }
    }

    /// Records `error` and returns it.
    pub(super) fn fail(&mut self, error: Error) -> Error {
        *self = Self::Failed(error.clone());
        error
    }
}
