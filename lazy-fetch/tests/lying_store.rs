//! A store that breaks its contract costs a fetch, not the bytes.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::sync::Arc;

use async_trait::async_trait;
use blob_under_test::{blob, options, read_and_compare};
use bytes::Bytes;
use lazy_fetch::{
    BlobOptions, Cache, ChunkKey, ChunkStore, Error, ErrorKind, MemoryStore, NoPrefetch, Result,
};

/// Answers every question with bytes of the wrong length, in memory or not, and keeps nothing.
#[derive(Debug)]
struct Liar {
    in_memory: bool,
}

#[async_trait]
impl ChunkStore for Liar {
    fn try_get(&self, _key: &ChunkKey) -> Option<Bytes> {
        self.in_memory.then(|| Bytes::from_static(b"short"))
    }

    async fn get(&self, _key: &ChunkKey) -> Option<Bytes> {
        Some(Bytes::from_static(b"short"))
    }

    async fn put(&self, _key: &ChunkKey, _chunk: Bytes) -> Result<()> {
        Err(Error::new(ErrorKind::Storage, "no"))
    }

    async fn remove(&self, _key: &ChunkKey) {}
}

#[test]
fn a_chunk_of_the_wrong_length_is_a_miss() {
    for in_memory in [true, false] {
        let world = blob(10_000, []);
        let cache = Cache::builder(Arc::new(world.time.clone()))
            .options(options())
            .store(Arc::new(MemoryStore::new(1 << 20)))
            .store(Arc::new(Liar { in_memory }))
            .build()
            .unwrap();
        let source = world.source.clone();
        let blob = cache
            .open_with(
                blob_under_test::id(),
                10_000,
                source,
                BlobOptions::default().with_prefetch(NoPrefetch),
            )
            .unwrap();
        world.time.block_on(read_and_compare(&blob, &world.content, 0, 10_000)).unwrap();
        world.time.run_until_idle();
        assert_eq!((world.source.ranges().len(), blob.stats().store_failures), (1, 3));
    }
}
