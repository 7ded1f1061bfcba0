//! Pins: which accelerated image to use for a base image, said beforehand.
//!
//! ```text
//!   # comment
//!   sha256:<base manifest or index>  sha256:<accelerated manifest or index>
//! ```

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::Path;

use crate::{Digest, Error, ErrorKind, Result};

/// Accelerated images by the base images that they are to be used for.
///
/// A pin is an order: if the pinned image cannot be used, the base image is, and no other accelerated one.
/// Both are in the repository of the reference, so one set of pins serves all repositories.
///
/// ```
/// use referrers::{Digest, Pins};
///
/// let (base, accelerated) = (Digest::sha256_of(b"base"), Digest::sha256_of(b"accelerated"));
/// let pins = Pins::default().with(base.clone(), accelerated.clone());
/// assert_eq!(pins.to_string().parse::<Pins>()?, pins);
/// assert_eq!(pins.get(&base), Some(&accelerated));
/// # Ok::<_, referrers::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins(BTreeMap<Digest, Digest>);

impl Pins {
    /// Reads a pin file: a line for each pin with the digest of the base image's manifest or index and that
    /// of the accelerated image, and lines that are empty or start with `#`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::File`] if it cannot be read, [`ErrorKind::Limit`] above 4 MiB,
    /// [`ErrorKind::Invalid`] if a line is something else or two pin one image.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let place = path.display().to_string();
        let unreadable =
            |error| Error::new(ErrorKind::File { what: "pin file" }, place.clone()).because(error);
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut text = String::new();
        file.take(MAX_FILE.saturating_add(1)).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MAX_FILE {
            let kind = ErrorKind::Limit { what: "pin file size in bytes", limit: MAX_FILE };
            return Err(Error::new(kind, place));
        }
        Self::parse(&text, &place)
    }

    /// Uses `accelerated` for the base image `base`, a manifest or an index.
    #[must_use]
    pub fn with(mut self, base: Digest, accelerated: Digest) -> Self {
        self.0.insert(base, accelerated);
        self
    }

    /// What is to be used for `base`.
    pub fn get(&self, base: &Digest) -> Option<&Digest> {
        self.0.get(base)
    }

    fn parse(text: &str, place: &str) -> Result<Self> {
        let mut pins = BTreeMap::new();
        for (number, line) in (1u32..).zip(text.lines()) {
            let at = || format!("{place}, line {number}");
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let invalid = |why| Error::invalid("pin", &at(), why);
            let (base, accelerated) =
                line.split_once(char::is_whitespace).ok_or_else(|| invalid("a pin is two digests"))?;
            let digest = |text: &str| {
                text.trim().parse::<Digest>().map_err(|e| invalid("it holds what is no digest").because(e))
            };
            if pins.insert(digest(base)?, digest(accelerated)?).is_some() {
                return Err(invalid("the base image is pinned already"));
            }
        }
        Ok(Self(pins))
    }
}

impl std::str::FromStr for Pins {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text, "pins")
    }
}

impl fmt::Display for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(base, accelerated)| writeln!(f, "{base} {accelerated}"))
    }
}

/// Room for tens of thousands of pins.
const MAX_FILE: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blanks_are_passed_over_and_faults_have_a_line() {
        let [a, b] = [b"a", b"b"].map(|name| Digest::sha256_of(name));
        let pins: Pins = format!("# x\n\n  {a}\t {b} \n").parse().unwrap();
        assert_eq!(pins, Pins::default().with(a.clone(), b.clone()));
        for (text, line) in [
            (a.to_string(), 1),
            (format!("\n{a} {b} {b}"), 2),
            (format!("{a} {b}\n{a} {a}"), 2),
            (format!("{a} sha256:1"), 1),
        ] {
            let error = text.parse::<Pins>().unwrap_err().to_string();
            assert!(error.contains(&format!("line {line}")), "{error}");
        }
    }

    #[test]
    fn a_missing_pin_file_is_no_empty_one() {
        let error = Pins::read("/nonexistent/pins").unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::File { what: "pin file" });
    }
}
