//! The device configuration of overlaybd, `config.v1.json`: which blobs make a device.
//!
//! ```json
//! { "repoBlobUrl": "https://registry.example/v2/name/blobs",
//!   "lowers": [ { "digest": "sha256:…", "size": 1234 }, { "file": "/var/lib/layer.obd" } ] }
//! ```
//!
//! Keys that the format does not name are ignored, as it asks; a known key with a value of the wrong
//! type, or with one that asks for what is not supported, is an error that names the key. Two known keys
//! change nothing here: `resultFile` is where a runtime says that it made a device, and nobody but it
//! must write there; the trace of an acceleration layer only makes reads faster.

mod keys;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use referrers::{Digest, Repository};

use crate::document;

pub use keys::{Config, Download, Lower, Upper};

/// Where a lower layer is, and what it points into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowerPlace {
    /// The blob of the layer.
    pub layer: Place,
    /// The target of an index-only layer.
    pub target: Option<TargetPlace>,
}

/// Where the target of an index-only layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetPlace {
    /// The blob as it is stored. The size of a remote one is not configured: it is 0 here.
    pub blob: Place,
    /// The index by which a compressed one is read.
    pub gzip_index: Option<PathBuf>,
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file on this machine.
    File {
        /// Its path.
        path: PathBuf,
        /// The digest that the configuration gives, if any.
        digest: Option<Digest>,
    },
    /// A blob of the repository at [`Config::repo_blob_url`].
    Remote {
        /// Digest of the blob.
        digest: Digest,
        /// Its length in bytes.
        size: u64,
    },
}

impl Config {
    /// Reads the configuration at `path`.
    ///
    /// # Errors
    ///
    /// As [`document::read`] and [`parse`](Self::parse).
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&document::read(path)?).with_context(|| path.display().to_string())
    }

    /// Where each layer of the device is, bottom first. Relative paths start at `directory`. A local blob is
    /// preferred to a remote one; of a lower's local paths the first that exists counts: `file`, then
    /// `overlaybd.commit`, `.commit` and `overlaybd.sealed` in `dir`. The top lower is left out if it is an
    /// acceleration layer. A target is the file `targetFile` or else the remote blob `targetDigest`.
    ///
    /// # Errors
    ///
    /// If a lower is neither here nor remote, or the configuration uses what is not supported: a
    /// writable layer, the recording of a trace, a background download.
    pub fn places(&self, directory: &Path) -> Result<Vec<LowerPlace>> {
        ensure!(self.record_trace_path.is_empty(), "key recordTracePath: traces are not supported yet");
        ensure!(!self.download.enable, "key download: downloads in the background are not supported");
        let mut lowers = self.lowers.as_slice();
        if self.acceleration_layer {
            let (_, below) = lowers.split_last().context("key accelerationLayer: there are no layers")?;
            lowers = below;
        }
        ensure!(!lowers.is_empty(), "key lowers: there are no layers");
        let place = |(n, lower)| self.lower(lower, directory).with_context(|| format!("lower {n}"));
        lowers.iter().enumerate().map(place).collect()
    }

    /// The repository that [`repo_blob_url`](Self::repo_blob_url) names, and whether it is spoken to without
    /// TLS.
    ///
    /// # Errors
    ///
    /// If the URL has another form than `http(s)://<host>/v2/<repository>/blobs`.
    pub fn repository(&self) -> Result<(Repository, bool)> {
        let url = &self.repo_blob_url;
        let place = || format!("key repoBlobUrl: {url:?} is not http(s)://<host>/v2/<repository>/blobs");
        let (scheme, rest) = url.split_once("://").with_context(place)?;
        ensure!(matches!(scheme, "http" | "https"), place());
        let (host, rest) = rest.split_once("/v2/").with_context(place)?;
        let path = rest.trim_end_matches('/').strip_suffix("/blobs").with_context(place)?;
        // Credentials are kept under the name that people write.
        let host = if host == DOCKER_HUB_API { DOCKER_HUB } else { host };
        Ok((Repository::new(host, path).with_context(place)?, scheme == "http"))
    }

    fn lower(&self, lower: &Lower, directory: &Path) -> Result<LowerPlace> {
        Ok(LowerPlace { layer: self.layer(lower, directory)?, target: self.target(lower, directory)? })
    }

    fn layer(&self, lower: &Lower, directory: &Path) -> Result<Place> {
        let digest = digest("digest", &lower.digest)?;
        if let Some(path) = lower.local_paths(directory).into_iter().find(|path| path.exists()) {
            return Ok(Place::File { path, digest });
        }
        let Some(digest) = digest else {
            bail!("no file at {:?} or in {:?}, and no digest", lower.file, lower.dir);
        };
        ensure!(!self.repo_blob_url.is_empty(), "{digest} is remote, but key repoBlobUrl is missing");
        ensure!(lower.size > 0, "{digest} is remote, but its key size is missing");
        Ok(Place::Remote { digest, size: lower.size })
    }

    fn target(&self, lower: &Lower, directory: &Path) -> Result<Option<TargetPlace>> {
        let path = |text: &String| (!text.is_empty()).then(|| directory.join(text));
        let digest = digest("targetDigest", &lower.target_digest)?;
        let gzip_index = path(&lower.gzip_index);
        let blob = match (path(&lower.target_file), digest) {
            (Some(path), digest) => Place::File { path, digest },
            (None, Some(digest)) => {
                ensure!(!self.repo_blob_url.is_empty(), "{digest} is remote, but key repoBlobUrl is missing");
                Place::Remote { digest, size: 0 }
            }
            (None, None) => {
                ensure!(gzip_index.is_none(), "key gzipIndex: there is no target that it could belong to");
                return Ok(None);
            }
        };
        Ok(Some(TargetPlace { blob, gzip_index }))
    }
}

