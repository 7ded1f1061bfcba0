//! Object stores as a source and as a tier that a fleet shares.

#![cfg(feature = "object_store")]

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::sync::Arc;
use std::time::Duration;

use blob_under_test::{CHUNK, build_over, content, options};
use bytes::Bytes;
use futures::StreamExt;
use lazy_fetch::conformance::{VirtualTime, blob_source, chunk_store};
use lazy_fetch::{BlobSource, ErrorKind, FetchRequest, ObjectSource, ObjectTier, Runtime};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

const LEN: usize = 8 * CHUNK as usize;

#[test]
fn the_contract_of_a_source_is_kept() {
    let (time, store) = (VirtualTime::new(), Arc::new(InMemory::new()));
    let (path, deadline) = (Path::from("a/b"), time.now() + Duration::from_secs(60));
    time.block_on(store.put(&path, content(LEN).into())).unwrap();
    let source = |size| Arc::new(ObjectSource::new(store.clone(), path.clone(), size));
    time.block_on(blob_source(source(LEN as u64), &content(LEN), deadline));

    let error = |source: &dyn BlobSource| {
        time.block_on(source.fetch(FetchRequest::new(0..10, deadline))).err().unwrap().kind()
    };
    assert_eq!(error(&*source(LEN as u64 + 1)), ErrorKind::SizeMismatch);
    assert_eq!(error(&ObjectSource::new(store.clone(), Path::from("c"), 10)), ErrorKind::NotFound);
}

#[test]
fn the_contract_of_a_store_is_kept() {
    let tier = ObjectTier::new(Arc::new(InMemory::new()), Path::from("cache"));
    VirtualTime::new().block_on(chunk_store(Arc::new(tier)));
}

#[test]
fn one_node_reads_what_another_fetched_and_damage_is_a_miss() {
    let (time, store) = (VirtualTime::new(), Arc::new(InMemory::new()));
    let node = || {
        let tier = ObjectTier::new(store.clone(), Path::from("cache"));
        build_over(time.clone(), LEN, options(), vec![Arc::new(tier)], |source| source)
    };
    let first = node();
    first.read(0, LEN).unwrap();
    time.run_until_idle();
    let second = node();
    second.read(0, LEN).unwrap();
    assert_eq!((second.blob.stats().bytes_fetched, second.blob.stats().hits_store), (0, 8));

    let objects: Vec<_> = time.block_on(store.list(None).map(|object| object.unwrap().location).collect());
    assert_eq!(objects.len(), 8);
    // One is flipped, one is cut, one is put in the place of another, one is gone.
    time.block_on(async {
        let bytes = async |at: usize| store.get(&objects[at]).await.unwrap().bytes().await.unwrap();
        let mut flipped = bytes(0).await.to_vec();
        flipped[100] ^= 1;
        store.put(&objects[0], flipped.into()).await.unwrap();
        let cut: Bytes = bytes(1).await.slice(..50);
        store.put(&objects[1], cut.into()).await.unwrap();
        store.put(&objects[2], bytes(3).await.into()).await.unwrap();
        store.delete(&objects[4]).await.unwrap();
    });
    let third = node();
    third.read(0, LEN).unwrap();
    assert_eq!(third.blob.stats().bytes_fetched, 4 * u64::from(CHUNK));
    time.run_until_idle();
    let fourth = node();
    fourth.read(0, LEN).unwrap();
    assert_eq!(fourth.blob.stats().bytes_fetched, 0, "it is repaired");
}
