//! Images in an image layout: the ordinary image of a tree, and the accelerated one that is made of it.
//!
//! ```text
//! base manifest ◄──── subject ──── accelerated manifest (artifact type: native overlaybd)
//!   layers: tar.gz of files          layers: tar(ZFile(LSMT)) of what each layer changes on the device
//! ```

use std::io::BufWriter;
use std::thread::available_parallelism;

use anyhow::Result;
use referrers::{Descriptor, Digest, Platform, media_type};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::convert::document::ImageLayer;
use crate::convert::options::{Mode, Options};
use crate::convert::records::Records;
use crate::convert::{Located, convert};
use crate::image_name::ImageName;
use crate::image_place::ImagePlace;
use crate::oci_layout::OciLayout;
use crate::progress::Progress;
use crate::tar_layer;
use crate::tree::Tree;
use crate::workers;

/// Builds both images of `tree` into `layout`, whose index then lists them, the ordinary one first. To be called
/// from a task of a tokio runtime with several threads.
///
/// # Errors
///
/// As [`build_base`] and [`convert`].
pub async fn build(tree: &Tree, layout: &OciLayout, progress: Progress) -> Result<()> {
    let step = progress.step("Building the ordinary image", tree.bytes());
    layout.write_index(&[build_base(tree, layout, &|n| step.add(n))?])?;
    step.finish(&format!("{} layers", tree.layers.len()));
    let records = tempfile::tempdir()?;
    let name = ImageName::Layout { directory: layout.root().to_owned(), tag: None };
    let image = Located { place: ImagePlace::Layout(layout.clone()), name };
    let records = Records::open(records.path())?;
    convert(&image, None, &Options::new(Mode::Full), &records, progress).await?;
    Ok(())
}

/// Builds the ordinary image of `tree` into `layout`. Layers are made in parallel; `done` is told of each piece of a
/// file that has been worked into one, from several threads.
///
/// # Errors
///
/// If a source file cannot be read or has changed since the tree was made, or the layout cannot be
/// written.
pub fn build_base(tree: &Tree, layout: &OciLayout, done: &(dyn Fn(u64) + Sync)) -> Result<Descriptor> {
    let threads = available_parallelism().map_or(1, usize::from);
    let layers = workers::map(threads, (0..tree.layers.len()).collect(), |layer| {
        let blob = layout.new_blob()?;
        let diff_id = tar_layer::write(tree, layer, BufWriter::new(blob.as_file()), done)?;
        Ok(ImageLayer { diff_id, descriptor: layout.add(blob, media_type::OCI_LAYER_GZIP)? })
    })?;
    add(layout, layers)
}

/// Puts an accelerated image of finished layer blobs with ext4, bottom first, into `layout`. It refers to no base.
///
/// # Errors
///
/// If the layout cannot be written.
pub fn build_unattached(blobs: Vec<NamedTempFile>, layout: &OciLayout) -> Result<()> {
    let layers =
        blobs.into_iter().map(|blob| Ok(ImageLayer::full(layout.add(blob, media_type::OCI_LAYER)?, "ext4")));
    let image = add(layout, layers.collect::<Result<_>>()?)?;
    layout.write_index(&[image])
}

/// Stores the config and the manifest of an image.
fn add(layout: &OciLayout, layers: Vec<ImageLayer>) -> Result<Descriptor> {
    let (diff_ids, layers): (Vec<Digest>, Vec<Descriptor>) =
        layers.into_iter().map(|layer| (layer.diff_id, layer.descriptor)).unzip();
    let Platform { os, architecture, .. } = Platform::current();
    let config = json!({
        "architecture": architecture,
        "os": os,
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = layout.add_json(&config, media_type::OCI_CONFIG)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": config,
        "layers": layers,
    });
    layout.add_json(&manifest, media_type::OCI_MANIFEST)
}
