//! A layer of an accelerated image, opened where it is.
//!
//! A full layer is read lazily. An index-only one is small: it is fetched as a whole, checked and unpacked in
//! memory, and its target, a layer of the ordinary image, is what is read lazily.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::try_join;
use overlaybd_format::{GzipBlob, GzipIndex, Limits, MemoryBlob, ReadAt};
use referrers::{Descriptor, Digest};
use tokio::task::spawn_blocking;

use crate::image_place::ImagePlace;
use crate::index_only_blob::IndexOnlyBlob;
use crate::lazy_image::{OpenBlob, OpenTarget};
use crate::verify::copy;

/// Opens the layer in `blob`, which is index-only if it has a `target`.
///
/// # Errors
///
/// If an index-only layer cannot be fetched or is none, or its target is not in the same place.
pub async fn open_layer(place: &ImagePlace, blob: &Descriptor, target: Option<&Digest>) -> Result<OpenBlob> {
    let Some(target) = target else { return place.blob(blob) };
    let (unpacked, stored) = try_join(fetch(place, blob), open_target(place, target)).await?;
    let reader = Arc::clone(&stored.reader);
    let (content, compressed): (Arc<dyn ReadAt>, _) = match unpacked.gzip_index {
        None => (reader, false),
        Some(index) => {
            let index = GzipIndex::open(MemoryBlob::new(index), &Limits::default()).await;
            let index = index.with_context(|| format!("the gzip index in {}", blob.digest))?;
            (Arc::new(GzipBlob::new(reader, index).with_context(|| stored.name.clone())?), true)
        }
    };
    Ok(OpenBlob {
        name: blob.digest.to_string(),
        // What is left of the blob was checked with it; it has no digest of its own.
        digest: None,
        reader: Arc::new(MemoryBlob::new(unpacked.fs_meta)),
        remote: None,
        target: Some(Box::new(OpenTarget { stored, content, compressed })),
    })
}

/// Fetches, checks and unpacks the blob of an index-only layer.
///
/// # Errors
///
/// If it cannot be fetched, does not have its digest, or is none.
pub async fn fetch(place: &ImagePlace, blob: &Descriptor) -> Result<IndexOnlyBlob> {
    ensure!(blob.size <= LONGEST, "{} has {} bytes, too many for an index", blob.digest, blob.size);
    let reader = place.blob(blob)?.reader;
    // A file of a layout has the length that it has, whatever is said of it.
    ensure!(reader.size() == blob.size, "{} has {} bytes, not {}", blob.digest, reader.size(), blob.size);
    let mut bytes = Vec::new();
    copy(&reader, &mut bytes, &|_| ()).await.with_context(|| blob.digest.to_string())?;
    let expected = blob.digest.clone();
    let unpack = spawn_blocking(move || {
        let found = Descriptor::of("", &bytes).digest;
        ensure!(found == expected, "the bytes have the digest {found}");
        IndexOnlyBlob::read(Bytes::from(bytes).as_ref())
    });
    unpack.await?.with_context(|| format!("the index-only layer {}", blob.digest))
}

/// Opens the layer of the ordinary image that an index-only layer points into, as it is stored.
///
/// # Errors
///
/// If it is not in the place.
pub async fn open_target(place: &ImagePlace, digest: &Digest) -> Result<OpenBlob> {
    let size = place.size(digest).await?;
    let size = size.with_context(|| {
        format!(
            "the layer {digest} of the ordinary image is not in {place}, and an index-only image needs it"
        )
    })?;
    place.blob(&Descriptor::new("", digest.clone(), size))
}

/// Bytes of a blob that is held in memory: the index of an image of some 20 GB.
const LONGEST: u64 = 256 << 20;
