//! References: the names people give images.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Digest, Error, Result};

/// A repository: the host of a registry and a path on it.
///
/// Credentials, tokens and pins belong to a repository. The host is the one people write:
/// `docker.io`, whose API is served by another host, see [`api_host`](Self::api_host).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    host: Arc<str>,
    path: Arc<str>,
}

/// A manifest in a repository, by tag, by digest or by both.
///
/// The grammar is `[host[:port]/]path[:tag][@digest]`. Without a host it is Docker Hub's, where a path
/// of one component is below `library/`; with neither tag nor digest the tag is `latest`. If there is
/// a digest, it decides which manifest is meant, and the tag is kept for display.
///
/// ```
/// use referrers::Reference;
///
/// let reference: Reference = "ubuntu".parse()?;
/// assert_eq!(reference.to_string(), "docker.io/library/ubuntu:latest");
/// assert_eq!(reference.repository().api_host(), "registry-1.docker.io");
/// # Ok::<_, referrers::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    repository: Repository,
    tag: Option<Arc<str>>,
    digest: Option<Digest>,
}

impl Repository {
    /// A repository from its host (`host`, `host:port` or `[v6]:port`) and path.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if either is not well-formed, or the name is
    /// longer than 255 characters.
    pub fn new(host: &str, path: &str) -> Result<Self> {
        let name = format!("{host}/{path}");
        if name.len() > MAX_NAME {
            return Err(Error::invalid("repository", &name, "longer than 255 characters"));
        }
        let host = parse_host(host).ok_or_else(|| Error::invalid("registry host", &name, "not a host"))?;
        check_path(path).map_err(|why| Error::invalid("repository path", &name, why))?;
        Ok(Self { host: host.into(), path: path.into() })
    }

    /// The registry's host with its port, as written in references.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host with port that serves the registry's API.
    pub fn api_host(&self) -> &str {
        if &*self.host == DOCKER_HUB { DOCKER_HUB_API } else { &self.host }
    }

    /// The path, without a leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The reference to `digest` in this repository.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { repository: self.clone(), tag: None, digest: Some(digest) }
    }

    /// The reference to `tag` in this repository.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `tag` is not a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Reference> {
        check_tag(tag).map_err(|why| Error::invalid("tag", tag, why))?;
        Ok(Reference { repository: self.clone(), tag: Some(tag.into()), digest: None })
    }
}

impl Reference {
    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if there is one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What stands after `/manifests/` in a URL.
    pub(crate) fn selector(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => DEFAULT_TAG,
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        // A colon after the last slash starts a tag; one before it belongs to the host's port.
        let path_start = name.rfind('/').map_or(0, |slash| slash.saturating_add(1));
        let (name, tag) = match name.get(path_start..).and_then(|last| last.split_once(':')) {
            Some((last, tag)) => {
                let end = path_start.saturating_add(last.len());
                (name.get(..end).unwrap_or(name), Some(tag))
            }
            None => (name, None),
        };
        if let Some(tag) = tag {
            check_tag(tag).map_err(|why| Error::invalid("reference", text, why))?;
        }
        let (host, path) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest.to_owned()),
            _ => (DOCKER_HUB, name.to_owned()),
        };
        let host = if host == DOCKER_HUB_ALIAS { DOCKER_HUB } else { host };
        let path = if host == DOCKER_HUB && !path.contains('/') { format!("library/{path}") } else { path };
        let repository = Repository::new(host, &path)?;
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG),
            (tag, _) => tag,
        };
        Ok(Self { repository, tag: tag.map(Into::into), digest })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether the first component of a reference is a host rather than the start of a path.
fn is_host(component: &str) -> bool {
    component == "localhost" || component.contains(['.', ':', '['])
}

/// The host in canonical form: lower case, an IPv6 address in brackets, a port without leading zeros.
fn parse_host(text: &str) -> Option<String> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (format!("[{address}]"), port)
        }
        None => {
            let (name, port) = match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            };
            name.split('.').all(is_label).then(|| (name.to_ascii_lowercase(), port))?
        }
    };
    match port {
        None => Some(name),
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
            Some(format!("{name}:{port}"))
        }
        Some(_) => None,
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.split('/').all(is_path_component) {
        Ok(())
    } else {
        Err("a component is not lower-case letters and digits joined by '.', '_', '__' or dashes")
    }
}

fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut separators = component.split(|c: char| c.is_ascii() && alphanumeric(c as u8)).peekable();
    // Between two letters or digits stands nothing or a separator; at both ends stands nothing.
    let ends = separators.next() == Some("") && component.bytes().last().is_some_and(alphanumeric);
    ends && separators.all(|s| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let valid = tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'));
    if valid {
        Ok(())
    } else {
        Err("a tag is 1 to 128 letters, digits, '_', '.' or '-', not starting with '.' or '-'")
    }
}

const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_ALIAS: &str = "index.docker.io";
const DOCKER_HUB_API: &str = "registry-1.docker.io";
const DEFAULT_TAG: &str = "latest";
/// OCI distribution-spec: many clients limit host and name together to this many characters.
const MAX_NAME: usize = 255;
/// OCI distribution-spec, "Pulling manifests": the tag grammar.
const MAX_TAG: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_names_are_completed() {
        let digest = Digest::sha256_of(b"");
        for (text, whole) in [
            ("a", "docker.io/library/a:latest".to_owned()),
            ("a/b:1", "docker.io/a/b:1".to_owned()),
            ("docker.io/a", "docker.io/library/a:latest".to_owned()),
            ("index.docker.io/a/b", "docker.io/a/b:latest".to_owned()),
            ("localhost/a", "localhost/a:latest".to_owned()),
            ("localhost:5000/a:t", "localhost:5000/a:t".to_owned()),
            (
                "Registry.Example.COM/a/b__c---d.e:T_1.x-",
                "registry.example.com/a/b__c---d.e:T_1.x-".to_owned(),
            ),
            ("[::1]:5000/a/b", "[::1]:5000/a/b:latest".to_owned()),
            ("[2001:DB8::0]/a", "[2001:db8::]/a:latest".to_owned()),
            (&format!("h.io/a@{digest}"), format!("h.io/a@{digest}")),
            (&format!("h.io:1/a:t@{digest}"), format!("h.io:1/a:t@{digest}")),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), whole, "{text}");
            assert_eq!(whole.parse::<Reference>().unwrap(), reference, "{whole}");
        }
    }

    #[test]
    fn what_is_not_a_reference_is_refused() {
        let long = format!("h.io/{}", "a".repeat(251));
        for text in [
            "",
            ":",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a:",
            "a:.t",
            "a@",
            "a@sha256:1",
            "a b",
            "a\n",
            "h.io/",
            "h.io/../a",
            "h.io/a/..",
            "h.io:0/a",
            "h.io:65536/a",
            "h.io:+1/a",
            "h.io:/a",
            "-h.io/a",
            "h..io/a",
            "[::1/a",
            "[::g]/a",
            "[::1]x/a",
            "[::1]:/a",
            "http://h.io/a",
            "u:p@h.io/a",
            "a___b",
            "a.-b",
            "_a",
            "a-",
            "h.io/a?x",
            "h.io/a#x",
            "é",
            "h.io/a%2fb",
            &long,
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
        assert!(format!("a:{}", "t".repeat(128)).parse::<Reference>().is_ok());
        assert!(format!("a:{}", "t".repeat(129)).parse::<Reference>().is_err());
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_display_parses_to_the_same(text in "[a-zA-Z0-9._/:@\\[\\]é-]{0,80}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
            }
        }
    }
}
