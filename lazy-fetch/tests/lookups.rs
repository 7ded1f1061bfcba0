//! Looking up what may be wanted keeps nobody from looking up what is.

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

const CHUNKS: usize = 2000;

/// A disk that has nothing, needs 10 ms to say so, and 10 ms more for each 64 who ask at a time.
#[derive(Debug)]
struct Busy {
    time: VirtualTime,
    at_work: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl ChunkStore for Busy {
    fn try_get(&self, _key: &ChunkKey) -> Option<Bytes> {
        None
    }

    async fn get(&self, _key: &ChunkKey) -> Option<Bytes> {
        let at_work = self.at_work.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(at_work, Ordering::Relaxed);
        let rounds = 1 + at_work as u32 / 64;
        self.time.sleep_until(self.time.now() + Duration::from_millis(10) * rounds).await;
        self.at_work.fetch_sub(1, Ordering::Relaxed);
        None
    }

    async fn put(&self, _key: &ChunkKey, _chunk: Bytes) -> Result<()> {
        Ok(())
    }

    async fn remove(&self, _key: &ChunkKey) {}
}

#[test]
fn a_reader_passes_the_look_ups_of_a_long_profile() {
    let time = VirtualTime::new();
    let store =
        Arc::new(Busy { time: time.clone(), at_work: AtomicUsize::new(0), most: AtomicUsize::new(0) });
    let (chunk, len) = (CHUNK as usize, CHUNKS * CHUNK as usize);
    let options = options().with_max_request_len(8 * u64::from(CHUNK));
    let world =
        build_over(time.clone(), len, options, vec![store.clone()], |source| source.with_piece(1 << 20));
    // Every chunk but the last one.
    world.blob.prefetch(std::iter::once(0..(len - chunk) as u64));
    let later = time.now() + Duration::from_millis(1);
    time.block_on(time.sleep_until(later));
    let before = time.elapsed();
    world.read(len - chunk, chunk).unwrap();
    let took = time.elapsed() - before;
    assert!(took <= Duration::from_millis(40), "{took:?} for a look-up, an answer and a piece of 10 ms each");
    time.run_until_idle();
    let most = store.most.load(Ordering::Relaxed);
    assert!((32..=64).contains(&most), "{most} at a time");
}
