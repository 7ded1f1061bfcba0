//! The `auths` of a credential file: which entries apply to a repository, and what they hold.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::cmp::Reverse;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use serde::Deserialize;

use crate::{Credential, Error, Repository, Result, Secret};

/// Entries by key.
///
/// A key is a host with an optional port and path. It applies to a repository whose host is equal and whose
/// path starts with the key's path in whole components. A `*` in the key's host stands for any text within
/// one label. Schemes, a trailing `/v1/` or `/v2/` and Docker Hub's other names are understood.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Auths(BTreeMap<String, Entry>);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// How well a key applies; the greater the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    /// How many components of the path the key names.
    components: usize,
    /// Whether the host is named without `*`.
    exact: bool,
}

impl Auths {
    /// The credentials that apply to `repository`, those with the longest key first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`](crate::ErrorKind::Protocol), at `place`, if an entry that applies cannot be
    /// read.
    pub(crate) fn for_repository(&self, repository: &Repository, place: &str) -> Result<Vec<Credential>> {
        let mut fitting: Vec<_> =
            self.0.iter().filter_map(|(key, entry)| Some((fit(key, repository)?, key, entry))).collect();
        fitting.sort_by_key(|(fit, key, _)| (Reverse(*fit), *key));
        let mut credentials = Vec::new();
        for (_, key, entry) in fitting {
            let key = crate::error::printable(key);
            let credential = entry
                .credential()
                .map_err(|why| Error::protocol(format!("{place}: {key}"), "credential", why))?;
            credentials.extend(credential.filter(|credential| !credentials.contains(credential)));
        }
        Ok(credentials)
    }
}

/// Whether `key` applies to `repository` at all.
pub(crate) fn applies(key: &str, repository: &Repository) -> bool {
    fit(key, repository).is_some()
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>, &'static str> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credential::Token(Secret::new(&*self.registrytoken))));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::IdentityToken(Secret::new(&*self.identitytoken))));
        }
        let pair = self.decoded()?;
        let plain = (!self.username.is_empty()).then(|| (self.username.clone(), self.password.clone()));
        match (pair, plain) {
            (Some(pair), Some(plain)) if pair != plain => Err("auth and username with password disagree"),
            (pair, plain) => Ok(pair
                .or(plain)
                .filter(|(_, password)| !password.is_empty())
                .map(|(username, password)| Credential::of_login(username, password))),
        }
    }

    /// User and password from the field `auth`.
    fn decoded(&self) -> Result<Option<(String, String)>, &'static str> {
        if self.auth.is_empty() {
            return Ok(None);
        }
        let bytes = LENIENT.decode(self.auth.trim()).map_err(|_| "auth is not base64")?;
        let text = String::from_utf8(bytes).map_err(|_| "auth is not UTF-8")?;
        let (username, password) = text.split_once(':').ok_or("auth has no colon")?;
        Ok(Some((username.to_owned(), password.trim_end_matches('\0').to_owned())))
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").finish_non_exhaustive()
    }
}

fn fit(key: &str, repository: &Repository) -> Option<Fit> {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let host = host.to_ascii_lowercase();
    let host = if DOCKER_HUB_NAMES.contains(&&*host) { "docker.io" } else { &host };
    let exact = host == repository.host();
    if !exact && !glob_is(host, repository.host()) {
        return None;
    }
    if path.is_empty() {
        return Some(Fit { components: 0, exact });
    }
    let rest = repository.path().strip_prefix(path)?;
    (rest.is_empty() || rest.starts_with('/')).then(|| Fit { components: path.split('/').count(), exact })
}

/// Whether a host with `*` names `host`: label by label, with an equal port.
fn glob_is(pattern: &str, host: &str) -> bool {
    if !pattern.contains('*') {
        return false;
    }
    let split = |text: &'_ str| {
        text.rsplit_once(':').map_or((text.to_owned(), String::new()), |(h, p)| (h.into(), p.into()))
    };
    let ((pattern, pattern_port), (name, port)) = (split(pattern), split(host));
    pattern_port == port
        && pattern.split('.').count() == name.split('.').count()
        && pattern.split('.').zip(name.split('.')).all(|(pattern, label)| label_is(pattern, label))
}

