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
    /// What it points into, if it is an index-only layer.
    pub target: Option<Box<OpenTarget>>,
}

/// The target of an index-only layer.
#[derive(Debug, Clone)]
pub struct OpenTarget {
    /// The blob as it is stored.
    pub stored: OpenBlob,
    /// The uncompressed stream; the same bytes if it is not compressed.
    pub content: Arc<dyn ReadAt>,
    /// Whether the format protects the stream: whether it is compressed.
    pub compressed: bool,
}

/// An opened image.
#[derive(Debug, Clone)]
pub struct LazyImage {
    /// The merged device.
    pub device: Arc<Image>,
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
        for remote in blobs.iter().filter_map(|blob| blob.remote.as_ref()) {
            remote.prefetch([0..END, remote.size().saturating_sub(END)..remote.size()]);
        }
        let layers = blobs.iter().map(OpenBlob::layer).collect();
        let image = Image::open(layers, &Limits::default()).await?;
        Ok(Self { device: Arc::new(image), blobs })
    }

    /// The device, for readers that take any.
    pub fn reader(&self) -> Arc<dyn ReadAt> {
        Arc::<Image>::clone(&self.device)
    }

    /// The blob of layer `layer` as it is stored, or that of its target.
    pub fn stored(&self, layer: usize, target: bool) -> Option<&OpenBlob> {
        let blob = self.blobs.get(layer)?;
        if target { blob.target.as_ref().map(|target| &target.stored) } else { Some(blob) }
    }

    /// Length of all layer blobs and their targets in bytes.
    pub fn blob_bytes(&self) -> u64 {
        with_targets(&self.blobs).map(|blob| blob.reader.size()).sum()
    }

    /// What the remote blobs have cost so far.
    pub fn stats(&self) -> Stats {
        stats(&self.blobs)
    }
}

impl OpenBlob {
    /// The blob, to be opened as a layer.
    pub fn layer(&self) -> LayerBlob {
        let layer = LayerBlob::new(self.name.as_str(), Arc::clone(&self.reader));
        match &self.target {
            Some(target) => layer.with_target(target.stored.name.as_str(), Arc::clone(&target.content)),
            None => layer,
        }
    }

    /// Whether it points into a compressed blob.
    pub fn has_compressed_target(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.compressed)
    }
}

/// `blobs` and the targets they point into, as they are stored.
pub fn with_targets(blobs: &[OpenBlob]) -> impl Iterator<Item = &OpenBlob> {
    blobs
        .iter()
        .flat_map(|blob| std::iter::once(blob).chain(blob.target.as_ref().map(|target| &target.stored)))
}

/// Those of `blobs` whose bytes `error` says to be wrong. An error of the network or a disk says nothing of
/// the bytes.
pub fn proved_wrong<'a>(blobs: &'a [OpenBlob], error: &anyhow::Error) -> impl Iterator<Item = &'a OpenBlob> {
    let wrong = error.chain().find_map(|cause| wrong_blob(cause.downcast_ref()?)).map(str::to_owned);
    with_targets(blobs).filter(move |blob| wrong.as_ref() == Some(&blob.name))
}

/// The name of the blob whose bytes `error` says to be wrong.
pub fn wrong_blob(error: &Error) -> Option<&str> {
    let Error::InBlob { blob, source } = error else { return None };
    let wrong = matches!(
        source.root(),
        Error::Broken { .. } | Error::Checksum { .. } | Error::Unsupported { .. } | Error::Limit { .. }
    );
    wrong.then_some(&**blob)
}

/// What the remote ones of `blobs` have cost so far.
pub fn stats(blobs: &[OpenBlob]) -> Stats {
    with_targets(blobs).filter_map(|blob| blob.remote.as_ref()).map(Blob::stats).sum()
}

/// Bytes at each end of a layer that are read first: headers, and the trailer with the index before it.
pub(crate) const END: u64 = 64 << 10;
