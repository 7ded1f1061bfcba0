//! The keys of `config.v1.json` and how they are read. Nothing here looks at what the values mean.

use anyhow::{Context, Result};
use serde::Deserialize;

/// A parsed configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Where remote lowers are: `<scheme>://<host>/v2/<repository>/blobs`.
    pub repo_blob_url: String,
    /// The layers, bottom first.
    pub lowers: Vec<Lower>,
    /// The writable layer.
    pub upper: Upper,
    /// Where a runtime reports success.
    pub result_file: String,
    /// Whether the top lower holds a prefetch trace instead of sectors.
    pub acceleration_layer: bool,
    /// Where a runtime records or finds a prefetch trace.
    pub record_trace_path: String,
    /// How a runtime downloads remote blobs as a whole.
    pub download: Download,
}

/// A lower layer as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lower {
    /// A local blob.
    pub file: String,
    /// A directory that may hold a local blob.
    pub dir: String,
    /// Digest of a remote blob.
    pub digest: String,
    /// Length of the remote blob in bytes.
    pub size: u64,
    /// The blob that an index-only layer points into, as a file.
    pub target_file: String,
    /// The blob that an index-only layer points into, as a remote blob.
    pub target_digest: String,
    /// The index of a compressed target.
    pub gzip_index: String,
}

/// The writable layer as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Upper {
    /// The index file.
    pub index: String,
    /// The data file.
    pub data: String,
    /// The blob that an index-only upper points into.
    pub target: String,
    /// The index of a compressed target.
    pub gzip_index: String,
}

/// The background download as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Download {
    /// Whether there is one.
    pub enable: bool,
}

impl Config {
    /// Parses a configuration.
    ///
    /// # Errors
    ///
    /// If it is not JSON, or a known key has a value of the wrong type.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let mut json = serde_json::Deserializer::from_slice(json);
        let config = serde_path_to_error::deserialize(&mut json).map_err(|e| {
            // A key that the format does not name can have any characters, and is in the path, too.
            let key = e.path().to_string().escape_debug().to_string();
            anyhow::Error::new(e.into_inner()).context(format!("key {key} of the configuration"))
        })?;
        json.end().context("after the configuration")?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_ignored_and_known_ones_are_typed() {
        let config =
            Config::parse(br#"{"lowers": [{"file": "a", "novel": 1}], "upper": {"vsize": 64}}"#).unwrap();
        assert_eq!(config.lowers.first().unwrap().file, "a");

        let error = Config::parse(br#"{"lowers": [{"file": "a"}, {"size": "12"}]}"#).unwrap_err();
        assert!(error.to_string().contains("lowers[1].size"), "{error:#}");
        assert!(Config::parse(b"{} {}").is_err());
        assert!(Config::parse(br#"{"lowers": [{"size": -1}]}"#).is_err());
    }

    #[test]
    fn an_error_is_one_line_whatever_the_key() {
        let error = Config::parse(br#"{"a\nb": nothing}"#).unwrap_err();
        assert_eq!(error.to_string(), r"key a\nb of the configuration");
        assert!(!format!("{error:#}").contains('\n'));
    }
}
