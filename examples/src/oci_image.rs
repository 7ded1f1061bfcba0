//! Images in an image layout: the ordinary image of a tree, and the accelerated one that refers to it.
//!
//! ```text
//! base manifest ◄──── subject ──── accelerated manifest (artifact type: native overlaybd)
//!   layers: tar.gz of files          layers: tar(ZFile(LSMT)) of what each layer changes on the device
//! ```

use std::io::BufWriter;
use std::thread::available_parallelism;

use anyhow::Result;
use referrers::{Descriptor, Digest};
use serde::Serialize;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::accelerated_layer;
use crate::oci_layout::OciLayout;
use crate::tar_layer;
use crate::tree::Tree;
use crate::workers;

/// Builds both images of `tree` into `layout`, whose index then lists them, the base first. Layers are
/// made in parallel; `done` is told of each piece that has been worked into one, from several threads:
/// in all about twice the size of the tree.
///
/// # Errors
///
/// If a source file cannot be read or has changed since the tree was made, or the layout cannot be
/// written.
pub fn build(tree: &Tree, layout: &OciLayout, done: &(dyn Fn(u64) + Sync)) -> Result<()> {
    let kinds = [Kind::Accelerated, Kind::Base];
    let jobs =
        kinds.iter().flat_map(|&kind| (0..tree.layers.len()).map(move |layer| (kind, layer))).collect();
    let threads = available_parallelism().map_or(1, usize::from);
    let mut accelerated = workers::map(threads, jobs, |(kind, layer)| {
        let blob = layout.new_blob()?;
        match kind {
            Kind::Base => {
                let diff_id = tar_layer::write(tree, layer, BufWriter::new(blob.as_file()), done)?;
                Ok(Layer { diff_id, descriptor: layout.add(blob, kind.layer_media_type())? })
            }
            Kind::Accelerated => {
                accelerated_layer::write(tree, layer, blob.as_file(), done)?;
                Ok(Layer::accelerated(layout.add(blob, kind.layer_media_type())?))
            }
        }
    })?;
    let base = accelerated.split_off(tree.layers.len());
    let base = add(layout, Kind::Base, base, None)?;
    let accelerated = add(layout, Kind::Accelerated, accelerated, Some(&base))?;
    layout.write_index(&[base, accelerated])
}

/// Puts an accelerated image of finished layer blobs, bottom first, into `layout`. It refers to no base.
///
/// # Errors
///
/// If the layout cannot be written.
pub fn build_unattached(blobs: Vec<NamedTempFile>, layout: &OciLayout) -> Result<()> {
    let media_type = Kind::Accelerated.layer_media_type();
    let layers = blobs.into_iter().map(|blob| Ok(Layer::accelerated(layout.add(blob, media_type)?)));
    let image = add(layout, Kind::Accelerated, layers.collect::<Result<_>>()?, None)?;
    layout.write_index(&[image])
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Base,
    Accelerated,
}

impl Kind {
    fn layer_media_type(self) -> &'static str {
        match self {
            Self::Base => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Accelerated => "application/vnd.oci.image.layer.v1.tar",
        }
    }

    fn artifact_type(self) -> Option<&'static str> {
        match self {
            Self::Base => None,
            Self::Accelerated => Some(NATIVE_ARTIFACT),
        }
    }
}

/// A layer of an image.
struct Layer {
    /// Digest of the uncompressed tar.
    diff_id: Digest,
    descriptor: Descriptor,
}

impl Layer {
    /// An overlaybd layer: an uncompressed tar as far as images are concerned, so blob and diff id are
    /// one.
    fn accelerated(mut descriptor: Descriptor) -> Self {
        let annotations = [
            (BLOB_DIGEST, descriptor.digest.to_string()),
            (BLOB_SIZE, descriptor.size.to_string()),
            (VERSION, NATIVE_VERSION.to_owned()),
        ];
        descriptor.annotations.extend(annotations.map(|(key, value)| (key.to_owned(), value)));
        Self { diff_id: descriptor.digest.clone(), descriptor }
    }
}

/// Stores the config and the manifest of an image.
fn add(
    layout: &OciLayout,
    kind: Kind,
    layers: Vec<Layer>,
    subject: Option<&Descriptor>,
) -> Result<Descriptor> {
    let (diff_ids, layers): (Vec<_>, Vec<_>) =
        layers.into_iter().map(|layer| (layer.diff_id, layer.descriptor)).unzip();
    let config = json!({
        "architecture": architecture(),
        "os": std::env::consts::OS,
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = layout.add_json(&config, CONFIG)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        artifact_type: kind.artifact_type(),
        config: &config,
        layers: &layers,
        subject,
    };
    let mut descriptor = layout.add_json(&manifest, MANIFEST)?;
    descriptor.artifact_type = kind.artifact_type().map(str::to_owned);
    Ok(descriptor)
}

/// OCI image specification, "OCI Image Manifest".
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'a str>,
    config: &'a Descriptor,
    layers: &'a [Descriptor],
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a Descriptor>,
}

/// The name that image configurations use for this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// OCI image specification, "OCI Image Manifest" and "OCI Image Configuration".
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// The artifact type of a native (full mode) overlaybd image.
const NATIVE_ARTIFACT: &str = "application/vnd.containerd.overlaybd.native.v1+json";

/// The annotations by which snapshotters tell an overlaybd layer, and the version they expect.
const BLOB_DIGEST: &str = "containerd.io/snapshot/overlaybd/blob-digest";
const BLOB_SIZE: &str = "containerd.io/snapshot/overlaybd/blob-size";
const VERSION: &str = "containerd.io/snapshot/overlaybd/version";
const NATIVE_VERSION: &str = "0.1.0";
