//! Gzip streams of several compressors, read by the indexes that the reference made of them and by
//! our own.
#![cfg(feature = "gzip")]

use std::io::Read;

use bytes::Bytes;
use futures::executor::block_on;
use overlaybd_format::{
    Error, GzipBlob, GzipIndex, GzipIndexOptions, GzipIndexer, Limits, MemoryBlob, ReadAt,
};
use serde::Deserialize;

use crate::faults::Random;
use crate::golden::{Case, manifest, sha256, sha256_of};

#[path = "harness/faults.rs"]
mod faults;
#[path = "harness/golden.rs"]
mod golden;

#[derive(Deserialize)]
struct Streams {
    streams: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    index: String,
    gzip: String,
    /// Of all members.
    size: u64,
    sha256: String,
    /// What the reference's index covers, if that is less.
    indexed: Option<u64>,
}

fn open(gzip: Bytes, index: impl Into<Bytes>) -> GzipBlob {
    let index = block_on(GzipIndex::open(MemoryBlob::new(index), &Limits::default())).unwrap();
    GzipBlob::new(MemoryBlob::new(gzip), index).unwrap()
}

/// Inflates with a plain library.
fn inflated(gzip: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    flate2::read::MultiGzDecoder::new(gzip).read_to_end(&mut all).unwrap();
    all
}

/// Reads pieces in random order, and the last byte of every span first.
fn read_in_pieces(blob: &GzipBlob, expected: &[u8], seed: u64) {
    let mut random = Random::new(seed);
    for _ in 0..60 {
        let start = random.below(expected.len());
        let len = random.below(90_000).min(expected.len() - start);
        let mut found = vec![0xa5; len];
        block_on(blob.read_at(&mut found, start as u64)).unwrap();
        assert!(found == expected[start..start + len], "{len} bytes at {start}");
    }
}

#[test]
fn indexes_of_the_reference() {
    let case = Case::open("gzindex");
    for Stream { index, gzip, size, sha256: digest, indexed } in manifest::<Streams>("gzindex").streams {
        let expected = inflated(&case.bytes(&gzip));
        assert_eq!(sha256(&expected), digest, "{gzip}");
        let covered = indexed.unwrap_or(size);

        let blob = open(case.bytes(&gzip), case.bytes(&index));
        assert_eq!(blob.size(), covered, "{index}");
        read_in_pieces(&blob, &expected[..covered as usize], covered);
        let whole = block_on(sha256_of(&open(case.bytes(&gzip), case.bytes(&index)))).unwrap();
        assert_eq!(whole, sha256(&expected[..covered as usize]), "{index}");

        let mut beyond = [0; 1];
        let error = block_on(blob.read_at(&mut beyond, covered)).unwrap_err();
        assert!(matches!(error, Error::OutOfBounds { .. }), "{index}: {error}");
    }
}

#[test]
fn indexes_of_our_own() {
    let case = Case::open("gzindex");
    for Stream { gzip, size, sha256: digest, .. } in manifest::<Streams>("gzindex").streams {
        for span in [64 << 10, 512 << 10] {
            let options = GzipIndexOptions::default().with_span(span).with_permille(500);
            let bytes = case.bytes(&gzip);
            let mut indexer = GzipIndexer::new(bytes.as_ref(), options);
            let mut expected = Vec::new();
            indexer.read_to_end(&mut expected).unwrap();
            assert_eq!(sha256(&expected), digest, "{gzip}");
            let index = indexer.finish().unwrap();

            let blob = open(bytes.clone(), index);
            assert_eq!(blob.size(), size, "{gzip}");
            assert!(blob.index().checkpoints() as u64 > size / u64::from(span) / 4, "{gzip} at {span}");
            read_in_pieces(&blob, &expected, size);
            assert_eq!(block_on(sha256_of(&blob)).unwrap(), digest, "{gzip} at {span}");
        }
    }
}

#[test]
fn windows_hold_what_is_needed_and_little_more() {
    let case = Case::open("gzindex");
    let reference = case.bytes("g1.s65536.a1.l6.meta");
    let span = u32::from_le_bytes(reference[13..17].try_into().unwrap());
    let options = GzipIndexOptions::default().with_span(span).with_permille(500);
    let index = GzipIndexer::new(case.bytes("g1.gz").as_ref(), options).finish().unwrap();
    let per_checkpoint = |index: &[u8]| {
        let count = u64::from_le_bytes(index[25..33].try_into().unwrap());
        index.len() as u64 / count
    };
    let (ours, theirs) = (per_checkpoint(&index), per_checkpoint(&reference));
    assert!(ours < theirs / 2, "{ours} bytes for each checkpoint, {theirs} in the reference's index");

    let independent = case.bytes("pigz-independent.gz");
    let options = GzipIndexOptions::default().with_span(64 << 10);
    let index = GzipIndexer::new(independent.as_ref(), options).finish().unwrap();
    // Few blocks of it refer back over the places where pigz starts afresh.
    let (ours, theirs) = (per_checkpoint(&index), per_checkpoint(&case.bytes("pigz-independent.meta")));
    assert!(ours < theirs / 2, "{ours} bytes for each checkpoint, {theirs} in the reference's index");
}
