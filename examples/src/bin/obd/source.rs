//! What a verb reads from.

use std::path::PathBuf;

use anyhow::{Context, Result};
use examples::access::Keep;
use examples::input::Input;
use examples::lazy_image::{LazyImage, OpenBlob};

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
    /// The blobs of the layers, bottom first.
    pub(crate) async fn blobs(&self) -> Result<Vec<OpenBlob>> {
        let keep = self.cache.clone().map_or(Keep::Temporary, Keep::Directory);
        Input::of(&self.input)?.open(&self.remote.access(keep)).await
    }

    /// The device.
    pub(crate) async fn device(&self) -> Result<LazyImage> {
        LazyImage::open(self.blobs().await?).await.with_context(|| self.input.clone())
    }
}
