//! A start that was recorded is brought with few requests, few bytes more than it reads, and at the speed of the
//! link.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::sync::Arc;
use std::time::Duration;

use blob_under_test::{content, id, read_and_compare};
use lazy_fetch::conformance::{FaultySource, VirtualTime};
use lazy_fetch::{
    Blob, BlobOptions, Cache, CacheOptions, Latency, MemorySource, NoPrefetch, PrefetchPolicy, Profile,
    Readahead, Recorder, Recording, Stats, Throttle,
};

const MIB: usize = 1 << 20;
const LEN: usize = 32 * MIB;
/// 100 Mbit/s and a round trip of 20 ms.
const BANDWIDTH: u64 = 12_500_000;
const ROUND_TRIP: Duration = Duration::from_millis(20);

struct World {
    time: VirtualTime,
    blob: Blob,
    recording: Recording,
    content: Vec<u8>,
    source: Arc<FaultySource>,
}

fn world(policy: impl PrefetchPolicy + 'static) -> World {
    let time = VirtualTime::new();
    let runtime = Arc::new(time.clone());
    let content = content(LEN);
    let origin = Arc::new(MemorySource::new(content.clone()));
    let source = Arc::new(FaultySource::new(runtime.clone(), origin).with_piece(16 << 10));
    let link = Throttle::new(runtime.clone(), source.clone(), BANDWIDTH);
    let link = Latency::new(runtime.clone(), Arc::new(link), ROUND_TRIP);
    let options = CacheOptions::default().with_chunk_size(16 << 10).with_seed(1);
    let cache = Cache::builder(runtime).options(options).build().unwrap();
    let (recorder, recording) = Recorder::new(policy);
    let options = BlobOptions::default().with_prefetch(recorder);
    let blob = cache.open_with(id(), LEN as u64, Arc::new(link), options).unwrap();
    World { time, blob, recording, content, source }
}

/// A start: four readers, each of which reads parts of files, some whole, some in pieces far apart.
fn reads() -> Vec<Vec<(usize, usize)>> {
    let mut state = 1u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut reader = || {
        let mut reads = Vec::new();
        for _ in 0..40 {
            let (at, pieces) = (random(LEN / 65536 - 20) * 65536, 1 + random(12));
            reads.extend((0..pieces).map(|piece| (at + piece * 32 * 1024, 32 * 1024)));
        }
        reads
    };
    (0..4).map(|_| reader()).collect()
}

/// Runs the start; gives what it cost and how long it took.
fn start(world: &World) -> (Stats, Duration) {
    let before = world.time.elapsed();
    world.time.block_on(futures::future::join_all(reads().into_iter().map(async |reads| {
        for (at, len) in reads {
            read_and_compare(&world.blob, &world.content, at, len).await.unwrap();
        }
    })));
    (world.blob.stats(), world.time.elapsed() - before)
}

#[test]
fn a_replayed_start_is_bound_by_the_link() {
    let recorded = world(Readahead::default());
    let (cold, cold_time) = start(&recorded);
    let profile: Profile = recorded.recording.profile().to_string().parse().unwrap();

    let replayed = world(NoPrefetch);
    replayed.blob.prefetch(profile.ranges());
    let (stats, time) = start(&replayed);
    let ideal = Duration::from_secs_f64(profile.bytes() as f64 / BANDWIDTH as f64) + ROUND_TRIP;
    println!(
        "{} bytes touched; without profile {} requests, {} bytes, {cold_time:?}; with it {} requests, {} bytes, \
         {time:?}; the link alone {ideal:?}",
        profile.bytes(),
        cold.requests,
        cold.bytes_fetched,
        stats.requests,
        stats.bytes_fetched
    );
    assert!(stats.bytes_fetched * 10 <= profile.bytes() * 11, "at most 1.1 times what is touched");
    assert!(
        time.as_secs_f64() <= ideal.as_secs_f64() / 0.95,
        "{time:?} where the link alone takes {ideal:?}"
    );
    assert!(stats.requests * 2 <= cold.requests, "{} after {}", stats.requests, cold.requests);
    assert!(time < cold_time);
}

#[test]
fn a_replay_of_another_blob_harms_nobody() {
    let world = world(NoPrefetch);
    world.blob.prefetch(
        "lazy-fetch profile 1\n99999999999 5\n18446744073709551610 5\n0 0\n"
            .parse::<Profile>()
            .unwrap()
            .ranges(),
    );
    world.time.block_on(read_and_compare(&world.blob, &world.content, 0, 5)).unwrap();
    assert_eq!(world.source.ranges().len(), 1);
}
