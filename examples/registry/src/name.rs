//! Repository names, tags and references, by the grammar of the OCI distribution specification.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::refusal::Refusal;

/// A repository name. The grammar leaves no room for `..`, an empty component or a leading
/// underscore, so a name is a safe relative path and never collides with the directory store's own
/// folders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Repository(Box<str>);

impl Repository {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Repository {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        if text.len() <= NAME_MAX && text.split('/').all(is_component) {
            Ok(Self(text.into()))
        } else {
            Err(Refusal::name_invalid())
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tag(Box<str>);

impl Tag {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let first = text.bytes().next().is_some_and(word);
        let rest = text.bytes().skip(1).all(|byte| word(byte) || byte == b'.' || byte == b'-');
        if first && rest && text.len() <= TAG_MAX {
            Ok(Self(text.into()))
        } else {
            Err(Refusal::tag_invalid())
        }
    }
}

/// What names a manifest inside a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    Tag(Tag),
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = Refusal;

    /// A colon decides, because no tag holds one.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        if text.contains(':') {
            text.parse().map(Self::Digest).map_err(|_| Refusal::digest_invalid(text))
        } else {
            text.parse().map(Self::Tag)
        }
    }
}

/// Runs of `[a-z0-9]` joined by one of `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let joiner = |text: &str| matches!(text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && text.split(alphanumeric).filter(|between| !between.is_empty()).all(joiner)
}

/// Longest repository name, in bytes; clients commonly cap host and name together at this length.
const NAME_MAX: usize = 255;

/// Longest tag, in bytes.
const TAG_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_grammar() {
        for good in ["a", "a/b", "library/nginx", "a.b_c__d---e/0", "a/b/c/d/e/f/g/h"] {
            assert!(good.parse::<Repository>().is_ok(), "{good}");
        }
        for bad in
            ["", "/", "a/", "/a", "a//b", "A", "a/../b", "..", "_a", "a_", "a..b", "a___b", "a._b", "ä"]
        {
            assert!(bad.parse::<Repository>().is_err(), "{bad}");
        }
        assert!("a".repeat(255).parse::<Repository>().is_ok());
        assert!("a".repeat(256).parse::<Repository>().is_err());
    }

    #[test]
    fn tag_grammar() {
        for good in ["latest", "_", "1.0-rc.1", "A_b"] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "a/b", "a b", "ä"] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
        assert!("a".repeat(128).parse::<Tag>().is_ok());
        assert!("a".repeat(129).parse::<Tag>().is_err());
    }
}
