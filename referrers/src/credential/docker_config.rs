//! A Docker or Podman configuration file as a source of credentials.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::Deserialize;

use crate::descriptor::null_is_default;
use crate::{Credential, CredentialHelper, CredentialSource, Error, ErrorKind, Reason, Repository, Result};

use super::auths::Auths;

/// Credentials from a configuration file: Docker's `config.json`, Podman's `auth.json`, the older
/// `.dockercfg`, or a mounted Kubernetes Secret with one of them.
///
/// The file is read again for every answer, so that a rotated Secret takes effect without a restart; it
/// is asked once per token, not once per request. A missing file holds no credentials.
///
/// The credentials for a repository are, in this order: what the helper says that `credHelpers` names for its
/// host; all entries of `auths` that apply, those with the longest key first; and if there is neither, what
/// the helper in `credsStore` says. A key of `auths` is a host with an optional port and path. It applies to
/// a repository whose host is equal, with `*` for any text within one label, and whose path starts with the
/// key's path in whole components. Identity tokens and registry tokens are understood.
///
/// ```
/// use referrers::{Chain, DockerConfig};
///
/// let secret = DockerConfig::mounted_secret("/etc/pull-secret");
/// let node = DockerConfig::new("/var/lib/kubelet/config.json");
/// let credentials = Chain::default().with(secret).with(node);
/// # drop(credentials);
/// ```
#[derive(Debug, Clone)]
pub struct DockerConfig {
    /// The first that exists is read.
    paths: Vec<(PathBuf, Form)>,
}

/// How a file is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `auths` is one field of several (`config.json`, `kubernetes.io/dockerconfigjson`).
    Config,
    /// The file is the map (`.dockercfg`, `kubernetes.io/dockercfg`).
    Map,
}

impl DockerConfig {
    /// The file at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { paths: vec![(path.into(), Form::Config)] }
    }

    /// The file at `path` in the older form of `.dockercfg`, which holds nothing but the map of entries.
    pub fn legacy(path: impl Into<PathBuf>) -> Self {
        Self { paths: vec![(path.into(), Form::Map)] }
    }

    /// A Kubernetes Secret of type `kubernetes.io/dockerconfigjson` or `kubernetes.io/dockercfg` that is
    /// mounted at `directory`.
    pub fn mounted_secret(directory: impl AsRef<Path>) -> Self {
        let directory = directory.as_ref();
        let [config, map] = [".dockerconfigjson", ".dockercfg"].map(|name| directory.join(name));
        Self { paths: vec![(config, Form::Config), (map, Form::Map)] }
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

    /// The file that the `podman` command uses: `$REGISTRY_AUTH_FILE`, else
    /// `$XDG_RUNTIME_DIR/containers/auth.json` or `$HOME/.config/containers/auth.json`, whichever exists;
    /// `None` if none of the variables is set.
    pub fn of_podman_user() -> Option<Self> {
        if let Some(file) = std::env::var_os("REGISTRY_AUTH_FILE") {
            return Some(Self::new(file));
        }
        let below = |variable: &str, rest: &str| {
            std::env::var_os(variable).map(|base| (Path::new(&base).join(rest), Form::Config))
        };
        let runtime = below("XDG_RUNTIME_DIR", "containers/auth.json");
        let home = below("HOME", ".config/containers/auth.json");
        let paths: Vec<_> = runtime.into_iter().chain(home).collect();
        (!paths.is_empty()).then_some(Self { paths })
    }

    /// The file that is there, with its path.
    fn read(&self) -> Result<Option<(String, File)>> {
        for (path, form) in &self.paths {
            let place = path.display().to_string();
            let unreadable = |error| Error::new(ErrorKind::Credentials, place.clone()).because(error);
            let file = match std::fs::File::open(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                opened => opened.map_err(unreadable)?,
            };
            let mut text = Vec::new();
            file.take(MAX_FILE.saturating_add(1)).read_to_end(&mut text).map_err(unreadable)?;
            if text.len() as u64 > MAX_FILE {
                let kind = ErrorKind::Limit { what: "credential file size in bytes", limit: MAX_FILE };
                return Err(Error::new(kind, place));
            }
            let file = File::parse(&text, *form, &place)?;
            return Ok(Some((place, file)));
        }
        Ok(None)
    }
}

