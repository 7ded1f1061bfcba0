//! A gzip blob and an index. The last four bytes of the input are the length of the blob, the rest are
//! both, one after the other. The index is made to fit the blob in its sizes and its checksum, which a
//! fuzzer cannot guess.
//!
//! Whatever the index, reads end; by an index of our own they give what inflating the whole does.
#![no_main]

use std::io::Read;

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use overlaybd_format::{GzipBlob, GzipIndex, GzipIndexOptions, GzipIndexer, Limits, MemoryBlob, ReadAt};
use overlaybd_format_fuzz::read_pieces;

fuzz_target!(|data: &[u8]| {
    let Some((both, length)) = data.split_last_chunk() else { return };
    let Some((gzip, index)) = both.split_at_checked(u32::from_le_bytes(*length) as usize) else { return };
    if let Some(blob) = open(gzip, fitted(index.to_vec(), gzip.len())) {
        read_pieces(&blob);
    }

    let options = GzipIndexOptions::default().with_span(64 << 10).with_permille(1000);
    let mut indexer = GzipIndexer::new(gzip, options);
    let mut inflated = Vec::new();
    if indexer.by_ref().take(MOST_CONTENT).read_to_end(&mut inflated).is_err() {
        return;
    }
    let Ok(index) = indexer.finish() else { return };
    let blob = open(gzip, index).expect("our own index opens");
    read_pieces(&blob);
    let mut found = vec![0; inflated.len()];
    block_on(blob.read_at(&mut found, 0)).expect("what was indexed reads");
    assert!(found == inflated, "a resumed read differs from the whole");
});

fn open(gzip: &[u8], index: Vec<u8>) -> Option<GzipBlob> {
    let index = block_on(GzipIndex::open(MemoryBlob::new(index), &Limits::default())).ok()?;
    GzipBlob::new(MemoryBlob::new(gzip.to_vec()), index).ok()
}

/// Sets the sizes of the blob and of the index, and the checksum of the header.
fn fitted(mut index: Vec<u8>, gzip_size: usize) -> Vec<u8> {
    let index_size = index.len();
    if let Some(header) = index.first_chunk_mut::<333>() {
        header[33..41].copy_from_slice(&(gzip_size as u64).to_le_bytes());
        header[41..49].copy_from_slice(&(index_size as u64).to_le_bytes());
        let checksum = !crc32c::crc32c_append(!0, &header[..329]);
        header[329..].copy_from_slice(&checksum.to_le_bytes());
    }
    index
}

/// Enough for every block type; a small input can inflate to much more.
const MOST_CONTENT: u64 = 4 << 20;
