//! Conversions in directories of their own.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::path::PathBuf;

use anyhow::Result;
use examples::accelerated_image::AcceleratedImage;
use examples::access::Access;
use examples::convert::options::Options;
use examples::convert::records::Records;
use examples::convert::report::Report;
use examples::convert::{Located, convert};
use examples::image_place::ImagePlace;
use examples::lazy_image::LazyImage;
use examples::oci_layout::OciLayout;
use examples::progress::Progress;
use referrers::{Descriptor, Manifest, ResolveOptions};
use serde_json::Value;
use tempfile::TempDir;

/// A directory with layouts and records.
pub(crate) struct Scene(TempDir);

impl Scene {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The layout in the directory `name`.
    pub(crate) fn layout(&self, name: &str) -> OciLayout {
        OciLayout::open_or_create(self.path(name)).unwrap()
    }

    /// How the image with the tag `1` of that layout is named.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("oci:{}:1", self.path(name).display())
    }

    /// Converts in place, with the records in `records`.
    pub(crate) async fn convert(&self, image: &str, options: &Options) -> Result<Report> {
        self.convert_to(image, None, options, "records").await
    }

    pub(crate) async fn convert_to(
        &self,
        from: &str,
        to: Option<&str>,
        options: &Options,
        records: &str,
    ) -> Result<Report> {
        let records = Records::open(&self.path(records)).unwrap();
        let to = to.map(|name| located(name, true));
        convert(&located(from, false), to.as_ref(), options, &records, Progress::Silent).await
    }
}

/// The image `name` and its place, reached without TLS.
pub(crate) fn located(name: &str, to_write: bool) -> Located {
    let name = name.parse().unwrap();
    Located { place: ImagePlace::of(&name, &access(), to_write).unwrap(), name }
}

pub(crate) fn access() -> Access {
    Access { plain_http: true, ..Access::default() }
}

/// The device of the accelerated image that belongs to `name`.
pub(crate) async fn open(name: &str) -> LazyImage {
    let Located { place, name } = located(name, false);
    let image = AcceleratedImage::find(&place, &name, &ResolveOptions::default()).await.unwrap();
    LazyImage::open(image.open(&place).await.unwrap()).await.unwrap()
}

/// The manifest with this digest, of a report, in a layout.
pub(crate) fn manifest(layout: &OciLayout, media_type: &str, digest: &str) -> Manifest {
    let bytes = blob(layout, digest);
    layout.manifest(&Descriptor::of(media_type, &bytes)).unwrap()
}

/// A document of a layout.
pub(crate) fn document(layout: &OciLayout, digest: &str) -> Value {
    serde_json::from_slice(&blob(layout, digest)).unwrap()
}

pub(crate) fn blob(layout: &OciLayout, digest: &str) -> Vec<u8> {
    std::fs::read(layout.blob_path(&digest.parse().unwrap())).unwrap()
}
