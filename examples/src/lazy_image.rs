//! A stack of layer blobs as one device, whether the blobs are here or remote.

use std::sync::Arc;

use anyhow::Result;
use lazy_fetch::{Blob, Stats};
use overlaybd_format::{Error, Image, LayerBlob, Limits, ReadAt};
use referrers::Digest;

/// A layer blob that can be read.
#[derive(Debug, Clone)]
pub struct OpenBlob {
    /// For messages: the digest or the path.
    pub name: String,
    /// What it must hash to, where that is known.
    pub digest: Option<Digest>,
    /// The bytes.
    pub reader: Arc<dyn ReadAt>,
    /// The same as a cached remote blob, if that is what it is.
    pub remote: Option<Blob>,
}

/// An opened image.
#[derive(Debug, Clone)]
pub struct LazyImage {
    /// The merged device.
    pub device: Arc<dyn ReadAt>,
    /// The layer blobs, bottom first.
    pub blobs: Vec<OpenBlob>,
}

impl LazyImage {
    /// Opens the stack of `blobs`, bottom first, reading no more of them than their indexes.
    ///
    /// # Errors
    ///
    /// If a blob is no overlaybd layer or cannot be read.
    pub async fn open(blobs: Vec<OpenBlob>) -> Result<Self> {
        let layers = blobs.iter().map(OpenBlob::layer).collect();
        let image = Image::open(layers, &Limits::default()).await?;
        Ok(Self { device: Arc::new(image), blobs })
    }

    /// Length of all layer blobs in bytes.
    pub fn blob_bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.reader.size()).sum()
    }

    /// What the remote blobs have cost so far.
    pub fn stats(&self) -> Stats {
        stats(&self.blobs)
    }
}

impl OpenBlob {
    /// The blob, to be opened as a layer.
    pub fn layer(&self) -> LayerBlob {
        LayerBlob::new(self.name.as_str(), Arc::clone(&self.reader))
    }

    /// Drops what a cache holds of the blob, because something in it proved wrong.
    pub async fn forget(&self) {
        if let Some(remote) = &self.remote {
            // The whole blob is in its bounds, which is all that could be wrong.
            let _ = remote.discard(0..remote.size()).await;
        }
    }
}

/// Drops what a cache holds of the blob that `error` says something wrong of, so that nobody reads it
/// again. An error of the network or a disk says nothing of the bytes.
pub async fn forget_wrong(blobs: &[OpenBlob], error: &anyhow::Error) {
    for cause in error.chain() {
        let Some(Error::InBlob { blob: name, source }) = cause.downcast_ref() else { continue };
        if matches!(source.root(), Error::Io { .. } | Error::OutOfBounds { .. }) {
            continue;
        }
        for blob in blobs.iter().filter(|blob| *blob.name == **name) {
            blob.forget().await;
        }
    }
}

/// What the remote ones of `blobs` have cost so far.
pub fn stats(blobs: &[OpenBlob]) -> Stats {
    blobs.iter().filter_map(|blob| blob.remote.as_ref()).map(Blob::stats).sum()
}
