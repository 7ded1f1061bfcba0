//! With digests, no wrong byte is kept or read, wherever it went wrong.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::fs;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use blob_under_test::{CHUNK, UnderTest, build, build_over, id, options, read_and_compare};
use lazy_fetch::conformance::{Fault, VirtualTime};
use lazy_fetch::{
    Blob, BlobId, BlobOptions, DiskOptions, DiskStore, ErrorKind, Event, MemorySource, NoPrefetch, Observer,
    PieceDigests,
};

const LEN: usize = 16 * CHUNK as usize + 123;

fn unit(bytes: u32) -> NonZeroU32 {
    NonZeroU32::new(bytes).unwrap()
}

/// The blob of `world` with a digest for each kibibyte.
fn verified(world: &UnderTest) -> Blob {
    let digests = Arc::new(PieceDigests::of(&world.content, unit(1024)));
    let options = BlobOptions::default().with_prefetch(NoPrefetch).with_verifier(digests);
    world.cache.open_with(id(), LEN as u64, world.source.clone(), options).unwrap()
}

#[test]
fn a_flipped_bit_costs_one_chunk_fetched_again() {
    let world = build(LEN, options(), |source| source);
    let blob = verified(&world);
    world.source.break_next(Fault::Flip(5 * u64::from(CHUNK) + 7));
    world.time.block_on(read_and_compare(&blob, &world.content, 0, LEN)).unwrap();
    let wrong = 5 * u64::from(CHUNK)..6 * u64::from(CHUNK);
    assert_eq!(world.source.ranges(), [0..LEN as u64, wrong]);
    assert_eq!(blob.stats().mismatches, 1);
}

#[test]
fn an_origin_that_is_wrong_again_and_again_is_a_typed_error() {
    let world = build(LEN, options(), |source| source.with_faults(vec![Fault::Flip(0); 3]));
    let blob = verified(&world);
    let error = world.time.block_on(read_and_compare(&blob, &world.content, 0, 10)).unwrap_err();
    assert_eq!((error.kind(), error.range()), (ErrorKind::Corrupt, Some(0..u64::from(CHUNK))));
    assert_eq!(world.source.ranges().len(), 3);
    // The chunks beside it are not harmed, and a later read is served.
    world.time.block_on(read_and_compare(&blob, &world.content, 0, LEN)).unwrap();
}

#[test]
fn what_a_store_was_made_to_hold_is_found_out() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let open = || DiskStore::open(Arc::new(time.clone()), dir.path(), DiskOptions::default()).unwrap();
    // Somebody who can write the directory puts in chunks of other content, with valid checksums.
    let foreign = build_over(time.clone(), LEN, options(), vec![Arc::new(open())], |source| source);
    let other = Arc::new(MemorySource::new(vec![7; LEN]));
    let blob = foreign.cache.open(id(), LEN as u64, other);
    time.block_on(blob.read_at(&mut [0; LEN], 0)).unwrap();
    time.run_until_idle();

    let world = build_over(time.clone(), LEN, options(), vec![Arc::new(open())], |source| source);
    let blob = verified(&world);
    time.block_on(read_and_compare(&blob, &world.content, 0, LEN)).unwrap();
    time.run_until_idle();
    let stats = blob.stats();
    assert_eq!((stats.mismatches, stats.hits_store, stats.bytes_fetched), (17, 0, LEN as u64));
    let held = fs::read(dir.path().join("chunks-v1/sha256:0b.data")).unwrap();
    assert!(held == world.content, "the store has the right bytes now");
}

#[test]
fn a_unit_that_does_not_divide_the_chunk_size_is_refused() {
    let world = build(LEN, options(), |source| source);
    for (bytes, fits) in [(CHUNK, true), (1024, true), (3000, false), (2 * CHUNK, false)] {
        let digests = Arc::new(PieceDigests::of(&world.content, unit(bytes)));
        let options = BlobOptions::default().with_verifier(digests);
        let opened = world.cache.open_with(id(), LEN as u64, world.source.clone(), options);
        assert_eq!(opened.is_ok(), fits, "{bytes}");
    }
}

/// Writes down what it is told.
#[derive(Debug, Default)]
struct Listener(Mutex<Vec<String>>);

impl Observer for Listener {
    fn observe(&self, blob: &BlobId, event: &Event<'_>) {
        let what = match event {
            Event::Read { range, error, .. } => format!("read {range:?} {}", error.is_none()),
            Event::FirstByte { range, .. } => format!("first byte of {range:?}"),
            Event::Retry { range, .. } => format!("retry {range:?}"),
            Event::Mismatch { range } => format!("mismatch {range:?}"),
            other => format!("{other:?}"),
        };
        assert_eq!(blob, &id());
        self.0.lock().unwrap().push(what);
    }
}

#[test]
fn an_observer_learns_what_happened_in_order() {
    let listener = Arc::new(Listener::default());
    let world = build(8192, options(), |source| source);
    let cache = lazy_fetch::Cache::builder(Arc::new(world.time.clone()))
        .options(options())
        .observer(listener.clone())
        .build()
        .unwrap();
    let digests = Arc::new(PieceDigests::of(&world.content, unit(CHUNK)));
    let options = BlobOptions::default().with_prefetch(NoPrefetch).with_verifier(digests);
    let blob = cache.open_with(id(), 8192, world.source.clone(), options).unwrap();
    world.source.break_next(Fault::CutAfter(4096));
    world.source.break_next(Fault::Flip(4096));
    world.time.block_on(read_and_compare(&blob, &world.content, 10, 8000)).unwrap();
    blob.try_read_at(&mut [0; 10], 0).unwrap();
    let told = [
        "first byte of 0..8192",
        "retry 4096..8192",
        "first byte of 4096..8192",
        "mismatch 4096..8192",
        "first byte of 4096..8192",
        "read 10..8010 true",
    ];
    assert_eq!(*listener.0.lock().unwrap(), told);
    let stats = blob.stats();
    assert_eq!((stats.read_latency.count(), stats.first_byte_latency.count()), (1, 3));
}

#[test]
fn what_was_brought_without_digests_is_not_taken_for_checked() {
    let time = VirtualTime::new();
    let dir = tempfile::tempdir().unwrap();
    let disk = DiskStore::open(Arc::new(time.clone()), dir.path(), DiskOptions::default()).unwrap();
    let world = build_over(time, LEN, options(), vec![Arc::new(disk)], |source| source);
    // Wrong on the way, which nobody notices: it is in memory and on the disk.
    world.source.break_next(Fault::Flip(7));
    let mut buf = [0; 10];
    world.time.block_on(world.blob.read_at(&mut buf, 0)).unwrap();
    assert_ne!(buf, world.content[..10]);
    // Another fetch of that kind is under way when the reader with digests comes.
    world.source.break_next(Fault::Flip(u64::from(CHUNK) + 7));
    world.blob.prefetch(std::iter::once(u64::from(CHUNK)..2 * u64::from(CHUNK)));
    let blob = verified(&world);
    world.time.block_on(read_and_compare(&blob, &world.content, 0, 2 * CHUNK as usize)).unwrap();
    world.time.run_until_idle();
    world.time.block_on(read_and_compare(&blob, &world.content, 0, 2 * CHUNK as usize)).unwrap();
    assert!(blob.try_read_at(&mut buf, 0).unwrap() && buf == world.content[..10]);
    // The disk is shared: what is checked there when it is read serves both.
    let error = world.time.block_on(blob.read_at(&mut buf, LEN as u64)).unwrap_err();
    assert_eq!(error.blob(), Some(&id()), "one name for all");
}
