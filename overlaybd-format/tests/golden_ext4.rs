//! Filesystems in reference layers: every name, mode, owner, time, link target and content is what
//! the kernel sees when it mounts the same device.

use std::collections::BTreeMap;

use ext4_view::{Ext4, Ext4Read};
use futures::executor::block_on;
use overlaybd_format::{Image, Limits, ReadAt};
use serde::Deserialize;

use crate::golden::{Case, sha256};

#[path = "harness/golden.rs"]
mod golden;

#[derive(Deserialize)]
struct Listing {
    entries: BTreeMap<String, Listed>,
}

/// What a list says of one file, as far as the reading library tells it.
#[derive(Debug, PartialEq, Deserialize)]
struct Listed {
    mode: String,
    uid: u32,
    gid: u32,
    mtime: i64,
    size: Option<u64>,
    sha256: Option<String>,
    target: Option<String>,
}

#[derive(Debug)]
struct DeviceReader(Image);

impl Ext4Read for DeviceReader {
    fn read(&mut self, start: u64, into: &mut [u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(block_on(self.0.read_at(into, start))?)
    }
}

#[test]
fn files_are_what_the_kernel_sees() {
    let case = Case::open("apply-ext4");
    for device in case.devices() {
        let listing = device.files.as_ref().unwrap();
        let expected: Listing = serde_json::from_slice(&case.bytes(listing)).unwrap();

        let image = block_on(Image::open(case.layers(&device), &Limits::default())).unwrap();
        let ext4 = Ext4::load(Box::new(DeviceReader(image))).unwrap();
        let mut found = BTreeMap::new();
        list(&ext4, "/", &mut found);

        for (path, entry) in &expected.entries {
            assert_eq!(found.get(path), Some(entry), "{path} of {listing}");
        }
        assert!(found.keys().eq(expected.entries.keys()), "{listing} has fewer files than the device");
    }
}

fn list(ext4: &Ext4, directory: &str, found: &mut BTreeMap<String, Listed>) {
    for entry in ext4.read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let path = path.to_str().unwrap();
        let name = path.trim_start_matches('/').to_owned();
        // Made by mkfs, and left out of the lists.
        if path.ends_with("/.") || path.ends_with("/..") || name == "lost+found" {
            continue;
        }

        let metadata = ext4.symlink_metadata(path).unwrap();
        let kind = metadata.file_type();
        let content = kind.is_regular_file().then(|| ext4.read(path).unwrap());
        let listed = Listed {
            mode: format!("{:#o}", file_type_bits(kind) | u32::from(metadata.mode())),
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: metadata.modified().seconds(),
            size: content.is_some().then(|| metadata.len()),
            sha256: content.map(|bytes| sha256(&bytes)),
            target: kind.is_symlink().then(|| ext4.read_link(path).unwrap().to_str().unwrap().to_owned()),
        };
        found.insert(name, listed);
        if kind.is_dir() {
            list(ext4, path, found);
        }
    }
}

/// The file type as `st_mode` has it, inode(7).
fn file_type_bits(kind: ext4_view::FileType) -> u32 {
    [
        (kind.is_fifo(), 0o010_000),
        (kind.is_char_dev(), 0o020_000),
        (kind.is_dir(), 0o040_000),
        (kind.is_block_dev(), 0o060_000),
        (kind.is_regular_file(), 0o100_000),
        (kind.is_symlink(), 0o120_000),
        (kind.is_socket(), 0o140_000),
    ]
    .into_iter()
    .find_map(|(is, bits)| is.then_some(bits))
    .unwrap()
}
