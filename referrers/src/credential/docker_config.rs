//! The `auths` of a Docker or Podman configuration file as a source of credentials.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use serde::Deserialize;

use crate::descriptor::null_is_default;
use crate::{Credential, CredentialSource, Error, ErrorKind, Reason, Repository, Result, Secret};

/// Credentials from the `auths` of a configuration file: Docker's `config.json`, Podman's `auth.json`, or
/// a mounted Kubernetes Secret of type `kubernetes.io/dockerconfigjson`.
///
/// The file is read again for every answer, so that a rotated Secret takes effect without a restart; it
/// is asked once per token, not once per request. A missing file holds no credentials.
///
/// A key is a host with an optional port and path. It applies to a repository whose host is equal and
/// whose path starts with the key's path in whole components; the longest key wins. Schemes, a trailing
/// `/v1/` or `/v2/` and Docker Hub's other names are understood. Entries that name only a credential
/// helper or an identity token hold nothing that this source can use.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    path: PathBuf,
}

impl DockerConfig {
    /// The file at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file that the `docker` command uses: `$DOCKER_CONFIG/config.json`, else
    /// `$HOME/.docker/config.json`; `None` if neither variable is set.
    pub fn of_user() -> Option<Self> {
        let directory = match std::env::var_os("DOCKER_CONFIG") {
            Some(directory) => PathBuf::from(directory),
            None => Path::new(&std::env::var_os("HOME")?).join(".docker"),
        };
        Some(Self::new(directory.join("config.json")))
    }

    fn read(&self) -> Result<File> {
        let place = self.path.display().to_string();
        let unreadable = || Error::new(ErrorKind::Credentials, place.clone());
        match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
            Err(error) => return Err(unreadable().because(error)),
            Ok(metadata) if metadata.len() > MAX_FILE => {
                let kind = ErrorKind::Limit { what: "credential file size in bytes", limit: MAX_FILE };
                return Err(Error::new(kind, place));
            }
            Ok(_) => {}
        }
        let text = std::fs::read(&self.path).map_err(|error| unreadable().because(error))?;
        // The parser's message could quote a secret; its position cannot.
        serde_json::from_slice(&text).map_err(|error| {
            let why =
                format!("not the JSON it should be, at line {} column {}", error.line(), error.column());
            Error::protocol(place, "credential file", why)
        })
    }
}

#[async_trait]
impl CredentialSource for DockerConfig {
    async fn get(&self, repository: &Repository, _reason: Reason) -> Result<Vec<Credential>> {
        let file = self.read()?;
        let best = file
            .auths
            .iter()
            .filter_map(|(key, entry)| Some((matching(key, repository)?, key, entry)))
            .max_by_key(|(length, ..)| *length);
        match best {
            None => Ok(Vec::new()),
            Some((_, key, entry)) => {
                let broken =
                    |why| Error::protocol(format!("{}: {key}", self.path.display()), "credential", why);
                Ok(entry.credential().map_err(broken)?.into_iter().collect())
            }
        }
    }
}

#[derive(Default, Deserialize)]
struct File {
    #[serde(default, deserialize_with = "null_is_default")]
    auths: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    registrytoken: String,
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>, &'static str> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credential::Token(Secret::new(&*self.registrytoken))));
        }
        let pair = self.decoded()?;
        let plain = (!self.username.is_empty()).then(|| (self.username.clone(), self.password.clone()));
        match (pair, plain) {
            (Some(pair), Some(plain)) if pair != plain => Err("auth and username with password disagree"),
            (pair, plain) => {
                Ok(pair.or(plain).filter(|(_, password)| !password.is_empty()).map(|(username, password)| {
                    Credential::Password { username, password: Secret::new(password) }
                }))
            }
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

/// The length of the key's path in components if the key applies to the repository.
fn matching(key: &str, repository: &Repository) -> Option<usize> {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let host = host.to_ascii_lowercase();
    let host = if DOCKER_HUB_NAMES.contains(&&*host) { "docker.io" } else { &host };
    if host != repository.host() {
        return None;
    }
    if path.is_empty() {
        return Some(0);
    }
    let rest = repository.path().strip_prefix(path)?;
    (rest.is_empty() || rest.starts_with('/')).then(|| path.split('/').count())
}

/// Docker writes the padding, some other writers leave it out.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const DOCKER_HUB_NAMES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];
/// Kubernetes limits a Secret to 1 MiB.
const MAX_FILE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    fn ask(text: &str, host: &str, path: &str) -> Result<Vec<Credential>> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.json");
        std::fs::write(&file, text).unwrap();
        block_on(DockerConfig::new(file).get(&Repository::new(host, path).unwrap(), Reason::First))
    }

    fn user(text: &str, host: &str, path: &str) -> Option<String> {
        match ask(text, host, path).unwrap().pop()? {
            Credential::Password { username, .. } => Some(username),
            Credential::Token(token) => Some(token.expose().to_owned()),
        }
    }

    const FILE: &str = r#"{"auths": {
        "https://index.docker.io/v1/": {"username": "hub", "password": "p"},
        "r.example.com": {"username": "host", "password": "p"},
        "r.example.com/a": {"username": "short", "password": "p"},
        "r.example.com/a/b/": {"auth": "bG9uZzpwOnE"},
        "r.example.com:5000": {"registrytoken": "port"},
        "helper.example.com": {}
    }, "credsStore": "x"}"#;

    #[test]
    fn the_longest_key_of_whole_components_wins() {
        for (host, path, expected) in [
            ("docker.io", "library/a", Some("hub")),
            ("r.example.com", "x", Some("host")),
            ("r.example.com", "a", Some("short")),
            ("r.example.com", "ab", Some("host")),
            ("r.example.com", "a/bc", Some("short")),
            ("r.example.com", "a/b", Some("long")),
            ("r.example.com", "a/b/c", Some("long")),
            ("r.example.com:5000", "a/b", Some("port")),
            ("r.example.com:5001", "a/b", None),
            ("r.example.com.attacker.example.net", "a/b", None),
            ("example.com", "a/b", None),
            ("helper.example.com", "a", None),
        ] {
            assert_eq!(user(FILE, host, path).as_deref(), expected, "{host}/{path}");
        }
    }

    #[test]
    fn the_password_is_everything_after_the_first_colon() {
        let expected = Credential::password("long", "p:q");
        assert_eq!(ask(FILE, "r.example.com", "a/b").unwrap(), [expected]);
    }

    #[test]
    fn contradictions_and_broken_files_are_errors_without_secrets() {
        for text in [
            r#"{"auths":{"h.io":{"auth":"dTpodW50ZXIy","username":"u","password":"other"}}}"#,
            r#"{"auths":{"h.io":{"auth":"***hunter2"}}}"#,
            r#"{"auths":{"h.io":{"auth":"hunter2"}}}"#,
            r#"{"auths":{"h.io":"hunter2"}}"#,
            r#"hunter2"#,
        ] {
            let error = ask(text, "h.io", "a").unwrap_err().to_string();
            assert!(!error.contains("hunter2") && error.contains("config.json"), "{error}");
        }
    }

    #[test]
    fn a_missing_file_has_no_credentials() {
        let source = DockerConfig::new("/nonexistent/config.json");
        let repository = Repository::new("h.io", "a").unwrap();
        assert!(block_on(source.get(&repository, Reason::First)).unwrap().is_empty());
    }
}
