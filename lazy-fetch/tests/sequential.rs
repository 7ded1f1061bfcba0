//! A sequential cold read is as fast as a plain download over the same link.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::sync::Arc;
use std::time::Duration;

use blob_under_test::{content, id, read_and_compare};
use futures::StreamExt;
use lazy_fetch::conformance::{FaultySource, VirtualTime};
use lazy_fetch::{BlobSource, Cache, CacheOptions, FetchRequest, Latency, MemorySource, Runtime, Throttle};

const LEN: usize = 32 << 20;

#[test]
fn a_sequential_reader_gets_the_bandwidth_of_the_link() {
    let content = content(LEN);
    for (megabits, round_trip) in [(100, 20), (300, 5), (1000, 1)] {
        let time = VirtualTime::new();
        let runtime: Arc<dyn Runtime> = Arc::new(time.clone());
        let origin = Arc::new(MemorySource::new(content.clone()));
        let source = FaultySource::new(runtime.clone(), origin).with_piece(16 << 10);
        let link = Throttle::new(runtime.clone(), Arc::new(source), megabits * 125_000);
        let link = Arc::new(Latency::new(runtime.clone(), Arc::new(link), Duration::from_millis(round_trip)));

        let plain = time.block_on(async {
            let deadline = time.now() + Duration::from_secs(60);
            let mut body = link.fetch(FetchRequest::new(0..LEN as u64, deadline)).await.unwrap();
            while let Some(piece) = body.next().await {
                piece.unwrap();
            }
            time.elapsed()
        });
        let options = CacheOptions::default().with_seed(1);
        let cache = Cache::builder(runtime).options(options).build().unwrap();
        let blob = cache.open(id(), LEN as u64, link);
        time.block_on(async {
            for at in (0..LEN).step_by(128 << 10) {
                read_and_compare(&blob, &content, at, 128 << 10).await.unwrap();
            }
        });
        let lazy = time.elapsed() - plain;
        let share = plain.as_secs_f64() / lazy.as_secs_f64();
        let requests = blob.stats().requests;
        println!(
            "{megabits} Mbit/s, {round_trip} ms: {:.1} % of a plain download, {requests} requests",
            share * 100.0
        );
        assert!(share >= 0.95, "{lazy:?} where a plain download takes {plain:?}");
        assert!(requests <= 30 && blob.stats().bytes_fetched == LEN as u64);
    }
}
