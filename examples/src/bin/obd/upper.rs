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
        let name = self.data.to_str().context("the name of the file is no text")?;
        if !matches!(Input::of(name)?, Input::Config(_)) {
            return Ok(Opened { upper: layer(&self.data, self.index.as_deref())?, lowers: None });
        }
        let directory = self.data.parent().unwrap_or(Path::new("."));
        let config = Config::read(&self.data)?;
        let config::Upper { data, index, target, .. } = &config.upper;
        ensure!(!data.is_empty(), "key upper: the configuration has no writable layer");
        ensure!(target.is_empty(), "key upper: index-only layers are not written here");
        let index = (!index.is_empty()).then(|| directory.join(index));
        let upper = layer(&directory.join(data), index.as_deref())?;
        Ok(Opened { upper, lowers: lowers(&config, directory, access).await? })
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

fn layer(data: &Path, index: Option<&Path>) -> Result<Upper> {
    let (data, limits) = (file(data)?, Limits::default());
    Ok(match index {
        Some(index) => Upper::open(data, file(index)?, &limits)?,
        None => Sparse::open(data, &limits)?.into(),
    })
}

async fn lowers(config: &Config, directory: &Path, access: &Access) -> Result<Option<Image>> {
    if config.lowers.is_empty() {
        return Ok(None);
    }
    let blobs = open_lowers(config, directory, access).await?;
    Ok(Some(Image::open(blobs.iter().map(OpenBlob::layer).collect(), &Limits::default()).await?))
}
