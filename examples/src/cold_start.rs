//! What the project is for, measured: how long a start takes over a slow link, from an image that is not here.
//!
//! ```text
//!  registry in this process ─► one link (bandwidth, round trip, slow start) ─┬─► containerd: pull, unpack
//!                                                                            ├─► eager pull of our own: pull, unpack
//!                                                                            └─► lazy mount, without and with a profile
//! ```
//!
//! The image is the part of the Rust toolchain that the quickstart makes, the start a compiler that compiles a
//! program out of the mounted or unpacked directory. Each way begins with an empty store, and nothing of the
//! image is in the page cache. A profile is recorded on another start than the one that is measured.

mod application;
mod containerd;
mod limit;
mod picture;
mod table;
mod traffic;
mod ways;

use std::time::Duration;

use anyhow::{Context, Result};
use referrers::{Reference, Repository};
use registry::{Link, Store};
use serde::Serialize;

use crate::accelerated_image::AcceleratedImage;
use crate::access::Access;
use crate::image_name::ImageName;
use crate::image_place::ImagePlace;
use crate::input::Input;
use crate::lazy_image::LazyImage;
use crate::oci_image;
use crate::oci_layout::OciLayout;
use crate::progress::Progress;
use crate::publish::publish;
use crate::start_profile::record;
use crate::toolchain::Toolchain;

use application::Start;
use limit::Local;
use ways::Way;

pub use picture::svg;
pub use table::Table;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bandwidths, in Mbit/s.
    pub bandwidths: Vec<u64>,
    /// Time for a packet to the registry and the answer back.
    pub round_trip: Duration,
    /// Runs of each way. Medians are reported.
    pub runs: usize,
}

/// What was measured. Times are in seconds, sizes in bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Length of the layers of the ordinary image.
    pub base_bytes: u64,
    /// Length of the layers of the accelerated image.
    pub image_bytes: u64,
    /// Stored bytes of the blocks that a start touches, and of the ends of the layers.
    pub touched_bytes: u64,
    /// The start from local files that are not in the page cache.
    pub local: f64,
    /// The start from local files that are.
    pub warm: f64,
    /// Time for a packet to the registry and the answer back.
    pub round_trip: f64,
    /// The measurements at each bandwidth.
    pub links: Vec<AtLink>,
}

/// The measurements at one bandwidth.
#[derive(Debug, Clone, Serialize)]
pub struct AtLink {
    /// The bandwidth in bits per second.
    pub bits_per_second: u64,
    /// What no way can be faster than: the start from local files, or a warm start and the transfer of what it
    /// touches.
    pub limit: f64,
    /// Each way.
    pub ways: Vec<Row>,
}

/// One way to start.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What it is.
    pub way: &'static str,
    /// The run whose time to the answer is the median.
    pub median: Run,
    /// Time to the answer of each run.
    pub answers: Vec<f64>,
}

/// One start.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Until the files were there to start from.
    pub pull: f64,
    /// Until the start had done its work.
    pub answer: f64,
    /// Bytes that came over the link until then.
    pub bytes: u64,
    /// Requests until then.
    pub requests: usize,
    /// Seconds, and bytes that had come until then.
    pub timeline: Vec<(f64, u64)>,
}

/// Builds the image, records a profile, and measures.
///
/// # Errors
///
/// If anything cannot be made, mounted or started, or a start does not answer rightly.
pub async fn run(options: &Options, progress: Progress) -> Result<Measured> {
    let tree = Toolchain::find()?.tree()?;
    let directory = tempfile::tempdir()?;
    let layout = OciLayout::create(directory.path())?;
    oci_image::build(&tree, &layout, progress).await?;

    let store = Store::memory();
    let near = registry::Registry::builder().store(store.clone()).serve().await?;
    let place = local(near.addr())?;
    publish(&layout, &place.image_place()?, TAG, &|_| ()).await?;
    drop(directory);
    let found = place.find().await?;
    let (blobs, profiles) = Input::Image(place.name()).open_with_profiles(&place.access).await?;
    let (image, profiles) = (LazyImage::open(blobs).await?, profiles.context("images here have profiles")?);

    let step = progress.step("Recording a profile on another start", 0);
    let trace = record(&image, async |root| Start::Other.run(root).await.map(drop)).await?;
    profiles.attach(&trace, 1).await?;
    step.finish(&format!("{} reads", trace.records.len()));

    let step = progress.step("Measuring local files", 0);
    let Local { cold, warm, touched } = limit::measure(&image, &found, &place, options.runs).await?;
    step.finish(&format!("{cold:.2} s, warm {warm:.2} s"));
    let base_bytes = found.resolution.base.image.layers.iter().map(|layer| layer.size).sum();
    let image_bytes = image.blob_bytes();
    drop(image);
    near.shutdown().await;

    let mut links = Vec::new();
    for &megabits in &options.bandwidths {
        let link = Link::mbit(megabits, options.round_trip);
        let limit = cold.max(warm + touched as f64 * 8.0 / link.bits_per_second as f64);
        let mut rows = Vec::new();
        for way in Way::available() {
            let step = progress.step(&format!("{megabits} Mbit/s, {}", way.name()), 0);
            let row = measure(way, &store, link, options.runs).await.with_context(|| way.name())?;
            step.finish(&format!("{:.2} s", row.median.answer));
            rows.push(row);
        }
        links.push(AtLink { bits_per_second: link.bits_per_second, limit, ways: rows });
    }
    let round_trip = options.round_trip.as_secs_f64();
    Ok(Measured { base_bytes, image_bytes, touched_bytes: touched, local: cold, warm, round_trip, links })
}

async fn measure(way: Way, store: &Store, link: Link, runs: usize) -> Result<Row> {
    let mut done = Vec::new();
    for _ in 0..runs.max(1) {
        let far = registry::Registry::builder().store(store.clone()).link(link).serve().await?;
        done.push(way.run(&far, &local(far.addr())?).await?);
        far.shutdown().await;
    }
    done.sort_by(|a, b| a.answer.total_cmp(&b.answer));
    let answers = done.iter().map(|run| run.answer).collect();
    let median = done.get(done.len() / 2).cloned().context("nothing was run")?;
    Ok(Row { way: way.name(), median, answers })
}

/// The image in a registry of this process.
#[derive(Debug, Clone)]
struct Place {
    reference: Reference,
    access: Access,
}

impl Place {
    fn name(&self) -> ImageName {
        ImageName::Registry(self.reference.clone())
    }

    fn image_place(&self) -> Result<ImagePlace> {
        ImagePlace::of(&self.name(), &self.access, true)
    }

    async fn find(&self) -> Result<AcceleratedImage> {
        AcceleratedImage::find(&self.image_place()?, &self.name(), &self.access.resolve).await
    }
}

fn local(address: std::net::SocketAddr) -> Result<Place> {
    let host = address.to_string();
    let reference = Repository::new(&host, "cold-start/toolchain")?.with_tag(TAG)?;
    let access = Access { plain_http: true, timeout: Duration::from_secs(120), ..Access::default() };
    Ok(Place { reference, access })
}

const TAG: &str = "latest";
