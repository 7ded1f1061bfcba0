//! A run over an opened image: the start, the check of everything, the eager pull beside it.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use referrers::{Digest, ImageManifest};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::eager_pull::{self, EagerLayer};
use crate::image_files::ImageFilesystem;
use crate::lazy_image::{LazyImage, with_targets};
use crate::origin::Origin;
use crate::progress::{Progress, bytes};
use crate::report::{EagerReport, StartReport, VerifiedReport};
use crate::start::read_start_set;
use crate::tree::Tree;
use crate::verify;

/// What an image must hold.
#[derive(Debug)]
pub enum Expected {
    /// Exactly this tree.
    Tree(Tree),
    /// A device with this digest.
    Device(Digest),
    /// Files that can be read.
    Files,
}

/// Reads the start set. `begun` is when the run began, with the resolution of the tag.
///
/// # Errors
///
/// If something cannot be read or is not what is expected.
pub fn start(
    image: &LazyImage,
    begun: Instant,
    expected: &Expected,
    progress: Progress,
) -> Result<StartReport> {
    let step = progress.step("Reading the start set", 0);
    let tree = match expected {
        Expected::Tree(tree) => Some(tree),
        Expected::Device(_) | Expected::Files => None,
    };
    let start =
        block_in_place(|| read_start_set(&image.reader(), &Handle::current(), tree, &|n| step.add(n)))?;
    let cost = image.stats();
    let report = StartReport {
        slices: start.slices,
        bytes: start.bytes,
        fetched: cost.bytes_fetched,
        requests: cost.requests,
        first_byte: start.first_byte.duration_since(begun).as_secs_f64(),
        seconds: start.end.duration_since(begun).as_secs_f64(),
    };
    step.finish(&format!("{} in {} parts of files", bytes(report.bytes), report.slices));
    Ok(report)
}

/// Checks each blob by its digest, and the content by what is expected.
///
/// # Errors
///
/// If something cannot be read or is not what it should be.
pub async fn verified(image: &LazyImage, expected: &Expected, progress: Progress) -> Result<VerifiedReport> {
    let begun = Instant::now();
    let step = progress.step("Checking the blobs", image.blob_bytes());
    let blobs = stream::iter(with_targets(&image.blobs))
        .map(async |blob| {
            let Some(expected) = &blob.digest else { return anyhow::Ok(0) };
            let digest = verify::digest(&blob.reader, &|n| step.add(n)).await?;
            ensure!(digest == *expected, "the blob {} has the digest {digest}", blob.name);
            Ok(1)
        })
        .buffer_unordered(BLOBS_AT_A_TIME)
        .try_fold(0, async |sum, one| Ok(sum + one))
        .await?;
    step.finish(&format!("{blobs} with the digests they should have"));

    let step = progress.step("Checking the files", 0);
    let (files, file_bytes) = block_in_place(|| {
        let files = ImageFilesystem::open(image.reader(), Handle::current())?.files()?;
        match expected {
            Expected::Tree(tree) => {
                verify::same_tree(&files, tree, &|n| step.add(n))?;
                Ok((tree.files().count(), tree.bytes()))
            }
            Expected::Device(_) | Expected::Files => verify::read_all(&files, &|n| step.add(n)),
        }
    })?;
    let device_digest = match expected {
        Expected::Device(expected) => {
            let digest = verify::digest(&image.reader(), &|n| step.add(n)).await?;
            ensure!(digest == *expected, "the device has the digest {digest}, not {expected}");
            Some(digest.to_string())
        }
        Expected::Tree(_) | Expected::Files => None,
    };
    step.finish(&format!("{files} files of {}", bytes(file_bytes)));
    let cost = image.stats();
    Ok(VerifiedReport {
        blobs,
        files,
        bytes: file_bytes,
        fetched: cost.bytes_fetched,
        requests: cost.requests,
        seconds: begun.elapsed().as_secs_f64(),
        device_digest,
    })
}

/// Pulls the ordinary image.
///
/// # Errors
///
/// As [`eager_pull::pull`].
pub async fn eager(image: &ImageManifest, origin: &Origin, progress: Progress) -> Result<EagerReport> {
    let total = image.layers.iter().map(|layer| layer.size).sum();
    let step = progress.step("Pulling the ordinary image", total);
    let begun = Instant::now();
    let layers = EagerLayer::all(image, origin)?;
    let requests = layers.len() as u64;
    let unpacked =
        eager_pull::pull(layers, None, &|n| step.add(n)).await.context("pulling the ordinary image")?;
    let seconds = begun.elapsed().as_secs_f64();
    step.finish(&format!("{} fetched, {} unpacked", bytes(total), bytes(unpacked)));
    Ok(EagerReport { bytes: total, requests, seconds })
}

/// Enough to keep a link busy while one of them is hashed.
const BLOBS_AT_A_TIME: usize = 3;
