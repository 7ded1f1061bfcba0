//! The kubelet's credential provider plug-ins: programs that make credentials for an image.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;

use crate::{Clock, Credential, CredentialSource, Error, Reason, Repository, Result, TokioClock};

use super::auths::{self, Auths};
use super::process;

/// A credential provider plug-in (`credentialprovider.kubelet.k8s.io/v1`), as a kubelet is configured with.
///
/// The program is run for repositories that one of the patterns names, with a `CredentialProviderRequest` as
/// its input, and its answer is kept for as long as it allows. A pattern is a host, in which `*` stands for
/// any text within one label, with an optional port and path. It needs a tokio runtime with I/O.
///
/// ```
/// use std::time::Duration;
///
/// use referrers::CredentialPlugin;
///
/// let ecr = CredentialPlugin::new("/usr/libexec/ecr-credential-provider", ["*.dkr.ecr.*.amazonaws.com"])
///     .with_args(["get-credentials"])
///     .with_default_life(Duration::from_secs(12 * 3600));
/// # drop(ecr);
/// ```
#[derive(Debug)]
pub struct CredentialPlugin {
    program: PathBuf,
    patterns: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    default_life: Duration,
    clock: Arc<dyn Clock>,
    answers: Mutex<HashMap<Scope, Answer>>,
}

/// What an answer is good for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Scope {
    Image(Repository),
    Registry(String),
    Global,
}

#[derive(Debug, Clone)]
struct Answer {
    auths: Arc<Auths>,
    until: Instant,
}

impl CredentialPlugin {
    /// The plug-in at `program` for the repositories that `patterns` name.
    pub fn new<S: Into<String>>(program: impl Into<PathBuf>, patterns: impl IntoIterator<Item = S>) -> Self {
        Self {
            program: program.into(),
            patterns: patterns.into_iter().map(Into::into).collect(),
            args: Vec::new(),
            env: Vec::new(),
            default_life: Duration::ZERO,
            clock: Arc::new(TokioClock),
            answers: Mutex::default(),
        }
    }

    /// Runs it with these arguments.
    #[must_use]
    pub fn with_args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Keeps an answer that does not say how long it is good for that long.
    #[must_use]
    pub fn with_default_life(mut self, life: Duration) -> Self {
        self.default_life = life;
        self
    }

    /// Sets what lives go by.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    fn kept(&self, repository: &Repository) -> Option<Arc<Auths>> {
        let now = self.clock.now();
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let scopes =
            [Scope::Image(repository.clone()), Scope::Registry(repository.host().to_owned()), Scope::Global];
        let mut kept = scopes.iter().filter_map(|scope| answers.get(scope));
        kept.find(|answer| now < answer.until).map(|answer| Arc::clone(&answer.auths))
    }

    async fn ask(&self, repository: &Repository) -> Result<Arc<Auths>> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        let request = json!({ "apiVersion": API, "kind": "CredentialProviderRequest", "image": repository.to_string() });
        let answer = process::run(&self.program, command, request.to_string().as_bytes()).await?;
        let broken = |why| Error::protocol(self.program.display().to_string(), "credential provider", why);
        if !answer.status.success() {
            return Err(broken("it reports a failure"));
        }
        // A parser's message could quote a secret.
        let response: Response = serde_json::from_slice(&answer.stdout)
            .map_err(|_| broken("the answer is not the JSON it should be"))?;
        if response.kind != "CredentialProviderResponse" {
            return Err(broken("the answer is not a CredentialProviderResponse"));
        }
        let scope = match response.cache_key_type.as_str() {
            "Image" => Scope::Image(repository.clone()),
            "Registry" => Scope::Registry(repository.host().to_owned()),
            "Global" => Scope::Global,
            _ => return Err(broken("cacheKeyType is none of Image, Registry and Global")),
        };
        let life = match &response.cache_duration {
            Some(text) => go_duration(text).ok_or_else(|| broken("cacheDuration is not a duration"))?,
            None => self.default_life,
        };
        let auths = Arc::new(response.auth.unwrap_or_default());
        if let Some(until) = self.clock.now().checked_add(life.min(LONGEST_LIFE)) {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            if answers.len() >= MAX_ANSWERS {
                answers.clear();
            }
            answers.insert(scope, Answer { auths: Arc::clone(&auths), until });
        }
        Ok(auths)
    }
}

#[async_trait]
impl CredentialSource for CredentialPlugin {
    async fn get(&self, repository: &Repository, reason: Reason) -> Result<Vec<Credential>> {
        if !self.patterns.iter().any(|pattern| auths::applies(pattern, repository)) {
            return Ok(Vec::new());
        }
        let kept = (reason == Reason::First).then(|| self.kept(repository)).flatten();
        let auths = match kept {
            Some(auths) => auths,
            None => self.ask(repository).await?,
        };
        auths.for_repository(repository, &self.program.display().to_string())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    kind: String,
    cache_key_type: String,
    cache_duration: Option<String>,
    auth: Option<Auths>,
}

/// A duration in the form of Go, such as `1h30m0s`.
fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_end)?;
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let piece = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(piece)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

const API: &str = "credentialprovider.kubelet.k8s.io/v1";
/// No provider makes credentials for longer.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
const MAX_ANSWERS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_the_form_of_go() {
        for (text, expected) in [
            ("12h", Some(43_200_000)),
            ("1h30m0s", Some(5_400_000)),
            ("1.5s", Some(1500)),
            ("250ms", Some(250)),
            ("0", Some(0)),
            ("", None),
            ("5", None),
            ("h", None),
            ("-5m", None),
            ("1d", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(go_duration(text), expected.map(Duration::from_millis), "{text}");
        }
    }
}