#[async_trait]
impl CredentialSource for DockerConfig {
    async fn get(&self, repository: &Repository, reason: Reason) -> Result<Vec<Credential>> {
        let Some((place, file)) = self.read()? else { return Ok(Vec::new()) };
        let mut credentials = Vec::new();
        if let Some(helper) = file.helper(repository) {
            credentials.extend(CredentialHelper::named(helper)?.get(repository, reason).await?);
        }
        credentials.extend(file.auths.for_repository(repository, &place)?);
        if credentials.is_empty() && !file.creds_store.is_empty() {
            credentials.extend(CredentialHelper::named(&file.creds_store)?.get(repository, reason).await?);
        }
        Ok(credentials)
    }
}

/// A configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct File {
    #[serde(deserialize_with = "null_is_default")]
    pub(crate) auths: Auths,
    #[serde(deserialize_with = "null_is_default")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_default")]
    creds_store: String,
}

impl File {
    pub(crate) fn parse(text: &[u8], form: Form, place: &str) -> Result<Self> {
        let parsed = match form {
            Form::Config => serde_json::from_slice(text),
            Form::Map => serde_json::from_slice(text).map(|auths| Self { auths, ..Self::default() }),
        };
        // The parser's message could quote a secret; its position cannot.
        parsed.map_err(|error| {
            let why =
                format!("not the JSON it should be, at line {} column {}", error.line(), error.column());
            Error::protocol(place, "credential file", why)
        })
    }

    fn helper(&self, repository: &Repository) -> Option<&str> {
        let names = [repository.host(), repository.api_host()];
        names.iter().find_map(|host| self.cred_helpers.get(*host)).map(String::as_str)
    }
}

/// Kubernetes limits a Secret to 1 MiB.
const MAX_FILE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    fn ask(source: &DockerConfig) -> Result<Vec<Credential>> {
        block_on(source.get(&Repository::new("h.io", "a").unwrap(), Reason::First))
    }

    #[test]
    fn broken_files_are_errors_without_secrets() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.json");
        for text in [r#"{"auths":{"h.io":"hunter2"}}"#, "hunter2", r#"{"auths":{"h.io":{"auth":"hunter2"}}}"#]
        {
            std::fs::write(&file, text).unwrap();
            let error = ask(&DockerConfig::new(&file)).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && error.contains("config.json"), "{error}");
        }
        std::fs::write(&file, vec![b' '; (1 << 20) + 1]).unwrap();
        let error = ask(&DockerConfig::new(&file)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Limit { .. }), "{error}");
    }

    #[test]
    fn a_missing_file_has_no_credentials() {
        assert!(ask(&DockerConfig::new("/nonexistent/config.json")).unwrap().is_empty());
        assert!(ask(&DockerConfig::mounted_secret("/nonexistent")).unwrap().is_empty());
    }

    #[test]
    fn a_mounted_secret_is_read_in_either_form_and_again_when_it_rotates() {
        let directory = tempfile::tempdir().unwrap();
        let source = DockerConfig::mounted_secret(directory.path());
        let login = |user: &str| format!(r#"{{"h.io":{{"username":"{user}","password":"p"}}}}"#);
        std::fs::write(directory.path().join(".dockercfg"), login("map")).unwrap();
        assert_eq!(ask(&source).unwrap(), [Credential::password("map", "p")]);
        for user in ["one", "two"] {
            let text = format!(r#"{{"auths":{}}}"#, login(user));
            std::fs::write(directory.path().join(".dockerconfigjson"), text).unwrap();
            assert_eq!(ask(&source).unwrap(), [Credential::password(user, "p")]);
        }
    }

    #[test]
    fn a_file_cannot_name_any_program() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.json");
        for name in ["../evil", "a/b", "a b", ""] {
            std::fs::write(&file, format!(r#"{{"credHelpers":{{"h.io":"{name}"}}}}"#)).unwrap();
            let error = ask(&DockerConfig::new(&file)).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Invalid { .. }), "{error}");
        }
    }
}
