//! From the manifest of an accelerated image to its device.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lazy_fetch::{BlobId, Cache, TokioRuntime};
use overlaybd_format::{Image, LayerBlob, Limits};
use referrers::{Classified, Kind, Manifest, Role, classify, media_type::OCI_MANIFEST};

use crate::{Shelf, Swarm};

/// Opens the image of `manifest`, whose blobs `swarm` brings and `cache` keeps.
///
/// # Errors
///
/// If it is no image in full mode, or a blob is missing or no layer.
pub async fn open(manifest: Bytes, swarm: &Swarm, cache: &Path) -> Result<Image, Box<dyn Error>> {
    let manifest = Manifest::parse(manifest, OCI_MANIFEST, None)?;
    let image = manifest.image().ok_or("the manifest is an index")?;
    let Classified::Accelerated { kind: Kind::Native, layers } = classify(image)? else {
        return Err("the image is not in full mode".into());
    };
    let cache =
        Cache::builder(Arc::new(TokioRuntime::current()?)).store(Arc::new(Shelf::new(cache))).build()?;
    let mut blobs = Vec::new();
    for layer in layers.iter().filter(|layer| layer.role == Role::Native) {
        let source = swarm.blob(layer.digest.as_str()).ok_or("the swarm lacks a blob")?;
        let blob = cache.open(BlobId::new(layer.digest.as_str())?, layer.size, source);
        blobs.push(LayerBlob::new(layer.digest.as_str(), blob));
    }
    Ok(Image::open(blobs, &Limits::default()).await?)
}
