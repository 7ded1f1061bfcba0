//! The tar wrapper, around anything. Its checksums are set right, which a fuzzer cannot guess.
#![no_main]

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use overlaybd_format::{Content, Limits, MemoryBlob, ReadAt};
use overlaybd_format_fuzz::read_pieces;

fuzz_target!(|data: &[u8]| {
    let mut blob = data.to_vec();
    for header in [0, 1024] {
        if let Some(header) = blob.get_mut(header..header + 512) {
            set_checksum(header);
        }
    }
    let size = blob.len() as u64;
    let Ok(content) = block_on(Content::open(MemoryBlob::new(blob), &Limits::default())) else { return };
    assert!(content.compression().is_some() || content.size() <= size);
    read_pieces(&content);
});

/// Sums the header's bytes, the checksum field taken as blanks.
fn set_checksum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
