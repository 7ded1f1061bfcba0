//! The tars of a small image of three layers, and the files that they come to.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;

use overlaybd_format::convert::files;
use overlaybd_format::oci_tar::EntryKind;
use overlaybd_format::{Limits, ReadAt};
use tar::{EntryType, Header};

use super::trees::noise;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Directory,
    File(Vec<u8>),
    Symlink(String),
    HardLink(String),
}

/// The tars, bottom first: the second one changes, removes and adds, the third one empties a directory.
pub(crate) fn tars() -> [Vec<u8>; 3] {
    let mut one = Tar::new();
    for directory in ["etc", "usr", "usr/bin", "usr/lib", "var", "var/cache"] {
        one.directory(directory);
    }
    one.file("etc/config", b"first");
    one.file("etc/removed", b"soon gone");
    one.file("usr/bin/tool", &noise(1, 700_001));
    one.file("usr/lib/text", &text());
    one.symlink("usr/lib/text.1", "text");
    one.file("usr/lib/empty", b"");
    one.link("usr/lib/same", "usr/lib/text");
    for n in 0..40 {
        one.file(&format!("var/cache/{n}"), &noise(100 + n, 3000));
    }

    let mut two = Tar::new();
    two.file("etc/config", b"second, and longer");
    two.file("etc/.wh.removed", b"");
    two.directory("opt");
    two.file("opt/data", &noise(2, 300_000));

    let mut three = Tar::new();
    three.directory("var/cache");
    three.file("var/cache/.wh..wh..opq", b"");
    three.file("var/cache/only", b"this");
    [one.finish(), two.finish(), three.finish()]
}

/// The files of the lowest `layers` layers by path.
pub(crate) fn expected(layers: usize) -> BTreeMap<String, Found> {
    let mut tree = BTreeMap::new();
    let mut put = |path: &str, found| tree.insert(path.to_owned(), found);
    for directory in ["etc", "usr", "usr/bin", "usr/lib", "var", "var/cache"] {
        put(directory, Found::Directory);
    }
    put("usr/bin/tool", Found::File(noise(1, 700_001)));
    put("usr/lib/text", Found::File(text()));
    put("usr/lib/text.1", Found::Symlink("text".into()));
    put("usr/lib/empty", Found::File(Vec::new()));
    put("usr/lib/same", Found::File(text()));
    if layers < 2 {
        put("etc/config", Found::File(b"first".to_vec()));
        put("etc/removed", Found::File(b"soon gone".to_vec()));
    } else {
        put("etc/config", Found::File(b"second, and longer".to_vec()));
        put("opt", Found::Directory);
        put("opt/data", Found::File(noise(2, 300_000)));
    }
    if layers < 3 {
        for n in 0..40 {
            put(&format!("var/cache/{n}"), Found::File(noise(100 + n, 3000)));
        }
    } else {
        put("var/cache/only", Found::File(b"this".to_vec()));
    }
    tree
}

/// The files on a device. Further names of a file are shown as files.
pub(crate) async fn found(device: &dyn ReadAt) -> BTreeMap<String, Found> {
    let mut tree = BTreeMap::new();
    for entry in files(device, &Limits::default()).await.unwrap() {
        let path = name(&entry.path);
        if path.is_empty() {
            continue;
        }
        let found = match entry.kind {
            EntryKind::Directory => Found::Directory,
            EntryKind::Symlink { target } => Found::Symlink(name(&target)),
            EntryKind::HardLink { target } => tree.get(&name(&target)).cloned().unwrap(),
            EntryKind::File { size, content } => {
                let mut bytes = vec![0; size as usize];
                for range in content {
                    let part = &mut bytes[range.offset as usize..][..range.len as usize];
                    device.read_at(part, range.at).await.unwrap();
                }
                Found::File(bytes)
            }
            other => panic!("{other:?}"),
        };
        tree.insert(path, found);
    }
    tree
}

fn name(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap().trim_matches('/').to_owned()
}

/// Bytes that compress well.
fn text() -> Vec<u8> {
    (0..60_000u32).flat_map(|n| format!("line {n} of a long text\n").into_bytes()).collect()
}

struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn directory(&mut self, path: &str) {
        self.0.append_data(&mut header(EntryType::Directory, 0o755, 0), path, &[][..]).unwrap();
    }

    fn file(&mut self, path: &str, bytes: &[u8]) {
        let mut header = header(EntryType::Regular, 0o644, bytes.len() as u64);
        self.0.append_data(&mut header, path, bytes).unwrap();
    }

    fn symlink(&mut self, path: &str, target: &str) {
        self.0.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target).unwrap();
    }

    fn link(&mut self, path: &str, target: &str) {
        self.0.append_link(&mut header(EntryType::Link, 0o644, 0), path, target).unwrap();
    }

    fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header
}
