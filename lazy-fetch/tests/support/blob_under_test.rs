//! A blob over a scripted source on virtual time.

#![allow(dead_code, reason = "each test uses its part")]

use std::sync::Arc;
use std::time::Duration;

use lazy_fetch::conformance::{Fault, FaultySource, VirtualTime};
use lazy_fetch::{
    Blob, BlobId, BlobOptions, Cache, CacheOptions, ChunkStore, MemorySource, MemoryStore, NoPrefetch,
};

pub(crate) const CHUNK: u32 = 4096;

/// Bytes that differ at every position of a small blob.
pub(crate) fn content(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8).collect()
}

pub(crate) fn id() -> BlobId {
    BlobId::new("sha256:0b").unwrap()
}

pub(crate) fn options() -> CacheOptions {
    CacheOptions::default().with_chunk_size(CHUNK).with_seed(1)
}

pub(crate) struct UnderTest {
    pub(crate) time: VirtualTime,
    pub(crate) source: Arc<FaultySource>,
    pub(crate) cache: Cache,
    pub(crate) blob: Blob,
    pub(crate) content: Vec<u8>,
}

/// A blob of `len` bytes in chunks of 4 KiB, without prefetch.
pub(crate) fn blob(len: usize, faults: impl IntoIterator<Item = Fault>) -> UnderTest {
    build(len, options(), |source| source.with_faults(faults))
}

pub(crate) fn build(
    len: usize,
    options: CacheOptions,
    adjust: impl FnOnce(FaultySource) -> FaultySource,
) -> UnderTest {
    build_over(VirtualTime::new(), len, options, vec![], adjust)
}

/// With stores below the memory, which run on `time` too.
pub(crate) fn build_over(
    time: VirtualTime,
    len: usize,
    options: CacheOptions,
    lower: Vec<Arc<dyn ChunkStore>>,
    adjust: impl FnOnce(FaultySource) -> FaultySource,
) -> UnderTest {
    let content = content(len);
    let origin = Arc::new(MemorySource::new(content.clone()));
    let source = FaultySource::new(Arc::new(time.clone()), origin).with_latency(Duration::from_millis(10));
    let source = Arc::new(adjust(source));
    let mut builder = Cache::builder(Arc::new(time.clone())).options(options);
    builder = builder.store(Arc::new(MemoryStore::new(64 << 20)));
    for store in lower {
        builder = builder.store(store);
    }
    let cache = builder.build().unwrap();
    let blob = cache
        .open_with(id(), len as u64, source.clone(), BlobOptions::default().with_prefetch(NoPrefetch))
        .unwrap();
    UnderTest { time, source, cache, blob, content }
}

impl UnderTest {
    /// Reads on virtual time and compares.
    pub(crate) fn read(&self, offset: usize, len: usize) -> lazy_fetch::Result<()> {
        self.time.block_on(read_and_compare(&self.blob, &self.content, offset, len))
    }
}

pub(crate) async fn read_and_compare(
    blob: &Blob,
    content: &[u8],
    offset: usize,
    len: usize,
) -> lazy_fetch::Result<()> {
    let mut buf = vec![0; len];
    blob.read_at(&mut buf, offset as u64).await?;
    assert!(buf == content[offset..offset + len], "wrong bytes at {offset}");
    Ok(())
}
