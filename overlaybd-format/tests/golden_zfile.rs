//! Compressed streams of every algorithm and block size, read as plain bytes.

use futures::executor::block_on;
use overlaybd_format::{Content, Error, Limits};
use serde::Deserialize;

use crate::golden::{Case, manifest, sha256_of};

#[path = "harness/golden.rs"]
mod golden;

#[derive(Deserialize)]
struct Streams {
    streams: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    file: String,
    sha256: String,
}

/// Where the tool gave up after the first header, because the blocks were to be too large.
const UNFINISHED: &str = "zh.lz4.128k";

#[test]
fn streams() {
    let case = Case::open("zfile-raw");
    for Stream { file, sha256 } in manifest::<Streams>("zfile-raw").streams {
        let opened = block_on(Content::open(case.blob(&file), &Limits::default()));
        if file == UNFINISHED {
            let error = opened.unwrap_err();
            assert!(matches!(error.root(), Error::Unsupported { value: 0x2_0000, .. }), "{error}");
            continue;
        }
        let content = opened.unwrap_or_else(|e| panic!("{file} does not open: {e}"));
        assert!(content.compression().is_some(), "{file} is not seen as a ZFile");
        let found = block_on(sha256_of(&content)).unwrap_or_else(|e| panic!("{file} does not read: {e}"));
        assert_eq!(found, sha256, "{file}");
    }
}
