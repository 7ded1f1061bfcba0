//! Which requests a read makes, and when its chunks arrive.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::sync::Arc;
use std::time::Duration;

use blob_under_test::{UnderTest, blob, build, options, read_and_compare};
use lazy_fetch::conformance::Fault;
use lazy_fetch::{
    Blob, BlobId, BlobOptions, Cache, CacheOptions, ErrorKind, MemorySource, MemoryStore, Priority, Runtime,
};

const KIB: usize = 1024;

#[test]
fn adjacent_missing_chunks_share_a_request_and_present_ones_divide_it() {
    let world = blob(64 * KIB, []);
    world.read(20 * KIB, 1).unwrap();
    world.read(0, 64 * KIB).unwrap();
    let k = KIB as u64;
    assert_eq!(world.source.ranges(), [20 * k..24 * k, 0..20 * k, 24 * k..64 * k]);
    assert_eq!(world.blob.stats().bytes_fetched, 64 * k);
}

#[test]
fn a_small_gap_is_fetched_along_and_counted() {
    let world = blob(256 * KIB, []);
    world.read(100 * KIB, 1).unwrap();
    world.read(0, 256 * KIB).unwrap();
    let k = KIB as u64;
    assert_eq!(world.source.ranges(), [100 * k..104 * k, 0..256 * k]);
    let stats = world.blob.stats();
    assert_eq!((stats.bytes_in_gaps, stats.bytes_fetched), (4 * k, 260 * k));
    assert!((stats.amplification() - 260.0 * 1024.0 / (256.0 * 1024.0 + 1.0)).abs() < 1e-9);

    let world = build(256 * KIB, options().with_max_gap(0), |s| s);
    world.read(100 * KIB, 1).unwrap();
    world.read(0, 256 * KIB).unwrap();
    assert_eq!((world.source.ranges().len(), world.blob.stats().bytes_in_gaps), (3, 0));
}

#[test]
fn long_reads_are_divided() {
    let world = build(100 * KIB, options().with_max_request_len(32 << 10), |s| s);
    world.read(0, 100 * KIB).unwrap();
    let k = KIB as u64;
    assert_eq!(world.source.ranges(), [0..32 * k, 32 * k..64 * k, 64 * k..96 * k, 96 * k..100 * k]);
}

#[test]
fn a_read_longer_than_its_parts_fetches_no_chunk_twice_even_without_memory() {
    let len = 40 * KIB * KIB + 123;
    let world = build(len, options(), |s| s.with_piece(1 << 20));
    let cache = Cache::builder(Arc::new(world.time.clone()))
        .options(CacheOptions::default().with_chunk_size(1 << 20))
        .store(Arc::new(MemoryStore::new(0)))
        .build()
        .unwrap();
    let blob = cache.open(blob_under_test::id(), len as u64, world.source.clone());
    world.time.block_on(read_and_compare(&blob, &world.content, 5, len - 5)).unwrap();
    assert_eq!(blob.stats().bytes_fetched, len as u64);
}

#[test]
fn a_chunk_wakes_its_reader_before_the_request_ends() {
    let world = blob(400 * KIB, []);
    world.time.block_on(async {
        let all = read_and_compare(&world.blob, &world.content, 0, 400 * KIB);
        let first = async {
            let start = world.time.elapsed();
            read_and_compare(&world.blob, &world.content, 0, 100).await.unwrap();
            world.time.elapsed() - start
        };
        let (all, first) = futures::join!(all, first);
        all.unwrap();
        // One latency for the answer and one for the first piece; the whole takes a hundred.
        assert_eq!(first, Duration::from_millis(20));
        assert_eq!(world.time.elapsed(), Duration::from_millis(1010));
    });
    assert_eq!(world.source.ranges().len(), 1);
}

