//! Whatever goes wrong in whatever order, a reader gets the right bytes or a typed error before its deadline, and
//! nothing is left behind.
//!
//! Each schedule is made from a seed and runs on virtual time: several readers of one or two blobs through
//! memory and a disk that fails, from mirrors that fail, with readers that leave at any await point. A failure
//! names its seed; `FAULT_SEED=<seed>` runs that one alone, `FAULT_SCHEDULES=<n>` more of them.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::cell::LazyCell;
use std::io;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use blob_under_test::content;
use bytes::Bytes;
use futures::future::{Either, join_all, select};
use lazy_fetch::conformance::{Fault, FaultySource, VirtualTime};
use lazy_fetch::{
    Blob, BlobId, BlobOptions, BlobSource, Cache, CacheOptions, ChunkKey, ChunkStore, CompleteOptions,
    Digest, DiskOptions, DiskStore, Error, ErrorKind, Fallback, MemorySource, MemoryStore, NoPrefetch,
    PieceDigests, Readahead, Result, Runtime,
};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// A fault of an origin; without digests, none that bytes could be told from right ones by nothing.
fn fault(random: &mut Random, len: usize, verified: bool) -> Fault {
    let at = random.below(len + 1) as u64;
    let refusals = [
        ErrorKind::RateLimited,
        ErrorKind::Unavailable,
        ErrorKind::Connection,
        ErrorKind::Stalled,
        ErrorKind::NotFound,
        ErrorKind::Denied,
        ErrorKind::Protocol,
        ErrorKind::RangesUnsupported,
    ];
    match random.below(if verified { 9 } else { 8 }) {
        0 => Fault::Refuse(Error::new(refusals[random.below(refusals.len())], "refused")),
        1 => {
            let wait = Duration::from_millis(random.below(4000) as u64);
            Fault::Refuse(Error::new(ErrorKind::RateLimited, "busy").with_retry_after(wait))
        }
        2 => Fault::CutAfter(at),
        3 => Fault::EndAfter(at),
        4 => Fault::StallAfter(at),
        5 => Fault::Hang,
        6 => Fault::Slow(Duration::from_millis(random.below(6000) as u64)),
        7 => Fault::Overrun,
        _ => Fault::Flip(at),
    }
}

/// A store that hangs, fails and forgets now and then.
#[derive(Debug)]
struct Moody {
    inner: Arc<dyn ChunkStore>,
    runtime: Arc<dyn Runtime>,
    state: AtomicU64,
    percent: usize,
}

impl Moody {
    fn mood(&self) -> usize {
        let mut random = Random(self.state.fetch_add(1, Ordering::Relaxed));
        if random.chance(self.percent) { random.below(3) } else { 3 }
    }

    async fn hang(&self) {
        self.runtime.sleep_until(self.runtime.now() + Duration::from_secs(3600)).await;
    }
}

#[async_trait]
impl ChunkStore for Moody {
    fn try_get(&self, key: &ChunkKey) -> Option<Bytes> {
        self.inner.try_get(key)
    }

    async fn get(&self, key: &ChunkKey) -> Option<Bytes> {
        match self.mood() {
            0 => self.hang().await,
            1 => return None,
            2 => return Some(Bytes::from_static(b"of another length")),
            _ => {}
        }
        self.inner.get(key).await
    }

    async fn put(&self, key: &ChunkKey, chunk: Bytes) -> Result<()> {
        match self.mood() {
            0 => self.hang().await,
            1 => return Err(Error::new(ErrorKind::Storage, "full")),
            _ => {}
        }
        self.inner.put(key, chunk).await
    }

    async fn remove(&self, key: &ChunkKey) {
        self.inner.remove(key).await;
    }
}

