//! A device with an ext4 or EROFS filesystem, on which a file list is resolved.
#![no_main]

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use overlaybd_format::{FileList, MemoryBlob};

fuzz_target!(|data: &[u8]| {
    let list = FileList::new(["/", "d/file", "d/link", "/d/absolute", "d/../large"]).expect("a list");
    let Ok(found) = block_on(list.resolve(&MemoryBlob::new(data.to_vec()))) else { return };
    let size = data.len() as u64;
    assert!(found.ranges.iter().all(|range| range.start < range.end && range.end <= size));
    assert!(found.unresolved.iter().all(|&path| path < list.paths().len()));
});
