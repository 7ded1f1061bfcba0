//! Descriptors: what a manifest says of the bytes it refers to.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Digest, Error, ErrorKind, Platform, Result};

/// Annotations of a manifest or descriptor.
pub type Annotations = BTreeMap<String, String>;

/// A typed, sized and named piece of content (OCI image-spec "Content Descriptors").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Descriptor {
    /// Media type of the content.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// What the content is, if it is a manifest that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The platform that the content is for, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Annotations; of a listed referrer, those of its manifest.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
}

impl Descriptor {
    /// A descriptor of `size` bytes with neither platform nor annotations.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            artifact_type: None,
            platform: None,
            annotations: Annotations::new(),
        }
    }

    /// The descriptor of `bytes`, named by SHA-256.
    pub fn of(media_type: impl Into<String>, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256_of(bytes), bytes.len() as u64)
    }

    /// The same descriptor with these annotations.
    #[must_use]
    pub fn with_annotations(mut self, annotations: Annotations) -> Self {
        self.annotations = annotations;
        self
    }

    /// The value of one annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// Checks that `bytes` have the size and the digest that this descriptor promises.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Integrity`], at `place`, if they do not.
    pub(crate) fn verify(&self, bytes: &[u8], place: &str) -> Result<()> {
        expect("size", &self.size.to_string(), &bytes.len().to_string(), place)?;
        self.digest.verify(bytes, place)
    }
}

/// Checks one property against the value that was promised for it.
pub(crate) fn expect(what: &'static str, expected: &str, actual: &str, place: &str) -> Result<()> {
    if expected == actual {
        return Ok(());
    }
    let quote = crate::error::printable;
    Err(Error::new(ErrorKind::Integrity { what, expected: quote(expected), actual: quote(actual) }, place))
}

/// `null` read as an absent field: several writers emit it for an empty map or list.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