fn digest(key: &str, text: &str) -> Result<Option<Digest>> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).with_context(|| format!("key {key}"))
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

/// What images of Docker Hub are called, and the host that serves them.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_API: &str = "registry-1.docker.io";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn places(json: &str, directory: &Path) -> Result<Vec<Place>> {
        let places = Config::parse(json.as_bytes())?.places(directory)?;
        Ok(places.into_iter().map(|place| place.layer).collect())
    }

    #[test]
    fn the_first_local_path_that_exists_counts() {
        let directory = tempfile::tempdir().unwrap();
        let layer = directory.path().join("layer");
        fs::create_dir(&layer).unwrap();
        let json = r#"{"lowers": [{"file": "absent", "dir": "layer"}]}"#;
        for name in ["overlaybd.sealed", ".commit", "overlaybd.commit"] {
            fs::write(layer.join(name), "").unwrap();
            assert_eq!(places(json, directory.path()).unwrap(), [local(layer.join(name))]);
        }
        fs::write(directory.path().join("absent"), "").unwrap();
        assert_eq!(places(json, directory.path()).unwrap(), [local(directory.path().join("absent"))]);
    }

    #[test]
    fn an_acceleration_layer_is_no_part_of_the_device() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let json =
            r#"{"lowers": [{"file": "a"}, {"file": "b"}, {"dir": "trace"}], "accelerationLayer": true}"#;
        let paths = ["a", "b"].map(|name| local(directory.path().join(name)));
        assert_eq!(places(json, directory.path()).unwrap(), paths);
    }

    fn local(path: PathBuf) -> Place {
        Place::File { path, digest: None }
    }

    #[test]
    fn a_lower_that_is_not_here_is_remote_or_an_error() {
        let nowhere = Path::new("/nonexistent");
        let digest = Digest::sha256_of(b"layer");
        let url = r#""repoBlobUrl": "https://r.example/v2/a/blobs""#;
        let remote = format!(r#"{{{url}, "lowers": [{{"file": "x", "digest": "{digest}", "size": 5}}]}}"#);
        let place = Place::Remote { digest: digest.clone(), size: 5 };
        assert_eq!(places(&remote, nowhere).unwrap(), [place]);

        for (json, what) in [
            (r#"{"lowers": [{"file": "x"}]}"#.to_owned(), "no file at"),
            (format!(r#"{{"lowers": [{{"digest": "{digest}", "size": 5}}]}}"#), "repoBlobUrl"),
            (format!(r#"{{{url}, "lowers": [{{"digest": "{digest}"}}]}}"#), "size"),
            (format!(r#"{{{url}, "lowers": [{{"digest": "sha256:0", "size": 5}}]}}"#), "lower 0: key digest"),
            (r#"{"lowers": []}"#.to_owned(), "no layers"),
        ] {
            let error = format!("{:#}", places(&json, nowhere).unwrap_err());
            assert!(error.contains(what), "{json}: {error}");
        }
    }

    #[test]
    fn a_target_is_a_file_or_a_remote_blob() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("m"), "").unwrap();
        let target = |keys: &str| {
            let url = r#""repoBlobUrl": "https://r.example/v2/a/blobs""#;
            let json = format!(r#"{{{url}, "lowers": [{{"file": "m", {keys}}}]}}"#);
            Config::parse(json.as_bytes())?.places(directory.path()).map(|mut places| places.remove(0).target)
        };
        let digest = Digest::sha256_of(b"target");
        let index = Some(directory.path().join("g"));
        let blob = Place::File { path: directory.path().join("t"), digest: Some(digest.clone()) };
        let keys = format!(r#""targetFile": "t", "targetDigest": "{digest}", "gzipIndex": "g""#);
        assert_eq!(target(&keys).unwrap(), Some(TargetPlace { blob, gzip_index: index }));
        let blob = Place::Remote { digest: digest.clone(), size: 0 };
        let keys = format!(r#""targetDigest": "{digest}""#);
        assert_eq!(target(&keys).unwrap(), Some(TargetPlace { blob, gzip_index: None }));
        assert_eq!(target(r#""size": 1"#).unwrap(), None);

        for (keys, key) in [(r#""gzipIndex": "g""#, "gzipIndex"), (r#""targetDigest": "t""#, "targetDigest")]
        {
            let error = format!("{:#}", target(keys).unwrap_err());
            assert!(error.contains(&format!("lower 0: key {key}")), "{error}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (json, key) in [
            (r#"{"lowers": [{"file": "x"}], "recordTracePath": "t"}"#, "recordTracePath"),
            (r#"{"lowers": [{"file": "x"}], "download": {"enable": true}}"#, "download"),
        ] {
            let error = format!("{:#}", places(json, Path::new("/nonexistent")).unwrap_err());
            assert!(error.contains(&format!("key {key}: ")) && error.contains("not supported"), "{error}");
        }
    }

    #[test]
    fn a_blob_url_names_its_repository() {
        let repository =
            |url: &str| Config { repo_blob_url: url.to_owned(), ..Config::default() }.repository();
        let (found, plain) = repository("http://127.0.0.1:5000/v2/a/b/blobs").unwrap();
        assert_eq!((found.host(), found.path(), plain), ("127.0.0.1:5000", "a/b", true));
        assert!(!repository("https://registry.example/v2/a/blobs/").unwrap().1);
        assert_eq!(repository("https://registry-1.docker.io/v2/a/b/blobs").unwrap().0.host(), "docker.io");
        for url in ["", "ftp://h/v2/a/blobs", "http://h/a/blobs", "http://h/v2/a", "http://h/v2/../blobs"] {
            assert!(repository(url).unwrap_err().to_string().contains("repoBlobUrl"), "{url}");
        }
    }
}
