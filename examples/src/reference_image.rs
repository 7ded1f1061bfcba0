//! The image that the reference implementation's own tools made: container layers applied to ext4, as
//! they are kept for the tests of the format.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use referrers::Digest;
use serde::Deserialize;

use crate::oci_image;
use crate::oci_layout::OciLayout;

/// Puts the image into `layout`, without a base, and returns the digest that its device must have.
///
/// # Errors
///
/// If the files are not there (they come with the source of this project) or the layout cannot be
/// written.
pub fn build(layout: &OciLayout) -> Result<Digest> {
    let device = top_device()?;
    let packed = File::open(kept().join("apply-ext4.tar.zst")).context("opening the reference blobs")?;
    let mut archive = tar::Archive::new(zstd::Decoder::new(BufReader::new(packed))?);
    let mut blobs = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.display().to_string();
        if device.layers.contains(&name) {
            let mut blob = layout.new_blob()?;
            io::copy(&mut entry, &mut blob)?;
            blobs.insert(name, blob);
        }
    }
    let layers = device
        .layers
        .iter()
        .map(|name| blobs.remove(name).with_context(|| format!("no {name} in the archive")));
    oci_image::build_unattached(layers.collect::<Result<_>>()?, layout)?;
    Ok(format!("sha256:{}", device.sha256).parse()?)
}

/// What is expected of the device of all layers.
#[derive(Deserialize)]
struct Device {
    layers: Vec<String>,
    sha256: String,
}

fn top_device() -> Result<Device> {
    #[derive(Deserialize)]
    struct Devices {
        devices: Vec<Device>,
    }
    let path = kept().join("apply-ext4.json");
    let json = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let devices: Devices = serde_json::from_slice(&json).with_context(|| format!("in {}", path.display()))?;
    devices.devices.into_iter().max_by_key(|device| device.layers.len()).context("no device in the list")
}

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlaybd-format/tests/golden")
}
