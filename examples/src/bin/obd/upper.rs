//! The writable layer that a verb is given: its files, or a configuration that names them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use examples::access::Access;
use examples::config::{self, Config};
use examples::input::{Input, open_lowers};
use examples::lazy_image::OpenBlob;
use overlaybd_format::{FileStorage, Image, Limits, Sparse, Upper, WritableImage};

#[derive(Debug, clap::Args)]
pub(crate) struct Files {
    /// The data file of a writable layer, or a config.v1.json with an upper.
    pub(crate) data: PathBuf,
    /// The index file of the layer. A sparse layer needs none.
    pub(crate) index: Option<PathBuf>,
}

/// A writable layer, and what a configuration puts below it.
pub(crate) struct Opened {
    pub(crate) upper: Upper,
    pub(crate) lowers: Option<Image>,
}

impl Files {
    pub(crate) async fn open(&self) -> Result<Opened> {
        self.open_by(&Access::default()).await
    }

    async fn open_by(&self, access: &Access) -> Result<Opened> {
        let places = self.places()?;
        let upper = places.open(Upper::open, Sparse::open)?;
        let lowers = match &places.config {
            Some(config) => lowers(config, self.directory(), access).await?,
            None => None,
        };
        Ok(Opened { upper, lowers })
    }

    /// The layer as it was before it was sealed.
    pub(crate) fn unseal(&self) -> Result<Upper> {
        self.places()?.open(Upper::unseal, Sparse::unseal)
    }

    fn places(&self) -> Result<Places> {
        let name = self.data.to_str().context("the name of the file is no text")?;
        if !matches!(Input::of(name)?, Input::Config(_)) {
            return Ok(Places { config: None, data: self.data.clone(), index: self.index.clone() });
        }
        let config = Config::read(&self.data)?;
        let config::Upper { data, index, target, .. } = &config.upper;
        ensure!(!data.is_empty(), "key upper: the configuration has no writable layer");
        ensure!(target.is_empty(), "key upper: index-only layers are not written here");
        let index = (!index.is_empty()).then(|| self.directory().join(index));
        Ok(Places { data: self.directory().join(data), index, config: Some(config) })
    }

    fn directory(&self) -> &Path {
        self.data.parent().unwrap_or(Path::new("."))
    }

    /// The layer as a device, with what is below it.
    pub(crate) async fn device(&self) -> Result<WritableImage> {
        self.device_by(&Access::default()).await
    }

    /// As [`device`](Self::device), remote lowers being reached by `access`.
    pub(crate) async fn device_by(&self, access: &Access) -> Result<WritableImage> {
        let Opened { upper, lowers } = self.open_by(access).await?;
        Ok(WritableImage::new(lowers, upper)?)
    }
}

/// Opens a file of a layer for writing.
pub(crate) fn file(path: &Path) -> Result<FileStorage> {
    FileStorage::open(path).with_context(|| format!("opening {}", path.display()))
}

/// Creates a file for a layer.
pub(crate) fn new_file(path: &Path) -> Result<FileStorage> {
    FileStorage::create(path).with_context(|| format!("creating {}", path.display()))
}

/// Where a layer is.
struct Places {
    /// The configuration that says so.
    config: Option<Config>,
    data: PathBuf,
    index: Option<PathBuf>,
}

impl Places {
    /// Opens the layer by one of these; without an index file it can only be a sparse one.
    fn open(
        &self,
        any: impl FnOnce(FileStorage, FileStorage, &Limits) -> overlaybd_format::Result<Upper>,
        sparse: impl FnOnce(FileStorage, &Limits) -> overlaybd_format::Result<Sparse>,
    ) -> Result<Upper> {
        let (data, limits) = (file(&self.data)?, Limits::default());
        Ok(match &self.index {
            Some(index) => any(data, file(index)?, &limits)?,
            None => sparse(data, &limits)?.into(),
        })
    }
}

async fn lowers(config: &Config, directory: &Path, access: &Access) -> Result<Option<Image>> {
    if config.lowers.is_empty() {
        return Ok(None);
    }
    let blobs = open_lowers(config, directory, access).await?;
    Ok(Some(Image::open(blobs.iter().map(OpenBlob::layer).collect(), &Limits::default()).await?))
}
