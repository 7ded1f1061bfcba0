//! What is to be converted, and how: the configuration file.
//!
//! ```toml
//! registry = "registry.example.com"
//! state = "/var/lib/accelerate"
//! listen = "127.0.0.1:8080"
//! poll-seconds = 300
//!
//! [[rule]]
//! repository = "shop/*"
//! mode = "index-only"
//! platforms = ["linux/amd64"]
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use glob::{MatchOptions, Pattern};
use referrers::{Digest, Platform, Repository};
use serde::Deserialize;

use super::job::{Job, Plan, texts};
use super::push::Push;
use crate::convert::options::Mode;
use crate::document;

/// A parsed configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The registry's host, as in references. What a webhook says of hosts is not believed.
    pub registry: String,
    /// Whether it is spoken to without TLS.
    #[serde(default)]
    pub plain_http: bool,
    /// The directory that the queue is kept in.
    pub state: PathBuf,
    /// Where webhooks and people are listened to.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Seconds between two looks at the tags of the repositories that rules name without a wildcard; without it
    /// nobody looks.
    #[serde(default)]
    pub poll_seconds: Option<u64>,
    /// How many conversions run at once.
    #[serde(default = "default_workers")]
    pub workers: usize,
    /// What is converted; the first rule that fits counts.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
}

/// Which images are converted, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rule {
    /// The repository's path. A `*` stands for any text without a slash, `**` for any components.
    #[serde(deserialize_with = "pattern")]
    pub repository: Pattern,
    /// The tags; a `*` stands for any text.
    #[serde(default = "any", deserialize_with = "pattern")]
    pub tag: Pattern,
    /// What is made.
    pub mode: Mode,
    /// For which platforms, such as `linux/amd64`; for all without it.
    #[serde(default, with = "texts")]
    pub platforms: Vec<Platform>,
    /// What is appended to a tag to name the accelerated image as well.
    #[serde(default)]
    pub tag_suffix: Option<String>,
}

impl Settings {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is not the TOML it should be, or asks for what cannot be.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = document::read(path)?;
        let text = std::str::from_utf8(&bytes).with_context(|| path.display().to_string())?;
        Self::parse(text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let settings: Self = toml::from_str(text)?;
        Repository::new(&settings.registry, "a")?;
        ensure!(settings.workers > 0, "workers is 0: nothing would be converted");
        ensure!(settings.poll_seconds != Some(0), "poll-seconds is 0");
        for rule in &settings.rules {
            if let Some(suffix) = &rule.tag_suffix {
                ensure!(!suffix.is_empty(), "tag-suffix is empty: the base image would be replaced");
                let name = format!("t{suffix}");
                Repository::new(&settings.registry, "a")?.with_tag(&name).context("tag-suffix")?;
            }
        }
        Ok(settings)
    }

    /// How often tags are looked at.
    pub fn poll_interval(&self) -> Option<Duration> {
        self.poll_seconds.map(Duration::from_secs)
    }

    /// The job that a push makes; none if no rule fits, or what was pushed only belongs to an image.
    ///
    /// # Errors
    ///
    /// If a name is not what it should be.
    pub fn job_of_push(&self, push: &Push) -> Result<Option<Job>> {
        let repository = Repository::new(&self.registry, &push.repository)?;
        repository.with_tag(&push.tag)?;
        Ok(self.job(&repository, Some(&push.tag), push.digest.parse()?))
    }

    /// The job for the image `digest` of `repository`, under its tag if it is asked for by one; none if no rule
    /// fits.
    pub fn job(&self, repository: &Repository, tag: Option<&str>, digest: Digest) -> Option<Job> {
        let Rule { mode, platforms, tag_suffix, .. } = self.rule(repository.path(), tag)?.clone();
        let (image, plan) = (repository.with_digest(digest), Plan { mode, platforms, tag_suffix });
        Some(Job { image, tag: tag.map(str::to_owned), plan })
    }

    /// Whether there is a rule for the tag.
    pub(super) fn wants(&self, repository: &Repository, tag: &str) -> bool {
        self.rule(repository.path(), Some(tag)).is_some()
    }

    /// The first rule that fits. Who asks for an image by its digest does not care for tags.
    fn rule(&self, repository: &str, tag: Option<&str>) -> Option<&Rule> {
        let rule = self.rules.iter().find(|rule| {
            let fits = rule.repository.matches_with(repository, IN_COMPONENTS);
            fits && tag.is_none_or(|tag| rule.tag.matches(tag))
        })?;
        let made_here = tag.is_some_and(|tag| {
            let suffixes = self.rules.iter().filter_map(|rule| rule.tag_suffix.as_deref());
            is_of_referrers(tag) || suffixes.into_iter().any(|suffix| tag.ends_with(suffix))
        });
        (!made_here).then_some(rule)
    }

