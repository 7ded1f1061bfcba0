//! The reference blobs of `tests/golden`, unpacked in memory and checked against their digests.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use overlaybd_format::{LayerBlob, MemoryBlob, ReadAt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// The cases whose manifest has `devices`.
pub(crate) const DEVICE_CASES: [&str; 8] = [
    "apply-ext4",
    "lsmt-append",
    "lsmt-append-group",
    "lsmt-cli-create",
    "lsmt-commit-zfile",
    "lsmt-edge",
    "lsmt-sparse",
    "stack",
];

/// One case: its blobs by file name.
pub(crate) struct Case {
    name: &'static str,
    blobs: BTreeMap<String, Bytes>,
}

/// A device of a case: which layers it is made of and what must come out.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Device {
    /// File names, bottom first.
    pub(crate) layers: Vec<String>,
    /// Device size in bytes.
    pub(crate) size: u64,
    /// Digest of the whole device; none where the format defines no size.
    pub sha256: Option<String>,
    /// The name of the list of its files, where it holds a filesystem.
    pub(crate) files: Option<String>,
}

impl Case {
    /// Unpacks the case `name`.
    pub(crate) fn open(name: &'static str) -> Self {
        #[derive(Deserialize)]
        struct Files {
            files: BTreeMap<String, String>,
        }

        let packed = std::fs::read(directory().join(format!("{name}.tar.zst"))).unwrap();
        let mut archive = tar::Archive::new(zstd::Decoder::new(packed.as_slice()).unwrap());
        let mut blobs = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let file = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            blobs.insert(file, Bytes::from(bytes));
        }

        let digests: BTreeMap<_, _> =
            blobs.iter().map(|(file, bytes)| (file.clone(), sha256(bytes))).collect();
        assert_eq!(
            digests,
            manifest::<Files>(name).files,
            "the archive of {name} is not what its manifest says"
        );
        Self { name, blobs }
    }

    /// The devices that the manifest of this case describes.
    pub(crate) fn devices(&self) -> Vec<Device> {
        #[derive(Deserialize)]
        struct Devices {
            devices: Vec<Device>,
        }
        manifest::<Devices>(self.name).devices
    }

    /// All files of the case as `CASE/FILE`, with their bytes.
    pub(crate) fn files(&self) -> impl Iterator<Item = (String, Bytes)> {
        self.blobs.iter().map(|(file, bytes)| (format!("{}/{file}", self.name), bytes.clone()))
    }

    /// The bytes of `file`.
    pub(crate) fn bytes(&self, file: &str) -> Bytes {
        self.blobs.get(file).unwrap_or_else(|| panic!("no {file} in {}", self.name)).clone()
    }

    /// `file` as a blob.
    pub(crate) fn blob(&self, file: &str) -> Arc<dyn ReadAt> {
        Arc::new(MemoryBlob::new(self.bytes(file)))
    }

    /// The layers of `device` as blobs, bottom first.
    pub(crate) fn layers(&self, device: &Device) -> Vec<LayerBlob> {
        device.layers.iter().map(|file| LayerBlob::new(file.as_str(), self.blob(file))).collect()
    }
}

/// What `tests/golden/NAME.json` says.
pub(crate) fn manifest<T: DeserializeOwned>(name: &str) -> T {
    let text = std::fs::read(directory().join(format!("{name}.json"))).unwrap();
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{name}.json: {e}"))
}

/// The digest of `bytes` in lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The digest of everything `reader` holds.
pub(crate) async fn sha256_of(reader: &dyn ReadAt) -> overlaybd_format::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < reader.size() {
        let len = usize::try_from(reader.size() - offset).unwrap_or(usize::MAX).min(buffer.len());
        // A read that leaves bytes of the buffer alone must not pass for one that wrote zeros.
        buffer.fill(0xa5);
        reader.read_at(&mut buffer[..len], offset).await?;
        digest.update(&buffer[..len]);
        offset += len as u64;
    }
    Ok(hex(&digest.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}
