//! Digests: the names of immutable bytes.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

use crate::{Error, ErrorKind, Result};

/// A content digest, `algorithm:hex`, as OCI image-spec "Descriptors" defines it.
///
/// Only registered algorithms with lower-case hex of the right length exist as a value of this type,
/// so a digest can be put into a URL or a file name as it is. Ordered as text.
///
/// ```
/// use referrers::Digest;
///
/// let digest = Digest::sha256_of(b"{}");
/// assert!(digest.as_str().starts_with("sha256:44136fa355b3678a"));
/// assert!("sha256:ABC".parse::<Digest>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Arc<str>);

/// The hash function of a [`Digest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-256, 64 hex digits.
    Sha256,
    /// SHA-512, 128 hex digits.
    Sha512,
}

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn sha256_of(bytes: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, bytes)
    }

    /// The digest of `bytes` by `algorithm`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        if self.0.starts_with("sha512:") { Algorithm::Sha512 } else { Algorithm::Sha256 }
    }

    /// The part after the colon.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks that `bytes` are the ones that this digest names.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Integrity`], at `place`, if they are not.
    pub(crate) fn verify(&self, bytes: &[u8], place: &str) -> Result<()> {
        let actual = Self::of(self.algorithm(), bytes);
        if actual == *self {
            return Ok(());
        }
        let kind =
            ErrorKind::Integrity { what: "digest", expected: self.to_string(), actual: actual.to_string() };
        Err(Error::new(kind, place))
    }
}

/// Computes a digest piece by piece.
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        let (algorithm, hex) = match self {
            Self::Sha256(hasher) => (Algorithm::Sha256, hex(&hasher.finalize())),
            Self::Sha512(hasher) => (Algorithm::Sha512, hex(&hasher.finalize())),
        };
        Digest(format!("{}:{hex}", algorithm.name()).into())
    }
}

impl Algorithm {
    /// The name as it is written before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |why| Error::invalid("digest", text, why);
        let (name, hex) = text.split_once(':').ok_or_else(|| invalid("no colon"))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(invalid("algorithm is neither sha256 nor sha512")),
        };
        if hex.len() != algorithm.hex_len() {
            return Err(invalid("wrong number of hex digits"));
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid("not lower-case hex"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|e: Error| serde::de::Error::custom(e.kind()))
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_algorithms_name_their_bytes() {
        let sha256 = Digest::of(Algorithm::Sha256, b"");
        assert_eq!(
            sha256.as_str(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let sha512 = Digest::of(Algorithm::Sha512, b"");
        assert!(sha512.hex().starts_with("cf83e1357eefb8bdf1542850d66d8007"));
        assert_eq!(sha512.algorithm(), Algorithm::Sha512);
        for digest in [sha256, sha512] {
            assert_eq!(digest.as_str().parse::<Digest>().unwrap(), digest);
            digest.verify(b"", "here").unwrap();
            let error = digest.verify(b"x", "here").unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Integrity { .. }), "{error}");
        }
    }

    #[test]
    fn what_is_not_exactly_a_digest_is_refused() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [
            String::new(),
            hex.to_owned(),
            format!("md5:{}", &hex[..32]),
            format!("SHA256:{hex}"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}0"),
            format!("sha512:{hex}"),
            format!("sha256:{hex}\n"),
            format!("sha256:../{}", &hex[3..]),
            format!("sha256:{}\0", &hex[1..]),
            format!("sha256:é{}", &hex[2..]),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text:?}");
        }
    }
}
