//! Ordinary images made of given layers, as builders and registries hold them.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::io::{Read, Write};

use examples::oci_layout::OciLayout;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use referrers::{Descriptor, Digest, media_type};
use serde_json::{Value, json};

/// A layer: its media type and its blob.
pub(crate) type Layer = (&'static str, Vec<u8>);

/// Stores an image for `architecture` with these layers, bottom first.
pub(crate) fn image(layout: &OciLayout, architecture: &str, layers: &[Layer]) -> Descriptor {
    let types = (media_type::OCI_MANIFEST, media_type::OCI_CONFIG);
    image_of(layout, architecture, layers, types)
}

/// The same with media types of Docker's.
pub(crate) fn docker_image(layout: &OciLayout, architecture: &str, layers: &[Layer]) -> Descriptor {
    let types = (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG);
    image_of(layout, architecture, layers, types)
}

fn image_of(
    layout: &OciLayout,
    architecture: &str,
    layers: &[Layer],
    (manifest_type, config_type): (&str, &str),
) -> Descriptor {
    let diff_ids: Vec<_> = layers.iter().map(|(_, blob)| Digest::sha256_of(&tar_of(blob))).collect();
    let config = json!({
        "os": "linux", "architecture": architecture, "created": "2024-05-06T07:08:09Z",
        "config": { "Cmd": ["sh"], "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": [{ "created_by": "a test" }],
    });
    let config = layout.add_json(&config, config_type).unwrap();
    let layers: Vec<_> =
        layers.iter().map(|(media_type, blob)| layout.add_bytes(blob, media_type).unwrap()).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": layers,
        "annotations": { "org.example.kept": "yes" },
    });
    layout.add_json(&manifest, manifest_type).unwrap()
}

/// Stores an index of these entries.
pub(crate) fn index(layout: &OciLayout, entries: &[Value]) -> Descriptor {
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries });
    layout.add_json(&index, media_type::OCI_INDEX).unwrap()
}

/// The blob without its compression.
pub(crate) fn tar_of(blob: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    match blob {
        [0x1F, 0x8B, ..] => {
            MultiGzDecoder::new(blob).read_to_end(&mut tar).unwrap();
        }
        [0x28, 0xB5, 0x2F, 0xFD, ..] => tar = zstd::decode_all(blob).unwrap(),
        plain => tar.extend(plain),
    }
    tar
}

/// As gzip, in so many members.
pub(crate) fn gzip(tar: &[u8], members: usize) -> Vec<u8> {
    let parts = tar.chunks(tar.len().div_ceil(members));
    let member = |part: &[u8]| {
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(part).unwrap();
        gzip.finish().unwrap()
    };
    parts.flat_map(member).collect()
}
