//! What the cache keeps in memory, idle and at work, counted by the allocator.

#![allow(unsafe_code, reason = "an allocator that counts is an unsafe trait")]

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use blob_under_test::CHUNK;
use bytes::Bytes;
use futures::future::join_all;
use futures::stream;
use lazy_fetch::conformance::VirtualTime;
use lazy_fetch::{
    Blob, BlobId, BlobSource, ByteStream, Cache, CacheOptions, DiskOptions, DiskStore, FetchRequest,
    MemoryStore, Result, Runtime,
};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: as required of the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as required of the caller.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MIB: usize = 1 << 20;

/// A blob without end, in pieces that take a moment each.
#[derive(Debug)]
struct Endless(VirtualTime);

#[async_trait]
impl BlobSource for Endless {
    async fn fetch(&self, request: FetchRequest) -> Result<ByteStream> {
        let time = self.0.clone();
        Ok(Box::pin(stream::unfold(request.range, move |rest: Range<u64>| {
            let time = time.clone();
            async move {
                let len = (rest.end - rest.start).min(16 << 10);
                time.sleep_until(time.now() + std::time::Duration::from_millis(1)).await;
                (len > 0).then(|| (Ok(Bytes::from(vec![7; len as usize])), rest.start + len..rest.end))
            }
        })))
    }
}

fn cache(time: &VirtualTime, dir: &std::path::Path) -> Cache {
    let options =
        CacheOptions::default().with_max_in_flight(8 << 20).with_hedge_percentile(None).with_seed(1);
    Cache::builder(Arc::new(time.clone()))
        .options(options)
        .store(Arc::new(MemoryStore::new(8 << 20)))
        .store(Arc::new(
            DiskStore::open(Arc::new(time.clone()), dir, DiskOptions::default().with_limit(32 << 20))
                .unwrap(),
        ))
        .build()
        .unwrap()
}

fn open(time: &VirtualTime, cache: &Cache, i: usize) -> Blob {
    cache.open(BlobId::new(format!("blob-{i}")).unwrap(), 1 << 40, Arc::new(Endless(time.clone())))
}

/// One test, so that no other one allocates meanwhile.
#[test]
fn memory_stays_within_what_was_granted() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let start = HELD.load(Ordering::Relaxed);
    let cache = cache(&time, dir.path());
    let blobs: Vec<_> = (0..100).map(|i| open(&time, &cache, i)).collect();
    for blob in &blobs {
        time.block_on(blob.read_at(&mut [0; 100], 0)).unwrap();
        time.block_on(blob.discard(0..u64::from(CHUNK))).unwrap();
    }
    time.run_until_idle();
    let idle = HELD.load(Ordering::Relaxed) - start;
    println!("idle with 100 open blobs: {} KiB", idle >> 10);
    assert!(idle <= 20 * MIB, "{idle} bytes with nothing cached");

    // Readers that want far more than may be in flight, and prefetch on top.
    PEAK.store(0, Ordering::Relaxed);
    let (readers, len) = (40, 256 << 10);
    for blob in &blobs[..20] {
        blob.prefetch((0..8).map(|i| (64 << 20) + i * (8 << 20)..(64 << 20) + i * (8 << 20) + (4 << 20)));
    }
    time.block_on(join_all(blobs[..readers].iter().map(async |blob| {
        let mut buf = vec![0; len];
        for i in 0..8 {
            blob.read_at(&mut buf, i * (2 << 20)).await.unwrap();
        }
    })));
    time.run_until_idle();
    let peak = PEAK.load(Ordering::Relaxed) - start;
    // The memory store, what is in flight, the readers' own buffers, and the maps of what is on the disk.
    let granted = 8 * MIB + 8 * MIB + readers * len + 4 * MIB;
    println!("under load: {} KiB of {} KiB granted", peak >> 10, granted >> 10);
    assert!(peak <= granted, "{peak} bytes of {granted}");
    drop((blobs, cache));
    time.run_until_idle();
    let left = HELD.load(Ordering::Relaxed).saturating_sub(start);
    assert!(left <= MIB, "{left} bytes are left");
}
