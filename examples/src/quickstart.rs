//! The whole path, from a tag to verified bytes: what the binary of the same name runs.
//!
//! ```text
//!  toolchain ─► two images ─► registry in this process ─┐
//!  directory ─►                                         ├─► resolve ─► open ─► start set ─► verify ─► eager pull
//!                                       any registry ───┘
//!                                    config.v1.json ────────────────► open ─► start set ─► verify
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use referrers::{Anonymous, Reference, Registry, RegistryOptions, Repository, ResolveOptions, Stage};
use registry::{Link, Server, Store};

use crate::access::Access;
use crate::full_mode::FullMode;
use crate::input;
use crate::lazy_image::LazyImage;
use crate::measure::{self, Expected};
use crate::oci_image;
use crate::oci_layout::OciLayout;
use crate::origin::Origin;
use crate::progress::{Progress, bytes};
use crate::publish::publish;
use crate::reference_image;
use crate::report::{LinkReport, Report};
use crate::toolchain::Toolchain;
use crate::tree::Tree;

/// What to run.
#[derive(Debug, Clone)]
pub enum Input {
    /// An image made from a part of the Rust toolchain.
    Toolchain,
    /// An image made from a directory.
    Tree(PathBuf),
    /// The image that the reference implementation's tools made.
    ReferenceImage,
    /// An image of a registry.
    Image(String),
    /// The images of a directory in the OCI image layout.
    OciLayout(PathBuf),
    /// The device that a `config.v1.json` describes.
    Config(PathBuf),
}

/// How to reach registries.
#[derive(Debug, Clone)]
pub struct Options {
    /// The link to the registry in this process.
    pub link: Link,
    /// The way to other registries.
    pub access: Access,
}

/// Runs `input` and tells `progress` about it.
///
/// # Errors
///
/// If anything cannot be made, fetched or read, or is not what it should be. There is no partial result.
pub async fn run(input: Input, options: Options, progress: Progress) -> Result<Report> {
    match input {
        Input::Toolchain => run_tree(Toolchain::find()?.tree()?, "toolchain", &options, progress).await,
        Input::Tree(directory) => run_tree(Tree::scan(&directory, LAYERS)?, "tree", &options, progress).await,
        Input::ReferenceImage => {
            let directory = tempfile::tempdir()?;
            let layout = OciLayout::create(directory.path())?;
            let device = reference_image::build(&layout)?;
            serve_and_run(&layout, "reference", Expected::Device(device), &options, progress).await
        }
        Input::OciLayout(directory) => {
            let layout = OciLayout::open(directory)?;
            serve_and_run(&layout, "layout", Expected::Files, &options, progress).await
        }
        Input::Image(text) => {
            let reference: Reference = text.parse()?;
            let registry = options.access.registry(reference.repository())?;
            run_reference(registry, &reference, Expected::Files, None, progress).await
        }
        Input::Config(path) => run_config(&path, &options, progress).await,
    }
}

async fn run_tree(tree: Tree, name: &str, options: &Options, progress: Progress) -> Result<Report> {
    let directory = tempfile::tempdir()?;
    let layout = OciLayout::create(directory.path())?;
    let step = progress.step("Building the two images", 2 * tree.bytes());
    oci_image::build(&tree, &layout, &|n| step.add(n))?;
    step.finish(&format!("from {} in {} layers", bytes(tree.bytes()), tree.layers.len()));
    serve_and_run(&layout, name, Expected::Tree(tree), options, progress).await
}

/// Pushes the layout to a registry in this process, then runs it over the modelled link.
async fn serve_and_run(
    layout: &OciLayout,
    name: &str,
    expected: Expected,
    options: &Options,
    progress: Progress,
) -> Result<Report> {
    let store = Store::memory();
    let near = registry::Registry::builder().store(store.clone()).serve().await?;
    let step = progress.step("Pushing to the registry", 0);
    let (registry, repository) = local(&near, name)?;
    publish(layout, &registry, &repository, TAG, &|n| step.add(n)).await?;
    step.finish(&format!("{}/{}:{TAG}", near.addr(), repository.path()));
    near.shutdown().await;

    let far = registry::Registry::builder().store(store).link(options.link).serve().await?;
    let (registry, repository) = local(&far, name)?;
    let reference = repository.with_tag(TAG)?;
    let report = run_reference(registry, &reference, expected, Some(options.link), progress).await;
    far.shutdown().await;
    report
}

async fn run_reference(
    registry: Registry,
    reference: &Reference,
    expected: Expected,
    link: Option<Link>,
    progress: Progress,
) -> Result<Report> {
    let begun = Instant::now();
    let found = FullMode::resolve(registry.clone(), reference, &ResolveOptions::default()).await?;
    let origin = || {
        let access = Access::default();
        Origin::new(registry.clone(), reference.repository().clone(), &access.keep, access.timeout)
    };
    let lazy = origin()?;
    let blobs = found.layers().map(|layer| lazy.open(&layer.digest, layer.size)).collect::<Result<_>>()?;
    let image = LazyImage::open(blobs).await?;

    let start = measure::start(&image, begun, &expected, progress)?;
    let verified = measure::verified(&image, &expected, progress).await?;
    let accelerated = &found.accelerated;
    let eager = if accelerated.stage == Stage::Itself {
        None
    } else {
        Some(measure::eager(&found.resolution.base.image, &origin()?, progress).await?)
    };
    Ok(Report {
        image: format!("{reference}, read as {} ({:?})", accelerated.descriptor.digest, accelerated.stage),
        link: link.map(|link| LinkReport {
            bits_per_second: link.bits_per_second,
            round_trip: link.round_trip.as_secs_f64(),
        }),
        layers: image.blobs.len(),
        image_bytes: image.blob_bytes(),
        start,
        verified,
        eager,
    })
}

async fn run_config(path: &Path, options: &Options, progress: Progress) -> Result<Report> {
    let begun = Instant::now();
    let blobs = input::Input::Config(path.to_owned()).open(&options.access).await?;
    let image = LazyImage::open(blobs).await?;
    let start = measure::start(&image, begun, &Expected::Files, progress)?;
    let verified = measure::verified(&image, &Expected::Files, progress).await?;
    Ok(Report {
        image: path.display().to_string(),
        link: None,
        layers: image.blobs.len(),
        image_bytes: image.blob_bytes(),
        start,
        verified,
        eager: None,
    })
}

/// A client for the registry in this process, and the repository there.
fn local(server: &Server, name: &str) -> Result<(Registry, Repository)> {
    let host = server.addr().to_string();
    let repository = Repository::new(&host, &format!("quickstart/{name}"))?;
    let options = RegistryOptions::default().with_plain_http(host);
    Ok((Registry::new(options, Arc::new(Anonymous))?, repository))
}

/// Layers that a directory is divided into.
const LAYERS: usize = 3;

/// The tag of the ordinary image in the registry in this process.
const TAG: &str = "latest";
