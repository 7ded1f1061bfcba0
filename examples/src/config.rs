//! The device configuration of overlaybd, `config.v1.json`: which blobs make a device.
//!
//! ```json
//! { "repoBlobUrl": "https://registry.example/v2/name/blobs",
//!   "lowers": [ { "digest": "sha256:…", "size": 1234 }, { "file": "/var/lib/layer.obd" } ] }
//! ```
//!
//! Keys that the format does not name are ignored, as it asks; a known key with a value of the wrong
//! type is an error that names the key.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
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

/// Where the bytes of a lower layer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file on this machine.
    File(PathBuf),
    /// A blob of the repository at [`Config::repo_blob_url`].
    Remote {
        /// Digest of the blob.
        digest: String,
        /// Its length in bytes.
        size: u64,
    },
}

impl Config {
    /// Reads the configuration at `path`.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or as [`parse`](Self::parse).
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    /// Parses a configuration.
    ///
    /// # Errors
    ///
    /// If it is not JSON, or a known key has a value of the wrong type.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let mut json = serde_json::Deserializer::from_slice(json);
        let config = serde_path_to_error::deserialize(&mut json).map_err(|e| {
            let key = e.path().to_string();
            anyhow::Error::new(e.into_inner()).context(format!("key {key} of the configuration"))
        })?;
        json.end().context("after the configuration")?;
        Ok(config)
    }

    /// Where each lower layer is, bottom first. Relative paths start at `directory`. A local blob is
    /// preferred to a remote one; of a lower's local paths the first that exists counts: `file`, then
    /// `overlaybd.commit`, `.commit` and `overlaybd.sealed` in `dir`.
    ///
    /// # Errors
    ///
    /// If a lower is neither here nor remote, or the configuration uses what is not supported: a
    /// writable layer, index-only lowers, an acceleration layer.
    pub fn places(&self, directory: &Path) -> Result<Vec<Place>> {
        ensure!(self.upper == Upper::default(), "key upper: writable layers are not supported yet");
        ensure!(!self.acceleration_layer, "key accelerationLayer: prefetch traces are not supported yet");
        ensure!(!self.lowers.is_empty(), "key lowers: there are no layers");
        let place = |(n, lower)| self.place(lower, directory).with_context(|| format!("lower {n}"));
        self.lowers.iter().enumerate().map(place).collect()
    }

    fn place(&self, lower: &Lower, directory: &Path) -> Result<Place> {
        let index_only = [&lower.target_file, &lower.target_digest, &lower.gzip_index];
        ensure!(index_only.iter().all(|key| key.is_empty()), "index-only layers are not supported yet");
        if let Some(file) = lower.local_paths(directory).into_iter().find(|path| path.exists()) {
            return Ok(Place::File(file));
        }
        if lower.digest.is_empty() {
            bail!("no file at {:?} or in {:?}, and no digest", lower.file, lower.dir);
        }
        ensure!(!self.repo_blob_url.is_empty(), "{} is remote, but key repoBlobUrl is missing", lower.digest);
        ensure!(lower.size > 0, "{} is remote, but its key size is missing", lower.digest);
        Ok(Place::Remote { digest: lower.digest.clone(), size: lower.size })
    }
}

impl Lower {
    fn local_paths(&self, directory: &Path) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        if !self.file.is_empty() {
            paths.push(directory.join(&self.file));
        }
        if !self.dir.is_empty() {
            let names = ["overlaybd.commit", ".commit", "overlaybd.sealed"];
            paths.extend(names.map(|name| directory.join(&self.dir).join(name)));
        }
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(json: &str, directory: &Path) -> Result<Vec<Place>> {
        Config::parse(json.as_bytes())?.places(directory)
    }

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
    fn the_first_local_path_that_exists_counts() {
        let directory = tempfile::tempdir().unwrap();
        let layer = directory.path().join("layer");
        fs::create_dir(&layer).unwrap();
        let json = r#"{"lowers": [{"file": "absent", "dir": "layer"}]}"#;
        for name in ["overlaybd.sealed", ".commit", "overlaybd.commit"] {
            fs::write(layer.join(name), "").unwrap();
            assert_eq!(places(json, directory.path()).unwrap(), [Place::File(layer.join(name))]);
        }
        fs::write(directory.path().join("absent"), "").unwrap();
        assert_eq!(places(json, directory.path()).unwrap(), [Place::File(directory.path().join("absent"))]);
    }

    #[test]
    fn a_lower_that_is_not_here_is_remote_or_an_error() {
        let nowhere = Path::new("/nonexistent");
        let remote = r#"{"repoBlobUrl": "https://r.example/v2/a/blobs", "lowers": [{"file": "x", "digest": "sha256:0", "size": 5}]}"#;
        let place = Place::Remote { digest: "sha256:0".to_owned(), size: 5 };
        assert_eq!(places(remote, nowhere).unwrap(), [place]);

        for (json, what) in [
            (r#"{"lowers": [{"file": "x"}]}"#, "no file at"),
            (r#"{"lowers": [{"digest": "sha256:0", "size": 5}]}"#, "repoBlobUrl"),
            (r#"{"repoBlobUrl": "u", "lowers": [{"digest": "sha256:0"}]}"#, "size"),
            (r#"{"lowers": []}"#, "no layers"),
            (r#"{"lowers": [{"targetFile": "t"}]}"#, "not supported yet"),
            (r#"{"lowers": [{"file": "x"}], "upper": {"index": "i", "data": "d"}}"#, "not supported yet"),
            (r#"{"lowers": [{"file": "x"}], "accelerationLayer": true}"#, "not supported yet"),
        ] {
            let error = format!("{:#}", places(json, nowhere).unwrap_err());
            assert!(error.contains(what), "{json}: {error}");
        }
    }
}
