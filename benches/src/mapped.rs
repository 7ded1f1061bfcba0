//! A layer file as mapped memory.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use overlaybd_format::MemoryBlob;

/// Maps the file at `path`, which must not change while it is mapped.
///
/// # Panics
///
/// If it cannot be opened or mapped.
#[must_use]
pub fn open(path: &Path) -> MemoryBlob {
    let file = File::open(path).expect("a layer file");
    // SAFETY: the benches wrote the file in full before, and nobody else knows of it.
    let mapping = unsafe { memmap2::MmapOptions::new().populate().map(&file) }.expect("a mapping");
    MemoryBlob::new(Bytes::from_owner(mapping))
}
