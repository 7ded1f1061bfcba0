//! A device is read through the program's own source, store and reader.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use consumer::{Pieces, Swarm, open};
use overlaybd_format::{Compression, Image, LayerBlob, LayerOptions, LayerWriter, Limits, ReadAt, Tar};
use referrers::Digest;
use serde_json::json;

const SIZE: u64 = 4 << 20;

/// A layer that holds `content` at `offset`.
fn layer(offset: u64, content: &[u8]) -> Vec<u8> {
    let options =
        LayerOptions::new(SIZE).with_compression(Some(Compression::default())).with_tar(Some(Tar::Pax));
    let mut writer = LayerWriter::new(Cursor::new(Vec::new()), options).unwrap();
    writer.write(offset, content).unwrap();
    writer.finish().unwrap().into_inner()
}

/// Two layers that overlap, and the device they make.
fn layers() -> ([Vec<u8>; 2], Vec<u8>) {
    let lower: Vec<u8> = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let upper = vec![7; 64 << 10];
    let mut device = vec![0; SIZE as usize];
    device[1 << 20..2 << 20].copy_from_slice(&lower);
    device[(2 << 20) - (32 << 10)..(2 << 20) + (32 << 10)].copy_from_slice(&upper);
    ([layer(1 << 20, &lower), layer((2 << 20) - (32 << 10), &upper)], device)
}

fn manifest(layers: &[Vec<u8>]) -> Bytes {
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| {
            let digest = Digest::sha256_of(layer);
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": digest.as_str(),
                "size": layer.len(),
                "annotations": {
                    "containerd.io/snapshot/overlaybd/blob-digest": digest.as_str(),
                    "containerd.io/snapshot/overlaybd/blob-size": layer.len().to_string(),
                },
            })
        })
        .collect();
    let config = b"{}";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::sha256_of(config).as_str(),
            "size": config.len(),
        },
        "layers": layers,
    });
    serde_json::to_vec(&manifest).unwrap().into()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

async fn contents(device: &Image) -> Vec<u8> {
    let mut all = vec![0; device.size() as usize];
    device.read_at(&mut all, 0).await.unwrap();
    all
}

/// The device of `layers` as the program opens it, or its complaint.
fn opened(layers: &[Vec<u8>], swarm: &Swarm, cache: &Path) -> Result<Vec<u8>, String> {
    block_on(async {
        let device = open(manifest(layers), swarm, cache).await.map_err(|error| error.to_string())?;
        Ok(contents(&device).await)
    })
}

#[test]
fn a_manifest_becomes_a_device() {
    let (layers, device) = layers();
    let mut swarm = Swarm::default();
    let cache = tempfile::tempdir().unwrap();
    assert!(opened(&layers, &swarm, cache.path()).unwrap_err().contains("lacks a blob"));

    let blobs: Vec<_> = layers.iter().map(|layer| Arc::new(Pieces::new(layer))).collect();
    for (layer, blob) in layers.iter().zip(&blobs) {
        swarm.add(Digest::sha256_of(layer).as_str(), blob.clone());
        blob.lose_peer();
    }
    assert!(opened(&layers, &swarm, cache.path()).unwrap() == device);
    assert!(cache.path().read_dir().unwrap().count() >= 2, "the chunks are kept elsewhere");
}

#[test]
fn the_reader_needs_no_cache() {
    let (layers, device) = layers();
    let blobs = layers.iter().map(|layer| LayerBlob::new("a layer", Pieces::new(layer))).collect();
    let image = block_on(Image::open(blobs, &Limits::default())).unwrap();
    assert!(block_on(contents(&image)) == device);
}
