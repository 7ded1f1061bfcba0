//! A store that does not answer costs its patience once, not once for each chunk.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use blob_under_test::{CHUNK, build_over, options};
use bytes::Bytes;
use lazy_fetch::conformance::VirtualTime;
use lazy_fetch::{ChunkKey, ChunkStore, Result, Runtime};

/// Counts the calls that it does not answer.
#[derive(Debug, Default)]
struct Hung(AtomicUsize);

impl Hung {
    async fn hang<T>(&self) -> T {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }
}

#[async_trait]
impl ChunkStore for Hung {
    fn try_get(&self, _key: &ChunkKey) -> Option<Bytes> {
        None
    }

    async fn get(&self, _key: &ChunkKey) -> Option<Bytes> {
        self.hang().await
    }

    async fn put(&self, _key: &ChunkKey, _chunk: Bytes) -> Result<()> {
        self.hang().await
    }

    async fn remove(&self, _key: &ChunkKey) {
        self.hang().await
    }
}

#[test]
fn reads_wait_for_it_once_and_it_is_tried_again_later() {
    let (time, store) = (VirtualTime::new(), Arc::new(Hung::default()));
    let len = 256 * CHUNK as usize;
    let world = build_over(time.clone(), len, options(), vec![store.clone()], |s| s.with_piece(1 << 20));
    world.read(0, len / 2).unwrap();
    let patience = options().stall_timeout;
    assert!(time.elapsed() < patience + Duration::from_secs(1), "{:?}", time.elapsed());
    let calls = store.0.load(Ordering::Relaxed);
    let before = time.elapsed();
    world.read(len / 2, len / 4).unwrap();
    assert!(time.elapsed() - before < Duration::from_millis(100), "{:?}", time.elapsed() - before);
    assert_eq!(store.0.load(Ordering::Relaxed), calls, "it is left alone");

    time.run_until_idle();
    let later = time.now() + Duration::from_secs(31);
    time.block_on(time.sleep_until(later));
    world.read(len - 5000, 5000).unwrap();
    assert!(store.0.load(Ordering::Relaxed) > calls, "it is tried again");
    time.run_until_idle();
    assert_eq!((world.cache.usage().bytes_in_flight, time.tasks()), (0, 0));
}

#[test]
fn a_reader_in_a_hurry_does_not_spend_its_time_on_it_and_holds_nothing_against_it() {
    let (time, store) = (VirtualTime::new(), Arc::new(Hung::default()));
    let world =
        build_over(time.clone(), 16 * CHUNK as usize, options(), vec![store.clone()], |source| source);
    for chunk in 0..3 {
        let deadline = time.now() + Duration::from_secs(2);
        let mut buf = [0; 10];
        time.block_on(world.blob.read_at_until(&mut buf, chunk * u64::from(CHUNK), deadline)).unwrap();
        assert_eq!(buf, world.content[chunk as usize * CHUNK as usize..][..10]);
        assert_eq!(store.0.load(Ordering::Relaxed), 2 * chunk as usize + 2, "a look and a put each");
        time.run_until_idle();
        let later = time.now() + Duration::from_secs(31);
        time.block_on(time.sleep_until(later));
    }
}
