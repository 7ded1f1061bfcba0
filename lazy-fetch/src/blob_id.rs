//! The name of a blob, safe to use as a file name.

use std::fmt;
use std::sync::Arc;

use crate::{Error, ErrorKind, Result};

/// What a blob is cached under, usually its digest.
///
/// The id stands for the bytes: whoever opens two blobs under one id gets the bytes of either, so
/// it must come from the content or from a name that is never used again for other content.
///
/// Ids come from manifests and command lines. Only letters, digits and `. _ : + = -` are accepted, the
/// first one a letter or digit, at most 200 of them: no id leaves the directory of a store.
///
/// A blob that is read with a [`Verifier`](crate::Verifier) is in memory under an id of its own, which looks the same and
/// is not equal: what was never checked must not be taken for what was.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobId {
    name: Arc<str>,
    is_verified: bool,
}

impl BlobId {
    /// Checks and takes an id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it is empty, too long, or has a character that is not accepted.
    pub fn new(id: impl AsRef<str>) -> Result<Self> {
        let id = id.as_ref();
        let accepted = id.len() <= MAX_LEN
            && id.starts_with(|c: char| c.is_ascii_alphanumeric())
            && id.chars().all(|c| c.is_ascii_alphanumeric() || "._:+=-".contains(c));
        if accepted {
            Ok(Self { name: id.into(), is_verified: false })
        } else {
            Err(Error::new(
                ErrorKind::InvalidInput,
                "a blob id is 1 to 200 letters, digits or . _ : + = - and starts with a letter or digit",
            ))
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The id of the same blob among those that are checked.
    pub(crate) fn verified(&self) -> Self {
        Self { name: Arc::clone(&self.name), is_verified: true }
    }

    /// The id that everybody knows.
    pub(crate) fn plain(&self) -> Self {
        Self { name: Arc::clone(&self.name), is_verified: false }
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Leaves room for a suffix below the 255 bytes that file systems allow a name.
const MAX_LEN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_and_names_pass() {
        for id in ["sha256:0123abcdef", "layer-1.data", "a"] {
            assert_eq!(BlobId::new(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn nothing_that_could_leave_a_directory_passes() {
        let long = "a".repeat(201);
        for id in ["", ".", "..", "../x", "a/b", "/etc", "a\0b", ".hidden", "ä", "a b", "a\\b", &long] {
            assert!(BlobId::new(id).is_err(), "{id:?}");
        }
    }
}
