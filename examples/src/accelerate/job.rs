//! A conversion that is to be made, and what became of it.

use std::fmt;

use referrers::{Digest, Platform, Reference};
use serde::{Deserialize, Serialize};

use crate::convert::options::Mode;

/// One image to convert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The image, by its digest.
    #[serde(with = "text")]
    pub image: Reference,
    /// The tag that it was pushed to.
    pub tag: Option<String>,
    /// How.
    pub plan: Plan,
}

/// How an image is converted. A job keeps that of the time it was made at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What is made.
    pub mode: Mode,
    /// For which platforms; for all if there is none.
    #[serde(with = "texts")]
    pub platforms: Vec<Platform>,
    /// What is appended to the tag to name the accelerated image as well.
    pub tag_suffix: Option<String>,
}

/// What became of a job so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is to be done, or under way.
    Waiting,
    /// It is done.
    Done {
        /// The accelerated image.
        #[serde(with = "text")]
        accelerated: Digest,
    },
    /// There is nothing to convert.
    Skipped {
        /// Why.
        why: String,
    },
    /// It went wrong too often.
    Failed {
        /// What happened the last time.
        why: String,
    },
}

impl Job {
    /// What tells jobs apart: the same image is converted once in each way.
    pub fn key(&self) -> Digest {
        let suffixed = self.suffixed_tag().unwrap_or_default();
        let platforms: Vec<_> = self.plan.platforms.iter().map(Platform::to_string).collect();
        let parts = [self.image.to_string(), self.plan.mode.to_string(), platforms.join(","), suffixed];
        Digest::sha256_of(parts.join("\n").as_bytes())
    }

    /// The tag that the accelerated image gets, if it gets one.
    pub fn suffixed_tag(&self) -> Option<String> {
        let (tag, suffix) = (self.tag.as_ref()?, self.plan.tag_suffix.as_ref()?);
        Some(format!("{tag}{suffix}"))
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.image, self.plan.mode)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("waiting"),
            Self::Done { accelerated } => write!(f, "accelerated by {accelerated}"),
            Self::Skipped { why } => write!(f, "skipped: {why}"),
            Self::Failed { why } => write!(f, "failed: {why}"),
        }
    }
}

impl State {
    /// Its name in metrics and on the status page.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Done { .. } => "done",
            Self::Skipped { .. } => "skipped",
            Self::Failed { .. } => "failed",
        }
    }
}

/// References and digests as their text.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The same of several.
pub(super) mod texts {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        values: &[impl Display],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(ToString::to_string))
    }

    pub(crate) fn deserialize<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(serde::de::Error::custom)
    }
}
