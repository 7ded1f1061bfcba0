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
use referrers::{Anonymous, Registry, RegistryOptions, Repository, ResolveOptions, Stage};
use registry::{Link, Server, Store};

use crate::accelerated_image::AcceleratedImage;
use crate::access::Access;
use crate::image_name::ImageName;
use crate::image_place::ImagePlace;
use crate::input;
use crate::lazy_image::LazyImage;
use crate::measure::{self, Expected};
use crate::oci_image;
use crate::oci_layout::OciLayout;
use crate::progress::Progress;
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
    Image(ImageName),
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
        Input::Image(name) => {
            let place = ImagePlace::of(&name, &options.access, false)?;
            run_image(&place, &name, Expected::Files, None, progress).await
        }
        Input::Config(path) => run_config(&path, &options, progress).await,
    }
}

async fn run_tree(tree: Tree, name: &str, options: &Options, progress: Progress) -> Result<Report> {
    let directory = tempfile::tempdir()?;
    let layout = OciLayout::create(directory.path())?;
    oci_image::build(&tree, &layout, progress).await?;
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
    let (place, image) = local(&near, name)?;
    publish(layout, &place, TAG, &|n| step.add(n)).await?;
    step.finish(&image.to_string());
    near.shutdown().await;

    let far = registry::Registry::builder().store(store).link(options.link).serve().await?;
    let (place, image) = local(&far, name)?;
    let report = run_image(&place, &image, expected, Some(options.link), progress).await;
    far.shutdown().await;
    report
}

async fn run_image(
    place: &ImagePlace,
    name: &ImageName,
    expected: Expected,
    link: Option<Link>,
    progress: Progress,
) -> Result<Report> {
    let begun = Instant::now();
    let found = AcceleratedImage::find(place, name, &ResolveOptions::default()).await?;
    let image = LazyImage::open(found.open(place).await?).await?;

    let start = measure::start(&image, begun, &expected, progress)?;
    let verified = measure::verified(&image, &expected, progress).await?;
    let accelerated = &found.accelerated;
    let eager = match place {
        ImagePlace::Repository { origin, .. } if accelerated.stage != Stage::Itself => {
            Some(measure::eager(&found.resolution.base.image, origin, progress).await?)
        }
        _ => None,
    };
    Ok(Report {
        image: format!("{name}, read as {} ({:?})", accelerated.descriptor.digest, accelerated.stage),
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

/// A repository of the registry in this process, and the name of the image there.
fn local(server: &Server, name: &str) -> Result<(ImagePlace, ImageName)> {
    let host = server.addr().to_string();
    let repository = Repository::new(&host, &format!("quickstart/{name}"))?;
    let options = RegistryOptions::default().with_plain_http(host);
    let registry = Registry::new(options, Arc::new(Anonymous))?;
    let image = ImageName::Registry(repository.with_tag(TAG)?);
    Ok((ImagePlace::in_repository(registry, repository, &Access::default())?, image))
}

/// Layers that a directory is divided into.
const LAYERS: usize = 3;

/// The tag of the ordinary image in the registry in this process.
const TAG: &str = "latest";
