//! Tars of any content, hostile ones included: what a name or link says is written as it is.

// Each test binary uses a part of this.
#![allow(dead_code)]

use tar::{EntryType, Header};

/// A tar that is being written.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tar {
    bytes: Vec<u8>,
    /// Records for the next entry.
    records: Vec<(Vec<u8>, Vec<u8>)>,
    /// Permissions of the next entry.
    mode: Option<u32>,
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a pax record to the next entry.
    pub(crate) fn with(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.records.push((key.as_bytes().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Sets the permissions of the next entry.
    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    pub(crate) fn file(self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Regular, path.as_ref(), b"", (0, 0), content.as_ref())
    }

    pub(crate) fn directory(self, path: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Directory, path.as_ref(), b"", (0, 0), b"")
    }

    pub(crate) fn symlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Symlink, path.as_ref(), target.as_ref(), (0, 0), b"")
    }

    pub(crate) fn link(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Link, path.as_ref(), target.as_ref(), (0, 0), b"")
    }

    pub(crate) fn device(self, path: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        self.entry(EntryType::Char, path.as_ref(), b"", (major, minor), b"")
    }

    pub(crate) fn fifo(self, path: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Fifo, path.as_ref(), b"", (0, 0), b"")
    }

    pub(crate) fn whiteout(self, directory: &str, name: &str) -> Self {
        self.file(format!("{directory}/.wh.{name}"), b"")
    }

    pub(crate) fn opaque(self, directory: &str) -> Self {
        self.file(format!("{directory}/.wh..wh..opq"), b"")
    }

    /// The tar with its end.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }

    fn entry(
        mut self,
        kind: EntryType,
        path: &[u8],
        link: &[u8],
        (major, minor): (u32, u32),
        content: &[u8],
    ) -> Self {
        let mut records = std::mem::take(&mut self.records);
        records.push((b"path".to_vec(), path.to_vec()));
        if !link.is_empty() {
            records.push((b"linkpath".to_vec(), link.to_vec()));
        }
        let records: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.append(EntryType::XHeader, 0o644, (0, 0), &records);
        let default = if kind == EntryType::Directory { 0o755 } else { 0o644 };
        let mode = self.mode.take().unwrap_or(if kind == EntryType::Symlink { 0o777 } else { default });
        self.append(kind, mode, (major, minor), content);
        self
    }

    fn append(&mut self, kind: EntryType, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        let mut header = Header::new_ustar();
        header.set_path("x").unwrap();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }
}

/// A pax record with its length, which counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let len = (1..=20).map(|digits| rest + digits).find(|len| len.to_string().len() + rest == *len).unwrap();
    [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}
