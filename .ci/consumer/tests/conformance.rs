//! What the program implements keeps the contracts of the crates' traits, by the crates' own suites.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use consumer::{Pieces, Shelf};
use lazy_fetch::conformance::{
    VirtualTime, blob_source, blob_source_under_fault, chunk_store, chunk_store_damaged,
};
use lazy_fetch::{ChunkStore, Runtime};
use overlaybd_format::conformance::read_at;

fn blob() -> Vec<u8> {
    (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn source() {
    let time = VirtualTime::new();
    let deadline = time.now() + Duration::from_secs(60);
    let pieces = Arc::new(Pieces::new(&blob()));
    time.block_on(blob_source(pieces.clone(), &blob(), deadline));
    time.block_on(blob_source_under_fault(pieces.clone(), &blob(), deadline, || pieces.lose_peer()));
}

#[test]
fn reader() {
    VirtualTime::new().block_on(async { read_at(&Pieces::new(&blob()), &blob()).await });
}

#[test]
fn store() {
    let directory = tempfile::tempdir().unwrap();
    VirtualTime::new().block_on(chunk_store(Arc::new(Shelf::new(directory.path()))));
}

#[test]
fn store_under_damage() {
    let damages: [fn(Vec<u8>) -> Vec<u8>; 3] = [
        |file| file[..file.len() / 2].to_vec(),
        |_| Vec::new(),
        |mut file| {
            file[1000] ^= 1;
            file
        },
    ];
    for damage in damages {
        let directory = tempfile::tempdir().unwrap();
        let damage = || {
            for file in fs::read_dir(directory.path()).unwrap() {
                let path = file.unwrap().path();
                fs::write(&path, damage(fs::read(&path).unwrap())).unwrap();
            }
        };
        let open = || Arc::new(Shelf::new(directory.path())) as Arc<dyn ChunkStore>;
        VirtualTime::new().block_on(chunk_store_damaged(open, damage));
    }
}
