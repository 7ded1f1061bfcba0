//! A 4 TiB device with data on both sides of 2 TiB, where a 32-bit sector number wraps.

use futures::executor::block_on;
use overlaybd_format::{Image, LayerBlob, Limits, ReadAt};
use serde::Deserialize;

use crate::golden::{Case, manifest, sha256};

#[path = "harness/golden.rs"]
mod golden;

#[derive(Deserialize)]
struct Huge {
    size: u64,
    ranges: Vec<Range>,
}

#[derive(Deserialize)]
struct Range {
    offset: u64,
    len: usize,
    sha256: String,
}

#[test]
fn ranges_beyond_two_tebibytes() {
    let huge: Huge = manifest("lsmt-huge");
    let layer = LayerBlob::new("rw.commit", Case::open("lsmt-huge").blob("rw.commit"));
    let image = block_on(Image::open(vec![layer], &Limits::default())).unwrap();

    assert_eq!(image.size(), huge.size);
    for Range { offset, len, sha256: expected } in huge.ranges {
        let mut bytes = vec![0xa5; len];
        block_on(image.read_at(&mut bytes, offset)).unwrap();
        assert_eq!(sha256(&bytes), expected, "{len} bytes at {offset}");
    }
}
