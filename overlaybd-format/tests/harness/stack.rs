//! Stacks that a converter writes of tars, and what is in them.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::executor::block_on;
use overlaybd_format::convert::{ConvertOptions, Converter, TarIndex, files};
use overlaybd_format::oci_tar::{EntryKind, TarEntry};
use overlaybd_format::{Image, LayerBlob, LayerWriter, Limits, MemoryBlob, ReadAt, Result, Uuid};
use serde::Deserialize;

/// How a layer is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Full,
    IndexOnly,
}

/// What a list says of one file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Listed {
    pub(crate) mode: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    #[serde(default)]
    pub(crate) nanoseconds: u32,
    /// Names; the reference's lists leave them out for links.
    #[serde(default = "one")]
    pub(crate) nlink: u32,
    pub(crate) size: Option<u64>,
    pub(crate) sha256: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) rdev: Option<String>,
    #[serde(default)]
    pub(crate) xattr_hex: BTreeMap<String, String>,
}

fn one() -> u32 {
    1
}

/// Files by their paths, escaped where they are no text.
pub(crate) type Listing = BTreeMap<String, Listed>;

/// A device large enough for any test.
pub(crate) fn options() -> ConvertOptions {
    ConvertOptions::default().with_virtual_size(1 << 30)
}

/// The layer that `converter` makes of `tar`.
pub(crate) fn convert(converter: &mut Converter, tar: &[u8], mode: Mode) -> Result<Vec<u8>> {
    let options = converter.layer_options().with_identity(Uuid::from_bytes([7; 16]), Uuid::NIL);
    match mode {
        Mode::Full => Ok(converter.full(tar, LayerWriter::streaming(Vec::new(), options)?)?.0),
        Mode::IndexOnly => {
            let index = TarIndex::read(tar, &Limits::default())?;
            let layer = LayerWriter::streaming(Vec::new(), options.with_index_only(true))?;
            Ok(converter.index_only(index, layer)?.0)
        }
    }
}

/// The layers of `tars`, bottom first.
pub(crate) fn stack(tars: &[(&[u8], Mode)]) -> Result<Vec<LayerBlob>> {
    let mut converter = Converter::new(options());
    let blob = |&(tar, mode): &(&[u8], Mode)| Ok(blob(convert(&mut converter, tar, mode)?, tar, mode));
    tars.iter().map(blob).collect()
}

/// A layer with its target, if it has one.
pub(crate) fn blob(layer: Vec<u8>, tar: &[u8], mode: Mode) -> LayerBlob {
    let blob = LayerBlob::new("layer", MemoryBlob::new(layer));
    match mode {
        Mode::Full => blob,
        Mode::IndexOnly => {
            // The end of the last file's sector, which cut tars lack.
            let mut tar = tar.to_vec();
            tar.resize(tar.len().next_multiple_of(512), 0);
            blob.with_target("tar", MemoryBlob::new(Bytes::from(tar)))
        }
    }
}

pub(crate) fn open(layers: Vec<LayerBlob>) -> Arc<Image> {
    Arc::new(block_on(Image::open(layers, &Limits::default())).unwrap())
}

/// What is on a device.
pub(crate) fn list(device: &dyn ReadAt) -> Listing {
    let entries = block_on(files(device, &Limits::default())).unwrap();
    let mut names = BTreeMap::<&[u8], u32>::new();
    for entry in &entries {
        *names.entry(first_name(entry)).or_default() += 1;
    }
    let by_path: BTreeMap<&[u8], &TarEntry> =
        entries.iter().map(|entry| (entry.path.as_slice(), entry)).collect();
    let listed = entries.iter().map(|entry| {
        let file = by_path[first_name(entry)];
        let mut listed = list_one(device, file);
        let is_below = |other: &&TarEntry| {
            let parent = other.path.iter().rposition(|&byte| byte == b'/').map(|at| &other.path[..at]);
            other.kind == EntryKind::Directory && parent == Some(&file.path)
        };
        listed.nlink = match file.kind {
            EntryKind::Directory => 2 + entries.iter().filter(is_below).count() as u32,
            _ => names[first_name(entry)],
        };
        (text(&entry.path), listed)
    });
    listed.collect()
}

/// Bytes as text, escaped if they are none.
pub(crate) fn text(bytes: &[u8]) -> String {
    str::from_utf8(bytes).map_or_else(|_| bytes.escape_ascii().to_string(), str::to_owned)
}

fn first_name(entry: &TarEntry) -> &[u8] {
    if let EntryKind::HardLink { target } = &entry.kind { target } else { &entry.path }
}

fn list_one(device: &dyn ReadAt, file: &TarEntry) -> Listed {
    let mut listed = Listed {
        mode: String::new(),
        uid: file.uid,
        gid: file.gid,
        mtime: file.mtime.seconds,
        nanoseconds: file.mtime.nanoseconds,
        nlink: 0,
        size: None,
        sha256: None,
        target: None,
        rdev: None,
        xattr_hex: file
            .xattrs
            .iter()
            .map(|(name, value)| {
                let hex = value.iter().map(|byte| format!("{byte:02x}")).collect();
                (String::from_utf8(name.clone()).unwrap(), hex)
            })
            .collect(),
    };
    let kind = match &file.kind {
        EntryKind::File { size, content } => {
            let mut bytes = vec![0xa5; usize::try_from(*size).unwrap()];
            for range in content {
                let start = usize::try_from(range.offset).unwrap();
                let end = start + usize::try_from(range.len).unwrap();
                block_on(device.read_at(&mut bytes[start..end], range.at)).unwrap();
            }
            listed.size = Some(*size);
            listed.sha256 = Some(crate::golden::sha256(&bytes));
            0o100_000
        }
        EntryKind::Directory => 0o040_000,
        EntryKind::Symlink { target } => {
            listed.target = Some(text(target));
            0o120_000
        }
        EntryKind::CharacterDevice { major, minor } => {
            listed.rdev = Some(format!("{major}:{minor}"));
            0o020_000
        }
        EntryKind::BlockDevice { major, minor } => {
            listed.rdev = Some(format!("{major}:{minor}"));
            0o060_000
        }
        EntryKind::Fifo => 0o010_000,
        other => panic!("{other:?}"),
    };
    listed.mode = format!("{:#o}", kind | file.mode);
    listed
}
