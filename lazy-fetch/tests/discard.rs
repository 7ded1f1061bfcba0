//! Bytes that proved wrong are gone, whoever still holds them and whichever store does not answer.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use blob_under_test::{CHUNK, UnderTest, build_over, options};
use bytes::Bytes;
use lazy_fetch::conformance::VirtualTime;
use lazy_fetch::{ChunkKey, ChunkStore, ErrorKind, MemoryStore, Result, Runtime};

const LEN: usize = 8 * CHUNK as usize;

/// Takes a second to put or get, and does not answer at all while it hangs.
#[derive(Debug)]
struct Slow {
    time: VirtualTime,
    inner: MemoryStore,
    hangs: AtomicBool,
}

impl Slow {
    async fn work(&self) {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.time.sleep_until(self.time.now() + Duration::from_secs(1)).await;
    }

    fn has(&self, world: &UnderTest, chunk: u64) -> bool {
        let key = ChunkKey { blob: world.blob.id().clone(), offset: chunk * u64::from(CHUNK), len: CHUNK };
        self.inner.try_get(&key).is_some()
    }
}

#[async_trait]
impl ChunkStore for Slow {
    fn try_get(&self, _key: &ChunkKey) -> Option<Bytes> {
        None
    }

    async fn get(&self, key: &ChunkKey) -> Option<Bytes> {
        let found = self.inner.get(key).await;
        self.work().await;
        found
    }

    async fn put(&self, key: &ChunkKey, chunk: Bytes) -> Result<()> {
        self.work().await;
        self.inner.put(key, chunk).await
    }

    async fn remove(&self, key: &ChunkKey) {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.inner.remove(key).await;
    }
}

fn world() -> (UnderTest, Arc<Slow>) {
    let time = VirtualTime::new();
    let store = Arc::new(Slow {
        time: time.clone(),
        inner: MemoryStore::new(1 << 20),
        hangs: AtomicBool::new(false),
    });
    (build_over(time, LEN, options(), vec![store.clone()], |source| source.with_piece(LEN)), store)
}

fn discard(world: &UnderTest, chunk: u64) -> Result<()> {
    let at = chunk * u64::from(CHUNK);
    world.time.block_on(world.blob.discard(at..at + 1))
}

#[test]
fn a_chunk_on_its_way_to_a_store_does_not_come_back() {
    for wait in [0, 500, 2500] {
        let (world, store) = world();
        world.read(0, LEN).unwrap();
        let later = world.time.now() + Duration::from_millis(wait);
        world.time.block_on(world.time.sleep_until(later));
        (0..8).for_each(|chunk| discard(&world, chunk).unwrap());
        world.time.run_until_idle();
        assert_eq!((0..8).filter(|chunk| store.has(&world, *chunk)).count(), 0, "after {wait} ms");
        world.read(0, LEN).unwrap();
        world.time.run_until_idle();
        assert_eq!((0..8).filter(|chunk| store.has(&world, *chunk)).count(), 8, "what came later is kept");
    }
}

#[test]
fn a_chunk_on_its_way_up_from_a_store_does_not_come_back() {
    let (world, store) = world();
    world.read(0, LEN).unwrap();
    world.time.run_until_idle();
    discard(&world, 1).unwrap();
    let asked = world.source.ranges().len();
    assert!(store.has(&world, 0) && !store.has(&world, 1));
    // Out of memory, but not out of the store.
    let cold = build_over(world.time.clone(), LEN, options(), vec![store.clone()], |source| source);
    cold.blob.prefetch(std::iter::once(0..1));
    let later = cold.time.now() + Duration::from_millis(500);
    cold.time.block_on(cold.time.sleep_until(later));
    discard(&cold, 0).unwrap();
    cold.time.run_until_idle();
    assert!(!cold.blob.try_read_at(&mut [0; 10], 0).unwrap(), "it was being read while it was discarded");
    assert_eq!((world.source.ranges().len(), cold.source.ranges().len()), (asked, 0));
}

#[test]
fn a_store_that_hangs_is_named_and_the_others_forget() {
    let (world, store) = world();
    world.read(0, LEN).unwrap();
    world.time.run_until_idle();
    store.hangs.store(true, Ordering::Relaxed);
    let before = world.time.elapsed();
    let error = world.time.block_on(world.blob.discard(0..LEN as u64)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert_eq!(world.time.elapsed() - before, options().stall_timeout, "once, not for each chunk");
    assert!(!world.blob.try_read_at(&mut [0; 10], 0).unwrap());
}
