//! A blob that is used densely is brought as a whole, one that is not is left alone.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::sync::Arc;
use std::time::Duration;

use blob_under_test::{content, id, read_and_compare};
use futures::future::{Either, select};
use lazy_fetch::conformance::{FaultySource, VirtualTime};
use lazy_fetch::{
    Blob, BlobOptions, Cache, CacheOptions, CompleteOptions, Digest, Latency, MemorySource, NoPrefetch,
    Priority, Runtime, Throttle,
};

const CHUNK: usize = 64 << 10;
const CHUNKS: usize = 256;
const LEN: usize = CHUNKS * CHUNK;

struct World {
    time: VirtualTime,
    source: Arc<FaultySource>,
    blob: Blob,
    content: Vec<u8>,
}

/// A link of 300 Mbit/s and a round trip of 20 ms.
fn world() -> World {
    let (time, content) = (VirtualTime::new(), content(LEN));
    let runtime: Arc<dyn Runtime> = Arc::new(time.clone());
    let origin = Arc::new(MemorySource::new(content.clone()));
    let source = Arc::new(FaultySource::new(runtime.clone(), origin).with_piece(16 << 10));
    let link = Throttle::new(runtime.clone(), source.clone(), 300 * 125_000);
    let link = Latency::new(runtime.clone(), Arc::new(link), Duration::from_millis(20));
    let options = CacheOptions::default().with_chunk_size(CHUNK as u32).with_seed(1);
    let cache = Cache::builder(runtime).options(options).build().unwrap();
    let options = BlobOptions::default().with_prefetch(NoPrefetch);
    let blob = cache.open_with(id(), LEN as u64, Arc::new(link), options).unwrap();
    World { time, source, blob, content }
}

/// Reads `chunks` chunks all over the blob, one after the other, while it may be completed; gives how long it took.
fn read(world: &World, chunks: usize, options: CompleteOptions) -> Duration {
    let dir = tempfile::tempdir().unwrap();
    let (path, digest) = (dir.path().join("blob"), Digest::of(&world.content));
    world.time.block_on(async {
        let completing = Box::pin(async {
            world.blob.complete(&path, digest, options).await.unwrap();
            std::future::pending::<()>().await;
        });
        let reading = Box::pin(async {
            for i in 0..chunks {
                read_and_compare(&world.blob, &world.content, i * 97 % CHUNKS * CHUNK, CHUNK).await.unwrap();
            }
        });
        match select(reading, completing).await {
            Either::Left(((), _)) => world.time.elapsed(),
            Either::Right(_) => unreachable!(),
        }
    })
}

fn background(world: &World) -> usize {
    let requests = world.source.requests();
    requests.iter().filter(|request| request.urgency.get() == Priority::Background).count()
}

#[test]
fn below_the_share_nothing_more_is_fetched() {
    let world = world();
    read(&world, CHUNKS / 4, CompleteOptions::default().with_after_percent(30));
    assert_eq!((background(&world), world.blob.stats().bytes_fetched), (0, LEN as u64 / 4));
}

#[test]
fn past_the_share_the_whole_blob_comes_in_large_requests() {
    let sparse = world();
    let alone = read(&sparse, CHUNKS, CompleteOptions::default().with_after_percent(101));
    let dense = world();
    let together = read(&dense, CHUNKS, CompleteOptions::default().with_after_percent(30).with_parallel(4));
    println!("all of it at random: {alone:?} chunk by chunk, {together:?} with a switch after 30 %");
    assert!(dense.blob.is_complete() && background(&sparse) == 0);
    assert!(background(&dense) <= LEN / (4 << 20), "in requests of the largest size");
    assert!(together * 2 < alone, "{together:?}");
    assert!(
        dense.blob.stats().bytes_fetched < LEN as u64 * 14 / 10,
        "what is in memory is not fetched again"
    );
}

#[test]
fn a_share_that_is_reached_already_is_not_waited_for() {
    let world = world();
    let (dir, digest) = (tempfile::tempdir().unwrap(), Digest::of(&world.content));
    read(&world, CHUNKS / 2, CompleteOptions::default().with_after_percent(101));
    let options = CompleteOptions::default().with_after_percent(50);
    world.time.block_on(world.blob.complete(dir.path().join("blob"), digest, options)).unwrap();
    assert!(world.blob.is_complete());
}
