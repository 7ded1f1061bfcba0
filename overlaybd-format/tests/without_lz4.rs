//! Without an LZ4 library, what is in LZ4 is unsupported, and all the rest is read and written.
#![cfg(not(any(feature = "lz4-c", feature = "lz4-flex")))]

use std::io::Write;

use bytes::Bytes;
use futures::executor::block_on;
use overlaybd_format::{
    Algorithm, Compression, Content, ContentWriter, Error, Limits, MemoryBlob, ReadAt, Wrappers,
};

#[path = "harness/golden.rs"]
mod golden;

#[test]
fn lz4_is_unsupported_and_zstandard_is_not() {
    let blob = golden::Case::open("lsmt-commit-zfile").blob("c.lz4.4k");
    let opened = block_on(Content::open(blob, &Limits::default()));
    assert!(matches!(opened, Err(Error::Unsupported { what: "ZFile algorithm", value: 1 })), "{opened:?}");

    let wrappers = |algorithm| Wrappers::default().with_compression(Some(Compression::new(algorithm)));
    let refused = ContentWriter::streaming(Vec::new(), wrappers(Algorithm::Lz4)).map(drop);
    assert!(matches!(refused, Err(Error::Unsupported { what: "ZFile algorithm", .. })), "{refused:?}");
    let mut writer = ContentWriter::streaming(Vec::new(), wrappers(Algorithm::Zstd)).unwrap();
    writer.write_all(&[7; 5000]).unwrap();
    let blob = MemoryBlob::new(Bytes::from(writer.finish().unwrap()));
    let content = block_on(Content::open(blob, &Limits::default())).unwrap();
    let mut bytes = [0; 5000];
    block_on(content.read_at(&mut bytes, 0)).unwrap();
    assert_eq!(bytes, [7; 5000]);
}