/// One schedule; panics with what is broken.
fn run(seed: u64) {
    let random = &mut Random(seed);
    let (time, dir) = (VirtualTime::new(), LazyCell::new(|| tempfile::tempdir().unwrap()));
    let runtime: Arc<dyn Runtime> = Arc::new(time.clone());
    let most = [5_000, 15_000, 60_000][random.below(3)];
    let len = 1 + random.below(most);
    let content = content(len);
    let verified = random.chance(50);

    let source = |random: &mut Random| -> Arc<dyn BlobSource> {
        let source = FaultySource::new(runtime.clone(), Arc::new(MemorySource::new(content.clone())));
        let faults = random.below(12);
        let source = source
            .with_latency(Duration::from_millis(random.below(50) as u64))
            .with_piece(512 + random.below(9000))
            .with_faults((0..faults).map(|_| fault(random, len, verified)));
        Arc::new(source)
    };
    let origin = match random.below(3) {
        0 => Arc::new(Fallback::new(runtime.clone(), source(random)).or(source(random))),
        _ => source(random),
    };

    let mut builder = Cache::builder(runtime.clone()).options(
        CacheOptions::default()
            .with_chunk_size(4096)
            .with_max_request_len(4096 << random.below(6))
            .with_max_in_flight(4096 << random.below(6))
            .with_stall_timeout(Duration::from_millis(500 + random.below(4000) as u64))
            .with_read_timeout(Duration::from_secs(20))
            .with_seed(seed),
    );
    builder = builder.store(Arc::new(MemoryStore::new([0, 20_000, 1 << 20][random.below(3)])));
    if random.chance(50) {
        let limit = [0, 20_000, 1 << 20][random.below(3)];
        let (state, percent) = (AtomicU64::new(random.next()), [0, 5, 50][random.below(3)]);
        let disk = DiskStore::open_with_faults(
            runtime.clone(),
            dir.path(),
            DiskOptions::default().with_limit(limit),
            move |_| match Random(state.fetch_add(1, Ordering::Relaxed)).chance(percent) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            },
        );
        let (state, percent) = (AtomicU64::new(random.next()), [0, 10][random.below(2)]);
        let moody = Moody { inner: Arc::new(disk.unwrap()), runtime: runtime.clone(), state, percent };
        builder = builder.store(Arc::new(moody));
    }
    let cache = builder.build().unwrap();
    let open = |random: &mut Random| {
        let mut options = BlobOptions::default();
        options = if random.chance(50) {
            options.with_prefetch(Readahead::new(1 + random.below(40_000) as u64))
        } else {
            options.with_prefetch(NoPrefetch)
        };
        if verified {
            let unit = NonZeroU32::new(1024 << random.below(3)).unwrap();
            options = options.with_verifier(Arc::new(PieceDigests::of(&content, unit)));
        }
        cache.open_with(BlobId::new("b").unwrap(), len as u64, origin.clone(), options).unwrap()
    };
    let blobs: Vec<Blob> = (0..1 + random.below(2)).map(|_| open(random)).collect();

    let readers = 1 + random.below(5);
    let mut tasks = Vec::new();
    for _ in 0..readers {
        let blob = blobs[random.below(blobs.len())].clone();
        let mut own = Random(random.next());
        let (time, content) = (time.clone(), &content);
        tasks.push(async move {
            for _ in 0..1 + own.below(8) {
                let at = own.below(content.len());
                let mut buf = vec![0xee; 1 + own.below((content.len() - at).min(20_000))];
                let limit = Duration::from_millis(100 + own.below(15_000) as u64);
                let begun = time.now();
                let read = Box::pin(blob.read_at_until(&mut buf, at as u64, begun + limit));
                let result = match own.below(4) {
                    0 => {
                        let gone = begun + Duration::from_micros(own.below(3_000_000) as u64);
                        match select(read, time.sleep_until(gone)).await {
                            Either::Left((result, _)) => result,
                            // It leaves without waiting for the end.
                            Either::Right(_) => continue,
                        }
                    }
                    1 => {
                        blob.try_read_at(&mut [0; 1], at as u64).unwrap();
                        read.await
                    }
                    _ => read.await,
                };
                let took = time.now() - begun;
                match result {
                    Ok(()) => assert!(buf == content[at..at + buf.len()], "wrong bytes at {at}"),
                    Err(error) => assert!(error.blob().is_some() && error.range().is_some(), "{error:?}"),
                }
                assert!(took <= limit, "a read took {took:?} of {limit:?}");
                match own.below(8) {
                    0 => blob.prefetch([at as u64..at as u64 + 30_000, 0..5000]),
                    1 => {
                        let discarded = blob.discard(at as u64..content.len() as u64).await;
                        let kind = discarded.err().map(|error| error.kind());
                        assert!(matches!(kind, None | Some(ErrorKind::Storage)), "{kind:?}");
                    }
                    2 => time.sleep_until(time.now() + Duration::from_secs(own.below(3) as u64)).await,
                    _ => {}
                }
            }
        });
    }
    let complete = random.chance(20);
    let completion = async {
        if complete {
            let path = dir.path().join("whole");
            let result = blobs[0].complete(&path, Digest::of(&content), CompleteOptions::default()).await;
            assert!(
                result.is_err() || std::fs::read(&path).unwrap() == content,
                "a wrong blob was completed"
            );
        }
    };
    time.block_on(async {
        futures::join!(join_all(tasks), completion);
    });

    time.run_until_idle();
    assert_eq!(time.tasks(), 0, "tasks are left");
    let usage = cache.usage();
    assert_eq!((usage.bytes_in_flight, usage.requests_waiting), (0, 0), "budgets are not given back");

    // With all faults behind it, the cache is as good as new.
    time.block_on(async {
        let later = time.now() + Duration::from_secs(120);
        time.sleep_until(later).await;
        let mut buf = vec![0; len];
        let mut last = None;
        for _ in 0..30 {
            match blobs[0].read_at(&mut buf, 0).await {
                Ok(()) => return assert!(buf == content, "wrong bytes after all faults"),
                Err(error) => last = Some(error),
            }
        }
        panic!("no read succeeds any more: {last:?}");
    });
}

#[test]
fn ten_thousand_schedules() {
    if let Ok(seed) = std::env::var("FAULT_SEED") {
        return run(seed.parse().unwrap());
    }
    let schedules = std::env::var("FAULT_SCHEDULES").map_or(10_000, |n| n.parse().unwrap());
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()) as u64;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    for seed in (worker..schedules).step_by(threads as usize) {
                        if catch_unwind(AssertUnwindSafe(|| run(seed))).is_err() {
                            panic!("schedule {seed} failed: run it with FAULT_SEED={seed}");
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}
