//! What indexing and reading a gzip blob take of memory, whatever is in it.
//!
//! One test, because what others allocate at the same time would count.
#![cfg(feature = "gzip")]

use std::io::{Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use futures::executor::block_on;
use overlaybd_format::{GzipBlob, GzipIndex, GzipIndexOptions, GzipIndexer, Limits, MemoryBlob, ReadAt};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Uncompressed size of the blob.
const SIZE: usize = 128 << 20;
/// Zeros compress a thousandfold, so that a block is some megabytes long.
const INDEXING: usize = 1 << 20;
/// What is kept of a span, a request and a decoder: four MiB, and what the test runner has meanwhile.
const READING: usize = 5 << 20;

/// The most that `work` had allocated at once, and what it gave.
fn memory_of<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = work();
    (MEMORY.peak_usage().saturating_sub(before), result)
}

#[test]
fn memory_is_bounded() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    (0..SIZE >> 20).for_each(|_| encoder.write_all(&[0; 1 << 20]).unwrap());
    let gzip = encoder.finish().unwrap();

    // A span of the whole blob.
    let options = GzipIndexOptions::default().with_span(1 << 30);
    let (indexing, index) = memory_of(|| {
        let mut indexer = GzipIndexer::new(gzip.as_slice(), options);
        let mut buffer = vec![0; 64 << 10];
        while indexer.read(&mut buffer).unwrap() > 0 {}
        indexer.finish().unwrap()
    });
    assert!(indexing < INDEXING, "{indexing} bytes to index");

    let index = block_on(GzipIndex::open(MemoryBlob::new(index), &Limits::default())).unwrap();
    assert_eq!(index.checkpoints(), 1);
    let blob = GzipBlob::new(MemoryBlob::new(gzip), index).unwrap();
    let (reading, ()) = memory_of(|| {
        for offset in [SIZE - 4096, 1 << 20, SIZE / 2] {
            let mut page = [0xa5; 4096];
            block_on(blob.read_at(&mut page, offset as u64)).unwrap();
            assert_eq!(page, [0; 4096]);
        }
    });
    assert!(reading < READING, "{reading} bytes to read");
}
