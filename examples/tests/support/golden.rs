//! The layers that the reference implementation's tools made, kept for the tests of the format.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A device that layers of a case make.
#[derive(Debug, Deserialize)]
pub(crate) struct Device {
    /// File names, bottom first.
    pub(crate) layers: Vec<String>,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Digest of the whole device in hex.
    pub(crate) sha256: String,
}

/// Unpacks the layers of the case `name` into `directory`.
pub(crate) fn unpack(name: &str, directory: &Path) {
    let packed = File::open(kept(&format!("{name}.tar.zst"))).unwrap();
    tar::Archive::new(zstd::Decoder::new(packed).unwrap()).unpack(directory).unwrap();
}

/// The devices of the case `name`.
pub(crate) fn devices(name: &str) -> Vec<Device> {
    #[derive(Deserialize)]
    struct Devices {
        devices: Vec<Device>,
    }
    expected::<Devices>(name).devices
}

/// What is expected of the case `name`.
pub(crate) fn expected<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_reader(File::open(kept(&format!("{name}.json"))).unwrap()).unwrap()
}

fn kept(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlaybd-format/tests/golden").join(file)
}
