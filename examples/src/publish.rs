//! Pushes the images of an image layout to a repository.

use anyhow::{Result, ensure};

use crate::copy_image::copy_image;
use crate::image_place::ImagePlace;
use crate::oci_layout::OciLayout;

/// Pushes everything that the index of `layout` lists. The first image that refers to no other gets
/// `tag`; those that do are attached to their subjects. `done` is told of the bytes of blobs.
///
/// # Errors
///
/// As [`copy_image`]; if the index lists nothing.
pub async fn publish(
    layout: &OciLayout,
    to: &ImagePlace,
    tag: &str,
    done: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let from = ImagePlace::Layout(layout.clone());
    let mut manifests = Vec::new();
    for listed in layout.index()? {
        let manifest = layout.manifest(&listed)?;
        copy_image(&from, to, &manifest, done).await?;
        manifests.push(manifest);
    }
    ensure!(!manifests.is_empty(), "the index of the layout lists no image");
    let base = manifests.iter().find(|manifest| manifest.subject().is_none());
    if let Some(tagged) = base.or(manifests.last()) {
        to.tag(tagged, tag).await?;
    }
    Ok(())
}
