//! Pushes the images of an image layout to a repository.

use std::fs;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use referrers::{Content, Descriptor, Manifest, Reference, Registry, Repository};

use crate::oci_layout::OciLayout;

/// Pushes everything that the index of `layout` lists. The first image that refers to no other gets
/// `tag`; those that do are attached to their subjects. `done` is told of the size of each blob that is
/// there.
///
/// # Errors
///
/// If a blob or manifest is missing in the layout or has other bytes, or the registry refuses it.
pub async fn publish(
    layout: &OciLayout,
    registry: &Registry,
    repository: &Repository,
    tag: &str,
    done: &(dyn Fn(u64) + Sync),
) -> Result<Reference> {
    let tagged = repository.with_tag(tag)?;
    let mut tag_is_free = true;
    let index = layout.index()?;
    for (n, descriptor) in index.iter().enumerate() {
        for manifest in with_children(layout, descriptor, 0)? {
            push_blobs(layout, registry, repository, &manifest, done).await?;
            let by_digest = repository.with_digest(manifest.digest().clone());
            push(registry, &by_digest, &manifest).await?;
            let is_top = manifest.digest() == &descriptor.digest;
            let last_chance = n + 1 == index.len();
            if is_top && tag_is_free && (manifest.subject().is_none() || last_chance) {
                push(registry, &tagged, &manifest).await?;
                tag_is_free = false;
            }
        }
    }
    ensure!(!tag_is_free, "the index of the layout lists no image");
    Ok(tagged)
}

/// A manifest and, if it is an index, those it lists, children first.
fn with_children(layout: &OciLayout, descriptor: &Descriptor, depth: usize) -> Result<Vec<Manifest>> {
    ensure!(depth <= MAX_DEPTH, "indexes are nested more than {MAX_DEPTH} deep");
    let manifest = layout.manifest(descriptor)?;
    let mut manifests = Vec::new();
    if let Content::Index(index) = manifest.content() {
        for child in &index.manifests {
            manifests.extend(with_children(layout, child, depth + 1)?);
        }
    }
    manifests.push(manifest);
    Ok(manifests)
}

async fn push_blobs(
    layout: &OciLayout,
    registry: &Registry,
    repository: &Repository,
    manifest: &Manifest,
    done: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let Content::Image(image) = manifest.content() else { return Ok(()) };
    for blob in image.layers.iter().chain([&image.config]) {
        let path = layout.blob_path(&blob.digest);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let digest = registry.push_blob(repository, Bytes::from(bytes)).await?;
        ensure!(digest == blob.digest, "{} has other bytes", path.display());
        done(blob.size);
    }
    Ok(())
}

async fn push(registry: &Registry, reference: &Reference, manifest: &Manifest) -> Result<()> {
    let (media_type, bytes) = (manifest.media_type(), manifest.bytes().clone());
    if reference.tag().is_none() && manifest.subject().is_some() {
        registry.attach(reference.repository(), media_type, bytes).await?;
    } else {
        registry.push_manifest(reference, media_type, bytes).await?;
    }
    Ok(())
}

/// Converters nest once.
const MAX_DEPTH: usize = 4;
