//! A local blob where it lies in the page cache: reads cost no system call and no copy.
//!
//! For whoever owns the file, as a runtime owns its cache directory: if somebody else cuts it short
//! while it is mapped, reads of the lost part end the process.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use overlaybd_format::MemoryBlob;

/// Maps the file at `path` and brings it into memory. Nobody may change it while the blob is in use.
///
/// # Errors
///
/// If it cannot be opened or mapped.
pub fn open(path: &Path) -> io::Result<MemoryBlob> {
    let file = File::open(path)?;
    // SAFETY: the mapping is private to this process and only read, through `Bytes`, which keeps it
    // alive. That the file does not change meanwhile is what the caller vouches for; layer blobs are
    // written once.
    let mapping = unsafe { memmap2::MmapOptions::new().populate().map(&file) }?;
    Ok(MemoryBlob::new(Bytes::from_owner(mapping)))
}
