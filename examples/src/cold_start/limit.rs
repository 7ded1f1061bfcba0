//! What no way over a link can be faster than.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use overlaybd_format::trace::Trace;
use rustix::fs::{Advice, fadvise};
use tokio::process::Command;

use crate::accelerated_image::AcceleratedImage;
use crate::lazy_image::{END, LazyImage};
use crate::start_profile::record;

use super::application::Start;
use super::{Place, ways};

/// The start without a link.
pub(super) struct Local {
    /// Seconds from files on the local disk.
    pub(super) cold: f64,
    /// Seconds from files in the page cache.
    pub(super) warm: f64,
    /// Stored bytes that it touches.
    pub(super) touched: u64,
}

/// Measures the start on an unpacked image, and what it touches of `image`.
pub(super) async fn measure(
    image: &LazyImage,
    found: &AcceleratedImage,
    place: &Place,
    runs: usize,
) -> Result<Local> {
    let root = tempfile::tempdir()?;
    ways::pull(place, root.path()).await?;
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..runs.max(1) {
        forget(root.path())?;
        cold.push(Start::Measured.run(root.path()).await?);
        warm.push(Start::Measured.run(root.path()).await?);
    }
    let trace = record(image, async |root| {
        without_readahead(root).await?;
        Start::Measured.run(root).await.map(drop)
    });
    Ok(Local { cold: median(cold)?, warm: median(warm)?, touched: stored(&trace.await?, image, found)? })
}

/// The stored bytes of a trace, and those that opening the layers takes.
fn stored(trace: &Trace, image: &LazyImage, found: &AcceleratedImage) -> Result<u64> {
    let touched = trace.blob_ranges(&image.device)?;
    let ends: u64 = found.layers().map(|layer| layer.size.min(2 * END)).sum();
    Ok(ends + touched.iter().map(|touched| touched.range.end - touched.range.start).sum::<u64>())
}

/// Has the kernel read the pages that are touched, and no others.
async fn without_readahead(root: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let at = root.to_string_lossy();
    let mut mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?, words.next()?))
    });
    let (device, _) = mounts.find(|(_, place)| *place == at).context("the image is not mounted")?;
    let status = Command::new("blockdev").args(["--setra", "0", device]).status().await;
    anyhow::ensure!(status.context("running blockdev")?.success(), "blockdev: no readahead of {device}");
    Ok(())
}

/// Puts the files under `root` out of the page cache.
fn forget(root: &Path) -> Result<()> {
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            forget(&entry.path())?;
        } else {
            let file = File::open(entry.path())?;
            // Only what is on the disk can be dropped.
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

fn median(mut seconds: Vec<f64>) -> Result<f64> {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().context("nothing was measured")
}
