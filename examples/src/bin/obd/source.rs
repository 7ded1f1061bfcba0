//! What a verb reads from.

use std::path::PathBuf;

use anyhow::{Context, Result};
use examples::access::Keep;
use examples::input::Input;
use examples::lazy_image::{LazyImage, OpenBlob, forget_wrong};

use crate::remote::Remote;

#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    /// A layer blob, a config.v1.json, or the reference of an image.
    #[arg(value_name = "INPUT")]
    input: String,
    #[command(flatten)]
    remote: Remote,
    /// Keep what is fetched in this directory, for the next run too.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

impl Source {
    /// What `work` makes of the blobs of the layers, bottom first. Bytes that prove wrong do not stay in the
    /// cache.
    pub(crate) async fn read<T>(&self, work: impl AsyncFnOnce(&[OpenBlob]) -> Result<T>) -> Result<T> {
        let keep = self.cache.clone().map_or(Keep::Temporary, Keep::Directory);
        let blobs = Input::of(&self.input)?.open(&self.remote.access(keep)).await?;
        let result = work(&blobs).await.with_context(|| self.input.clone());
        if let Err(error) = &result {
            forget_wrong(&blobs, error).await;
        }
        result
    }

    /// As [`read`](Self::read), of the device.
    pub(crate) async fn read_device<T>(&self, work: impl AsyncFnOnce(LazyImage) -> Result<T>) -> Result<T> {
        self.read(async |blobs| work(LazyImage::open(blobs.to_vec()).await?).await).await
    }
}