#[test]
fn what_arrived_before_a_final_error_is_kept() {
    let world = blob(16 * KIB, [Fault::CutAfter(9 * KIB as u64)]);
    for _ in 0..5 {
        world.source.break_next(Fault::CutAfter(0));
    }
    assert_eq!(world.read(0, 16 * KIB).unwrap_err().kind(), ErrorKind::Connection);
    assert!(world.blob.try_read_at(&mut [0; 8 << 10], 0).unwrap(), "two chunks were whole");
    assert!(!world.blob.try_read_at(&mut [0; 1], 8 << 10).unwrap(), "the third was not");
}

#[test]
fn bounds_are_checked_before_anything_else() {
    let world = blob(1000, []);
    for (offset, len) in [(0, 1001), (1000, 1), (u64::MAX, 1), (1001, 0)] {
        let mut buf = vec![0; len];
        let error = world.time.block_on(world.blob.read_at(&mut buf, offset)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfBounds);
        assert_eq!(world.blob.try_read_at(&mut buf, offset).unwrap_err().kind(), ErrorKind::OutOfBounds);
    }
    world.read(1000, 0).unwrap();
    assert!(world.source.ranges().is_empty());
}

#[test]
fn discarded_chunks_are_fetched_again() {
    let world = blob(64 * KIB, []);
    world.read(0, 64 * KIB).unwrap();
    world.time.block_on(world.blob.discard(5000..5001)).unwrap();
    world.read(0, 64 * KIB).unwrap();
    assert_eq!(world.source.ranges().last(), Some(&(4096..8192)));
}

#[test]
fn a_random_reader_causes_no_prefetch() {
    let (world, blob) = with_readahead();
    world.time.block_on(async {
        for i in (0..64).rev() {
            read_and_compare(&blob, &world.content, i * 8192, 100).await.unwrap();
        }
    });
    assert_eq!(blob.stats().bytes_fetched, 64 * 4096);
}

#[test]
fn a_sequential_reader_seldom_waits_for_a_request() {
    let (world, blob) = with_readahead();
    world.time.block_on(async {
        for i in 0..1024 {
            read_and_compare(&blob, &world.content, i * 4096, 4096).await.unwrap();
        }
    });
    let requests = world.source.requests();
    let demand = requests.iter().filter(|request| request.urgency.get() == Priority::OnDemand).count();
    assert!(demand <= 3, "{demand} of {}", requests.len());
    assert!(requests.len() <= 12, "{} requests", requests.len());
    assert_eq!(blob.stats().bytes_fetched, 4 << 20);
}

fn with_readahead() -> (UnderTest, Blob) {
    let world = build(4 << 20, options(), |s| s.with_piece(64 << 10));
    let (id, source) = (blob_under_test::id(), world.source.clone());
    let blob = world.cache.open_with(id, 4 << 20, source, BlobOptions::default()).unwrap();
    (world, blob)
}

#[test]
fn two_caches_with_other_chunk_sizes_share_a_store_without_confusion() {
    let world = blob(48 * KIB, []);
    let store = Arc::new(MemoryStore::new(1 << 20));
    for chunk_size in [4 << 10, 16 << 10, 32 << 10, 4 << 10] {
        let cache = Cache::builder(Arc::new(world.time.clone()))
            .options(CacheOptions::default().with_chunk_size(chunk_size))
            .store(store.clone())
            .build()
            .unwrap();
        let source = Arc::new(MemorySource::new(world.content.clone()));
        let blob = cache.open(BlobId::new("x").unwrap(), 48 << 10, source);
        world.time.block_on(read_and_compare(&blob, &world.content, 0, 48 * KIB)).unwrap();
    }
}

#[test]
fn options_that_cannot_be_are_refused() {
    let time: Arc<dyn Runtime> = Arc::new(lazy_fetch::conformance::VirtualTime::new());
    for options in [
        CacheOptions::default().with_chunk_size(0),
        CacheOptions::default().with_chunk_size(5000),
        CacheOptions::default().with_chunk_size(8 << 20),
        CacheOptions::default().with_read_timeout(Duration::ZERO),
        CacheOptions::default().with_retry(lazy_fetch::RetryOptions::default().with_tries(0)),
    ] {
        let error = Cache::builder(Arc::clone(&time)).options(options).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
