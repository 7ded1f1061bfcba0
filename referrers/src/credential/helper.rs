//! Docker's credential helpers: programs that look a registry up in a keychain.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::Deserialize;
use tokio::process::Command;

use crate::{Credential, CredentialSource, Error, ErrorKind, Reason, Repository, Result};

use super::process;

/// A credential helper, such as `docker-credential-ecr-login`: the program is run with the argument `get`
/// and the registry's host as its input, and answers with a user and a secret in JSON.
///
/// It may take 10 s and answer 1 MiB. It needs a tokio runtime with I/O.
///
/// ```
/// use referrers::CredentialHelper;
///
/// assert!(CredentialHelper::named("ecr-login").is_ok());
/// assert!(CredentialHelper::named("../../bin/sh").is_err());
/// ```
#[derive(Debug, Clone)]
pub struct CredentialHelper {
    program: PathBuf,
}

impl CredentialHelper {
    /// The helper that configuration files call `suffix`: the program `docker-credential-<suffix>` on the
    /// search path.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if it holds anything but letters, digits, `.`, `_` and `-`, so that a file
    /// cannot name any other program.
    pub fn named(suffix: &str) -> Result<Self> {
        let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if suffix.is_empty() || !suffix.bytes().all(valid) {
            return Err(Error::invalid(
                "credential helper",
                suffix,
                "a name is letters, digits, '.', '_' and '-'",
            ));
        }
        Ok(Self { program: format!("docker-credential-{suffix}").into() })
    }

    /// The helper at `program`.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    async fn ask(&self, repository: &Repository) -> Result<Vec<Credential>> {
        let mut command = Command::new(&self.program);
        command.arg("get");
        let answer = process::run(&self.program, command, server(repository).as_bytes()).await?;
        if !answer.status.success() {
            let text = String::from_utf8_lossy(&answer.stdout);
            // What it says is not quoted: it may hold anything.
            return if NOT_FOUND.iter().any(|known| text.trim().eq_ignore_ascii_case(known)) {
                Ok(Vec::new())
            } else {
                Err(broken(&self.program, "the helper reports a failure"))
            };
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Login {
            username: String,
            secret: String,
        }
        let login: Login = serde_json::from_slice(&answer.stdout)
            .map_err(|_| broken(&self.program, "the answer is not the JSON it should be"))?;
        if login.secret.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![Credential::of_login(login.username, login.secret)])
    }
}

#[async_trait]
impl CredentialSource for CredentialHelper {
    async fn get(&self, repository: &Repository, _reason: Reason) -> Result<Vec<Credential>> {
        self.ask(repository).await
    }
}

/// What a registry is called towards helpers.
fn server(repository: &Repository) -> &str {
    if repository.host() == "docker.io" { "https://index.docker.io/v1/" } else { repository.host() }
}

fn broken(program: &Path, why: &'static str) -> Error {
    let kind = ErrorKind::Protocol { what: "credential helper", why: why.into() };
    Error::new(kind, program.display().to_string())
}

/// What helpers say on standard output when they know no credential.
const NOT_FOUND: [&str; 2] = ["credentials not found in native keychain", "no credentials server URL"];