/// Whether `label` is `pattern`, in which each `*` stands for any text.
fn label_is(pattern: &str, label: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = label.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Docker writes the padding, some other writers leave it out.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const DOCKER_HUB_NAMES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn users(text: &str, host: &str, path: &str) -> Vec<String> {
        let auths: Auths = serde_json::from_str(text).unwrap();
        let found = auths.for_repository(&Repository::new(host, path).unwrap(), "file").unwrap();
        found.into_iter().map(|credential| credential.name().to_owned()).collect()
    }

    const AUTHS: &str = r#"{
        "https://index.docker.io/v1/": {"username": "hub", "password": "p"},
        "r.example.com": {"username": "host", "password": "p"},
        "r.example.com/a": {"username": "short", "password": "p"},
        "r.example.com/a/b/": {"auth": "bG9uZzpwOnE"},
        "r.example.com:5000": {"registrytoken": "port"},
        "*.dkr.example.com": {"username": "glob", "password": "p"},
        "one.dkr.example.com": {"username": "one", "password": "p"},
        "*.azure.example.com/x": {"username": "globbed path", "password": "p"},
        "id.example.com": {"identitytoken": "id", "auth": "dTp4"},
        "azure.example.com": {"username": "<token>", "password": "refresh"},
        "helper.example.com": {}
    }"#;

    #[test]
    fn keys_apply_in_whole_components_the_longest_first() {
        for (host, path, expected) in [
            ("docker.io", "library/a", &["hub"][..]),
            ("r.example.com", "x", &["host"]),
            ("r.example.com", "a", &["short", "host"]),
            ("r.example.com", "ab", &["host"]),
            ("r.example.com", "a/bc", &["short", "host"]),
            ("r.example.com", "a/b/c", &["long", "short", "host"]),
            ("r.example.com:5000", "a/b", &["token"]),
            ("r.example.com:5001", "a/b", &[]),
            ("r.example.com.attacker.example.net", "a/b", &[]),
            ("example.com", "a/b", &[]),
            ("helper.example.com", "a", &[]),
            ("one.dkr.example.com", "a", &["one", "glob"]),
            ("two.dkr.example.com", "a", &["glob"]),
            ("a.two.dkr.example.com", "a", &[]),
            ("dkr.example.com", "a", &[]),
            ("two.dkr.example.com:443", "a", &[]),
            ("q.azure.example.com", "x/y", &["globbed path"]),
            ("q.azure.example.com", "xy", &[]),
            ("id.example.com", "a", &["identity token"]),
            ("azure.example.com", "a", &["identity token"]),
        ] {
            assert_eq!(users(AUTHS, host, path), expected, "{host}/{path}");
        }
    }

    #[test]
    fn the_password_is_everything_after_the_first_colon() {
        let auths: Auths = serde_json::from_str(AUTHS).unwrap();
        let found = auths.for_repository(&Repository::new("r.example.com", "a/b").unwrap(), "file").unwrap();
        assert_eq!(found[0], Credential::password("long", "p:q"));
    }

    #[test]
    fn contradictions_are_errors_without_secrets() {
        for text in [
            r#"{"h.io":{"auth":"dTpodW50ZXIy","username":"u","password":"other"}}"#,
            r#"{"h.io":{"auth":"***hunter2"}}"#,
            r#"{"h.io":{"auth":"hunter2"}}"#,
        ] {
            let auths: Auths = serde_json::from_str(text).unwrap();
            let repository = Repository::new("h.io", "a").unwrap();
            let error = auths.for_repository(&repository, "file").unwrap_err().to_string();
            assert!(!error.contains("hunter2") && error.contains("file: h.io"), "{error}");
            assert!(!format!("{auths:?}").contains("hunter2"));
            // An entry that does not apply does no harm.
            assert!(auths.for_repository(&Repository::new("o.io", "a").unwrap(), "file").unwrap().is_empty());
        }
    }

    proptest! {
        #[test]
        fn a_key_never_applies_to_a_longer_host(key in "[a-z*]{1,5}(\\.[a-z*]{1,5}){0,2}", tail in "[a-z]{1,5}") {
            let host = format!("{}.{tail}", key.replace('*', "x"));
            if let Ok(repository) = Repository::new(&host, "a") {
                prop_assert!(!applies(&key, &repository), "{} {}", key, host);
            }
        }

        #[test]
        fn each_star_stands_for_any_text(pieces in prop::collection::vec("[ab]{0,3}", 1..4), fill in "[ab]{0,3}") {
            prop_assert!(label_is(&pieces.join("*"), &pieces.join(&fill)));
        }
    }
}
