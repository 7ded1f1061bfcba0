//! What a conversion came to.

use std::time::Duration;

use referrers::Manifest;
use serde::{Deserialize, Serialize};

use super::Converted;
use super::document::ImageLayer;
use super::options::Mode;

/// What a conversion came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was asked for.
    pub mode: Mode,
    /// The ordinary image, or its index.
    pub base: String,
    /// The accelerated one.
    pub accelerated: String,
    /// Its tag, if it has one.
    pub tag: Option<String>,
    /// Length of the ordinary layers in bytes.
    pub base_bytes: u64,
    /// Length of the accelerated layers in bytes.
    pub bytes: u64,
    /// Time that it took.
    pub seconds: f64,
    /// The images, one for a platform.
    pub image: Vec<ImageReport>,
}

/// A converted image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageReport {
    /// What it is for.
    pub platform: String,
    /// The ordinary image.
    pub base: String,
    /// The accelerated one.
    pub accelerated: String,
    /// The layers, bottom first.
    pub layer: Vec<LayerReport>,
}

/// A converted layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    /// The layer of the ordinary image.
    pub base: String,
    /// Its length in bytes.
    pub base_bytes: u64,
    /// The blob that was made.
    pub digest: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// What it holds.
    pub mode: Mode,
    /// Whether it was made before.
    pub reused: bool,
    /// Time that it took; 0 if it was made before.
    pub seconds: f64,
}

impl Report {
    pub(super) fn new(
        mode: Mode,
        base: &Manifest,
        converted: &Converted,
        tag: Option<String>,
        took: Duration,
    ) -> Self {
        let layers = || converted.images.iter().flat_map(|image| &image.layer);
        Self {
            mode,
            base: base.digest().to_string(),
            accelerated: referrers::Digest::sha256_of(converted.body.as_bytes()).to_string(),
            tag,
            base_bytes: layers().map(|layer| layer.base_bytes).sum(),
            bytes: layers().map(|layer| layer.bytes).sum(),
            seconds: took.as_secs_f64(),
            image: converted.images.clone(),
        }
    }
}

impl ImageReport {
    /// Says that all of it was made before.
    pub(super) fn reuse(&mut self) {
        for layer in &mut self.layer {
            (layer.reused, layer.seconds) = (true, 0.0);
        }
    }
}

impl LayerReport {
    /// Of a layer that was made now, or before if it `took` no time.
    pub(super) fn new(base: &referrers::Descriptor, made: &ImageLayer, took: Option<Duration>) -> Self {
        Self {
            base: base.digest.to_string(),
            base_bytes: base.size,
            digest: made.descriptor.digest.to_string(),
            bytes: made.descriptor.size,
            mode: if made.target().is_some() { Mode::IndexOnly } else { Mode::Full },
            reused: took.is_none(),
            seconds: took.unwrap_or_default().as_secs_f64(),
        }
    }
}
