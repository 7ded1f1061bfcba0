//! What the tools are given: a layer blob, a device configuration or an image of a registry.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use overlaybd_format::{FileBlob, GzipBlob, GzipIndex, Limits};
use referrers::Digest;

use crate::accelerated_image::AcceleratedImage;
use crate::access::Access;
use crate::config::{Config, LowerPlace, Place, TargetPlace, Upper};
use crate::image_name::ImageName;
use crate::image_place::ImagePlace;
use crate::lazy_image::{OpenBlob, OpenTarget};
use crate::start_profile::Profiles;

/// What names the layers of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// One layer blob in a file.
    Blob(PathBuf),
    /// A `config.v1.json`.
    Config(PathBuf),
    /// An image that has an accelerated form, or is one.
    Image(ImageName),
}

impl Input {
    /// Tells what `text` names. A file that exists is one, a configuration if it starts with a brace, which no
    /// layer does. Anything else must be an image of a layout, or a reference that spells out its registry: that a
    /// misspelt file name is looked up somewhere on the network is nobody's wish.
    ///
    /// # Errors
    ///
    /// If it is neither, or the file cannot be read.
    pub fn of(text: &str) -> Result<Self> {
        let path = Path::new(text);
        let mut file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound && names_image(text) => {
                let name = text.parse().with_context(|| format!("{text} is no file"))?;
                return Ok(Self::Image(name));
            }
            file => file.with_context(|| format!("opening {text}"))?,
        };
        let mut first = [0];
        let read = file.read(&mut first).with_context(|| format!("reading {text}"))?;
        Ok(match (read, first) {
            (1, [b'{']) => Self::Config(path.to_owned()),
            _ => Self::Blob(path.to_owned()),
        })
    }

    /// Opens the blobs of the layers, bottom first. Of remote full layers nothing is fetched yet.
    ///
    /// # Errors
    ///
    /// If a file cannot be opened, a configuration is wrong, or a reference has no image that can be read.
    pub async fn open(&self, access: &Access) -> Result<Vec<OpenBlob>> {
        Ok(self.open_with_profiles(access).await?.0)
    }

    /// As [`open`](Self::open), with the place of the profiles of its starts if it is an image of a registry.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_with_profiles(&self, access: &Access) -> Result<(Vec<OpenBlob>, Option<Profiles>)> {
        let blobs = match self {
            Self::Blob(path) => vec![open_file(path, None)?],
            Self::Config(path) => {
                open_config(path, access).await.with_context(|| path.display().to_string())?
            }
            Self::Image(name) => {
                let place = ImagePlace::of(name, access, false)?;
                let image = AcceleratedImage::find(&place, name, &access.resolve).await?;
                let profiles = match &place {
                    ImagePlace::Repository { registry, repository, .. } => {
                        Some(Profiles::of(registry.clone(), repository.clone(), &image.accelerated))
                    }
                    ImagePlace::Layout(_) => None,
                };
                return Ok((image.open(&place).await?, profiles));
            }
        };
        Ok((blobs, None))
    }
}

async fn open_config(path: &Path, access: &Access) -> Result<Vec<OpenBlob>> {
    let config = Config::read(path)?;
    ensure!(config.upper == Upper::default(), "key upper: here a device without writable layer is wanted");
    open_lowers(&config, path.parent().unwrap_or(Path::new("")), access).await
}

/// Opens the lowers of `config`, bottom first, whose relative paths start at `directory`.
///
/// # Errors
///
/// As [`Input::open`] of the configuration.
pub async fn open_lowers(config: &Config, directory: &Path, access: &Access) -> Result<Vec<OpenBlob>> {
    let mut origin = None;
    let mut open = |place: Place| match place {
        Place::File { path, digest } => open_file(&path, digest),
        Place::Remote { digest, size } => {
            let origin = match &mut origin {
                Some(origin) => origin,
                none => {
                    let (repository, plain_http) = config.repository()?;
                    let plain_http = plain_http || access.plain_http;
                    none.insert(Access { plain_http, ..access.clone() }.origin(&repository)?)
                }
            };
            origin.open(&digest, size)
        }
    };
    let mut blobs = Vec::new();
    for LowerPlace { layer, target } in config.places(directory)? {
        let mut blob = open(layer)?;
        if let Some(target) = target {
            blob.target = Some(Box::new(open_target(target, &mut open).await?));
        }
        blobs.push(blob);
    }
    Ok(blobs)
}

/// Opens a target. The size of a remote one is known from its index.
async fn open_target(
    TargetPlace { blob, gzip_index }: TargetPlace,
    open: &mut impl FnMut(Place) -> Result<OpenBlob>,
) -> Result<OpenTarget> {
    let index = match gzip_index {
        None => None,
        Some(path) => {
            let index = GzipIndex::open(open_file(&path, None)?.reader, &Limits::default()).await;
            Some(index.with_context(|| path.display().to_string())?)
        }
    };
    let stored = open(match (blob, &index) {
        (Place::Remote { digest, .. }, Some(index)) => Place::Remote { digest, size: index.gzip_size() },
        (Place::Remote { digest, .. }, None) => {
            bail!("{digest} is a remote target without a gzip index, and only that would tell its size")
        }
        (file, _) => file,
    })?;
    let reader = Arc::clone(&stored.reader);
    let compressed = index.is_some();
    let content = match index {
        Some(index) => Arc::new(GzipBlob::new(reader, index).with_context(|| stored.name.clone())?),
        None => reader,
    };
    Ok(OpenTarget { stored, content, compressed })
}

fn open_file(path: &Path, digest: Option<Digest>) -> Result<OpenBlob> {
    let name = path.display().to_string();
    let metadata = std::fs::metadata(path).with_context(|| format!("opening {name}"))?;
    if metadata.is_dir() {
        bail!("{name} is a directory, and no layer blob");
    }
    let reader = Arc::new(FileBlob::open(path).with_context(|| format!("opening {name}"))?);
    Ok(OpenBlob { name, digest, reader, remote: None, target: None })
}

/// Whether the text can only be the name of an image, or a path through a directory that looks like a host.
fn names_image(text: &str) -> bool {
    if text.starts_with("oci:") {
        return true;
    }
    let Some((host, _)) = text.split_once('/') else { return false };
    host == "localhost" || !host.starts_with('.') && host.contains(['.', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_references_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str, content: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let (blob, config, empty) = (path("a.b:c", "LSMT"), path("c", "{}"), path("e", ""));
        let of = |path: &Path| Input::of(path.to_str().unwrap()).unwrap();
        assert_eq!(of(&blob), Input::Blob(blob.clone()));
        assert_eq!(of(&config), Input::Config(config.clone()));
        assert_eq!(of(&empty), Input::Blob(empty.clone()));

        for text in ["r.example/a", "127.0.0.1:5000/a/b:t", "localhost/a", "[::1]:5000/a", "oci:d:t"] {
            assert_eq!(Input::of(text).unwrap(), Input::Image(text.parse().unwrap()), "{text}");
        }
        for text in ["layer.obd", "layers/base.obd", "./r.example/a", "../a.b/c", "/r.example/a", "ubuntu:1"]
        {
            assert!(Input::of(text).unwrap_err().to_string().contains(text), "{text}");
        }
        let error = Input::of("r.example/UPPER").unwrap_err();
        assert!(format!("{error:#}").contains("r.example/UPPER is no file"), "{error:#}");
    }
}
