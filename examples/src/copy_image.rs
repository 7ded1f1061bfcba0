//! An image from one place to another, byte by byte the same.

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use referrers::{Content, Descriptor, Manifest};

use crate::hashing::HashingWriter;
use crate::image_place::ImagePlace;
use crate::verify;

/// Copies `manifest` and all that it lists, what is listed first: a registry takes no manifest without that.
/// Blobs that are there already are left alone. `done` is told of the bytes of blobs.
///
/// # Errors
///
/// If something cannot be read or written, or has another digest than it is listed with.
pub async fn copy_image(
    from: &ImagePlace,
    to: &ImagePlace,
    manifest: &Manifest,
    done: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    for manifest in with_children(from, manifest).await?.iter().rev() {
        if let Content::Image(image) = manifest.content() {
            let blobs: Vec<_> = image.layers.iter().chain([&image.config]).cloned().collect();
            stream::iter(blobs)
                .map(|blob| async move { copy_blob(from, to, &blob, done).await })
                .buffer_unordered(AT_A_TIME)
                .try_collect::<Vec<()>>()
                .await?;
        }
        to.put_manifest(manifest.media_type(), manifest.bytes().clone()).await?;
    }
    Ok(())
}

/// The manifest and those below it, each behind what lists it.
async fn with_children(from: &ImagePlace, manifest: &Manifest) -> Result<Vec<Manifest>> {
    let mut manifests = vec![manifest.clone()];
    let mut next = 0;
    while let Some(manifest) = manifests.get(next) {
        next += 1;
        let Content::Index(index) = manifest.content() else { continue };
        ensure!(index.skipped == 0, "{} lists what cannot be read", manifest.digest());
        for child in index.manifests.clone() {
            ensure!(manifests.len() < MAX_MANIFESTS, "there are more than {MAX_MANIFESTS} manifests");
            manifests.push(from.manifest(&child).await?);
        }
    }
    Ok(manifests)
}

async fn copy_blob(
    from: &ImagePlace,
    to: &ImagePlace,
    blob: &Descriptor,
    done: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    if to.size(&blob.digest).await? == Some(blob.size) {
        done(blob.size);
        return Ok(());
    }
    let mut spool = to.spool()?;
    let mut hashing = HashingWriter::new(spool.as_file_mut());
    let source = from.blob(blob)?;
    verify::copy(&source.reader, &mut hashing, done).await.with_context(|| blob.digest.to_string())?;
    let (_, found, _) = hashing.finish()?;
    ensure!(found == blob.digest, "{} has other bytes, with the digest {found}", blob.digest);
    to.put(spool, &blob.media_type).await?;
    Ok(())
}

/// Blobs under way at once.
const AT_A_TIME: usize = 3;

/// Far more than the platforms of any image, and attestations for each.
const MAX_MANIFESTS: usize = 1024;
