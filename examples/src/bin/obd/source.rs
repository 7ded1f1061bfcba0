//! What a verb reads from.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use examples::access::Keep;
use examples::chunk_dir::CacheDir;
use examples::config::{self, Config};
use examples::input::Input;
use examples::lazy_image::{LazyImage, OpenBlob, proved_wrong};
use examples::start_profile::Profiles;
use overlaybd_format::WritableImage;

use crate::remote::Remote;
use crate::upper::Files;

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
    pub(crate) async fn open(&self) -> Result<Vec<OpenBlob>> {
        Ok(self.open_in(self.cache.clone().map(CacheDir::new).as_ref()).await?.0)
    }

    /// What `work` makes of the blobs of the layers. What was fetched for it stays in the cache, unless it
    /// proved wrong.
    pub(crate) async fn read<T>(&self, work: impl AsyncFnOnce(&[OpenBlob]) -> Result<T>) -> Result<T> {
        self.read_with_profiles(async |blobs, _| work(blobs).await).await
    }

    /// As [`read`](Self::read), with the place of the profiles of starts.
    pub(crate) async fn read_with_profiles<T>(
        &self,
        work: impl AsyncFnOnce(&[OpenBlob], Option<Profiles>) -> Result<T>,
    ) -> Result<T> {
        let cache = self.cache.clone().map(CacheDir::new);
        let (blobs, profiles) = self.open_in(cache.as_ref()).await?;
        let result = work(&blobs, profiles).await.with_context(|| self.input.clone());
        let wrong = match &result {
            Ok(_) => Vec::new(),
            Err(error) => {
                let remote = proved_wrong(&blobs, error).filter_map(|blob| blob.remote.as_ref());
                remote.map(|blob| (blob.id().clone(), blob.size())).collect()
            }
        };
        drop(blobs);
        // After an error that says nothing of the bytes, nobody waits for more of them.
        if let Some(cache) = cache
            && (result.is_ok() || !wrong.is_empty())
        {
            // What is late by then was read ahead over a bad link.
            let _ = tokio::time::timeout(LATE, cache.settled()).await;
            for (id, size) in wrong {
                // A directory that fails here gives nothing to the next run either.
                let _ = cache.forget(id, size).await;
            }
        }
        result
    }

    /// As [`read`](Self::read), of the device.
    pub(crate) async fn read_device<T>(&self, work: impl AsyncFnOnce(LazyImage) -> Result<T>) -> Result<T> {
        self.read(async |blobs| work(LazyImage::open(blobs.to_vec()).await?).await).await
    }

    /// The device of a configuration that has a writable layer.
    pub(crate) async fn writable(&self) -> Result<Option<WritableImage>> {
        let Input::Config(path) = Input::of(&self.input)? else { return Ok(None) };
        if Config::read(&path)?.upper == config::Upper::default() {
            return Ok(None);
        }
        let access = self
            .remote
            .access(self.cache.clone().map_or(Keep::Temporary, |dir| Keep::Directory(CacheDir::new(dir))));
        let files = Files { data: path, index: None };
        files.device_by(&access).await.with_context(|| self.input.clone()).map(Some)
    }

    async fn open_in(&self, cache: Option<&CacheDir>) -> Result<(Vec<OpenBlob>, Option<Profiles>)> {
        let keep = cache.cloned().map_or(Keep::Temporary, Keep::Directory);
        Input::of(&self.input)?.open_with_profiles(&self.remote.access(keep)).await
    }
}

/// For fetches that go on when the work is done.
const LATE: Duration = Duration::from_secs(2);