    /// The repositories that can be looked at without being told of: those named without a wildcard.
    pub(super) fn polled(&self) -> impl Iterator<Item = &str> {
        let named = self.rules.iter().map(|rule| rule.repository.as_str());
        named.filter(|name| !name.contains(['*', '?', '[']))
    }
}

/// Whether a tag holds a list of referrers, or a signature after the same scheme.
fn is_of_referrers(tag: &str) -> bool {
    let rest = tag.strip_prefix("sha256-").or_else(|| tag.strip_prefix("sha512-"));
    let hex = rest.and_then(|rest| rest.get(..SHORTEST_DIGEST));
    hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn pattern<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
    let text = String::deserialize(deserializer)?;
    Pattern::new(&text).map_err(serde::de::Error::custom)
}

fn any() -> Pattern {
    Pattern::new(ANY).unwrap_or_default()
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

fn default_workers() -> usize {
    1
}

const ANY: &str = "*";
/// Characters of a fallback tag after its algorithm (OCI distribution-spec, "Referrers Tag Schema").
const SHORTEST_DIGEST: usize = 64;
const IN_COMPONENTS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn settings(rules: &str) -> Settings {
        Settings::parse(&format!("registry = \"h.io\"\nstate = \"/s\"\n{rules}")).unwrap()
    }

    fn push(repository: &str, tag: &str) -> Push {
        Push { repository: repository.to_owned(), tag: tag.to_owned(), digest: DIGEST.to_owned() }
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let settings = settings(
            "[[rule]]\nrepository = \"shop/*\"\ntag = \"v*\"\nmode = \"full\"\ntag-suffix = \"_fast\"\n\
             [[rule]]\nrepository = \"**\"\nmode = \"index-only\"",
        );
        let mode = |repository, tag| Some(settings.job_of_push(&push(repository, tag)).unwrap()?.plan.mode);
        assert_eq!(mode("shop/api", "v1"), Some(Mode::Full));
        assert_eq!(mode("shop/api", "main"), Some(Mode::IndexOnly));
        assert_eq!(mode("shop/api/deep", "v1"), Some(Mode::IndexOnly));
        let fallback = DIGEST.replace(':', "-");
        for tag in ["v1_fast", &fallback, &format!("{fallback}.sig")] {
            assert_eq!(mode("shop/api", tag), None, "{tag}");
        }
        let repository = Repository::new("h.io", "shop/api").unwrap();
        let by_digest = settings.job(&repository, None, DIGEST.parse().unwrap()).unwrap();
        assert_eq!((by_digest.plan.mode, by_digest.suffixed_tag()), (Mode::Full, None));
    }

    #[test]
    fn names_from_outside_are_checked() {
        let settings = settings("[[rule]]\nrepository = \"**\"\nmode = \"full\"");
        let hostile = [
            push("../etc", "t"),
            push("A", "t"),
            push("a", "x/y"),
            Push { digest: "sha256:../../x".into(), ..push("a", "t") },
            Push { digest: String::new(), ..push("a", "t") },
        ];
        for push in hostile {
            assert!(settings.job_of_push(&push).is_err(), "{push:?}");
        }
    }

    #[test]
    fn the_documented_configuration_is_one() {
        let page = include_str!("../../../docs/accelerate.md");
        let text = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let settings = Settings::parse(text).unwrap();
        assert_eq!(settings.rules[0].platforms, ["linux/amd64".parse().unwrap()]);
        assert_eq!(settings.poll_interval(), Some(Duration::from_secs(300)));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for rest in [
            "",
            "rule = []\nworkers = 0",
            "rule = []\npoll-seconds = 0",
            "rule = []\nnovel = 1",
            "[[rule]]\nrepository = \"a\"\nmode = \"other\"",
            "[[rule]]\nrepository = \"***\"\nmode = \"full\"",
            "[[rule]]\nrepository = \"a\"\nmode = \"full\"\ntag-suffix = \"\"",
            "[[rule]]\nrepository = \"a\"\nmode = \"full\"\ntag-suffix = \"/x\"",
            "[[rule]]\nrepository = \"a\"\nmode = \"full\"\nplatforms = [\"linux\"]",
        ] {
            assert!(
                Settings::parse(&format!("registry = \"h.io\"\nstate = \"/s\"\n{rest}")).is_err(),
                "{rest}"
            );
        }
    }

    #[test]
    fn repositories_with_wildcards_are_not_looked_at() {
        let rules =
            ["a/b", "a/*", "c"].map(|name| format!("[[rule]]\nrepository = \"{name}\"\nmode = \"full\""));
        assert_eq!(settings(&rules.join("\n")).polled().collect::<Vec<_>>(), ["a/b", "c"]);
    }
}
