//! What an index-only layer needs of a tar.

use std::io::Read;

use crate::oci_tar::{TarEntry, TarReader};
use crate::{Limits, Result};

/// The entries of a tar, with the places of their contents.
#[derive(Debug)]
pub struct TarIndex {
    pub(super) entries: Vec<TarEntry>,
}

impl TarIndex {
    /// Reads a tar to the end of its archive, where `tar` is left.
    ///
    /// # Errors
    ///
    /// As [`TarReader::next_entry`]; [`Error::Limit`](crate::Error::Limit).
    pub fn read(tar: impl Read, limits: &Limits) -> Result<Self> {
        let mut reader = TarReader::new(tar, limits);
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            entries.push(entry);
        }
        Ok(Self { entries })
    }
}
