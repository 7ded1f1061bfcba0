//! Image configurations, as far as choosing and checking an image needs them.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use crate::descriptor::null_is_default;
use crate::{Error, Platform, Result};

/// An image configuration (OCI image-spec "Image Configuration") with the bytes it was read from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ImageConfig {
    /// The bytes as they were served.
    pub bytes: Bytes,
    /// What the image runs on.
    pub platform: Platform,
    /// When it was made, as written.
    pub created: Option<String>,
    /// How a container of the image runs.
    pub runtime: RuntimeConfig,
}

/// The part of a configuration that decides how a container runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[non_exhaustive]
pub struct RuntimeConfig {
    /// User, as `user`, `uid`, `user:group` or `uid:gid`.
    #[serde(deserialize_with = "null_is_default")]
    pub user: String,
    /// Environment, as `NAME=value`.
    #[serde(deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// The command's fixed part.
    #[serde(deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// The command's default arguments.
    #[serde(deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// Working directory.
    #[serde(deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// Labels.
    #[serde(deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
}

impl ImageConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`](crate::ErrorKind::Protocol) if the bytes are not a configuration.
    pub fn parse(bytes: Bytes) -> Result<Self> {
        Self::parse_at(bytes, "image configuration")
    }

    pub(crate) fn parse_at(bytes: Bytes, place: &str) -> Result<Self> {
        let body: Body = serde_json::from_slice(&bytes).map_err(|e| {
            Error::protocol(place, "image configuration", "not the JSON it should be").because(e)
        })?;
        let platform = Platform {
            os: body.os,
            architecture: body.architecture,
            variant: body.variant,
            os_version: body.os_version,
        };
        Ok(Self { bytes, platform, created: body.created, runtime: body.config })
    }
}

#[derive(Deserialize)]
struct Body {
    os: String,
    architecture: String,
    variant: Option<String>,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
    created: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    config: RuntimeConfig,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_null_fields_are_empty() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":["sh"]},"rootfs":{}}"#;
        let config = ImageConfig::parse(Bytes::from(text)).unwrap();
        assert_eq!(config.platform, Platform::new("linux", "amd64"));
        assert_eq!(config.runtime, RuntimeConfig { cmd: vec!["sh".into()], ..RuntimeConfig::default() });
        assert!(ImageConfig::parse(Bytes::from(r#"{"os":"linux"}"#)).is_err());
    }
}
