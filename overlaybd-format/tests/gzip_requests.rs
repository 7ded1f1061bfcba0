//! What reading a gzip blob costs over a network: a read of one place is one request that ends little
//! behind it, a sequential reader fetches everything once, and parts of a long read are fetched at once.
#![cfg(feature = "gzip")]

use std::sync::Arc;

use bytes::Bytes;
use futures::executor::block_on;
use overlaybd_format::{
    GzipBlob, GzipIndex, GzipIndexOptions, GzipIndexer, Limits, MemoryBlob, ReadAt, Warm,
};

use crate::far::{FarBlob, Link, bytes_of, waves};
use crate::golden::Case;

#[path = "harness/far.rs"]
mod far;
#[path = "harness/golden.rs"]
mod golden;

const SPAN: u64 = 256 << 10;

/// A blob at the far end of a link, with its index at this one.
fn far(gzip: &Bytes) -> (Arc<Link>, GzipBlob) {
    let options = GzipIndexOptions::default().with_span(SPAN as u32).with_permille(1000);
    let index = MemoryBlob::new(GzipIndexer::new(gzip.as_ref(), options).finish().unwrap());
    let index = block_on(GzipIndex::open(index, &Limits::default())).unwrap();
    let link = Arc::new(Link::default());
    let blob = Arc::new(FarBlob { link: link.clone(), number: 0, bytes: gzip.clone() });
    (link, GzipBlob::new(blob, index).unwrap())
}

#[test]
fn a_page_is_one_request() {
    let gzip = Case::open("gzindex").bytes("g1.gz");
    let (_, blob) = far(&gzip);
    let pages = blob.size() / 4096;
    let (mut requests_made, mut fetched) = (0, 0);
    for page in (0..pages).step_by(7) {
        let (link, blob) = far(&gzip);
        let mut buf = vec![0; 4096];
        let (result, requests) = link.run(blob.read_at(&mut buf, page * 4096));
        result.unwrap();
        requests_made += requests.len() as u64;
        fetched += bytes_of(&requests);
    }
    let reads = pages.div_ceil(7);
    // Where a span compresses unevenly the guess falls short, and a second request follows.
    assert!(requests_made * 10 <= reads * 12, "{requests_made} requests for {reads} reads");
    // From the checkpoint to the page is half of a span and half of a block on average.
    let per_read = fetched / reads;
    let compressed_span = SPAN * gzip.len() as u64 / blob.size();
    assert!(per_read < compressed_span, "{per_read} bytes a read, {compressed_span} bytes a span");
}

#[test]
fn a_sequential_reader_fetches_everything_once() {
    for name in ["g1.gz", "multi-member.gz", "fixed.gz"] {
        let gzip = Case::open("gzindex").bytes(name);
        let (link, blob) = far(&gzip);
        let mut fetched = 0;
        let mut buf = vec![0; 32 << 10];
        for offset in (0..blob.size()).step_by(buf.len()) {
            let len = buf.len().min(usize::try_from(blob.size() - offset).unwrap());
            let (result, requests) = link.run(blob.read_at(&mut buf[..len], offset));
            result.unwrap();
            fetched += bytes_of(&requests);
        }
        let size = gzip.len() as u64;
        // Each checkpoint may share a byte with the block before it.
        let shared = blob.index().checkpoints() as u64;
        assert!(fetched <= size + shared, "{name}: {fetched} of {size}");

        let mut warm = vec![0; 4096];
        assert_eq!(blob.try_read_at(&mut warm, 300_000).unwrap(), Warm::Yes, "{name}");
    }
}

#[test]
fn spans_of_a_long_read_are_fetched_at_once() {
    let gzip = Case::open("gzindex").bytes("g1.gz");
    let (link, blob) = far(&gzip);
    let mut whole = vec![0; usize::try_from(blob.size()).unwrap()];
    let (result, requests) = link.run(blob.read_at(&mut whole, 0));
    result.unwrap();
    assert!(blob.index().checkpoints() > 4);
    assert_eq!(waves(&requests), 1, "{requests:#?}");
}
