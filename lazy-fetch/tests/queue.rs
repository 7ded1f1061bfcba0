//! Time in a queue of the source is not held against the origin, and neither is time spent skipping.

#[path = "support/blob_under_test.rs"]
mod blob_under_test;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use blob_under_test::{CHUNK, content, id, options, read_and_compare};
use futures::future::join_all;
use futures::lock::Mutex;
use lazy_fetch::conformance::VirtualTime;
use lazy_fetch::{
    Blob, BlobOptions, BlobSource, ByteStream, Cache, Fallback, FetchRequest, MemorySource, NoPrefetch,
    Result, RetryOptions, Runtime, Throttle,
};

const CHUNKS: usize = 8;
const LEN: usize = CHUNKS * CHUNK as usize;

/// Serves one request after the other, each after one second and after skipping for some.
#[derive(Debug)]
struct OneByOne {
    time: VirtualTime,
    inner: MemorySource,
    turn: Mutex<()>,
    skips: u64,
    asked: AtomicUsize,
}

impl OneByOne {
    fn new(time: &VirtualTime, skips: u64) -> Arc<Self> {
        let (inner, asked) = (MemorySource::new(content(LEN)), AtomicUsize::new(0));
        Arc::new(Self { time: time.clone(), inner, turn: Mutex::new(()), skips, asked })
    }
}

#[async_trait]
impl BlobSource for OneByOne {
    async fn fetch(&self, request: FetchRequest) -> Result<ByteStream> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let waiting = request.progress.wait();
        let _turn = self.turn.lock().await;
        drop(waiting);
        for _ in 0..=self.skips {
            self.time.sleep_until(self.time.now() + Duration::from_secs(1)).await;
            request.progress.moved();
        }
        self.inner.fetch(request).await
    }
}

fn open(time: &VirtualTime, source: Arc<dyn BlobSource>) -> Blob {
    let options =
        options().with_retry(RetryOptions::default().with_tries(1)).with_max_request_len(CHUNK.into());
    let options = options.with_stall_timeout(Duration::from_secs(3));
    let cache = Cache::builder(Arc::new(time.clone())).options(options).build().unwrap();
    cache.open_with(id(), LEN as u64, source, BlobOptions::default().with_prefetch(NoPrefetch)).unwrap()
}

/// Reads every chunk, all at once.
fn read_all(time: &VirtualTime, blob: &Blob) {
    let content = content(LEN);
    let reads = (0..LEN).step_by(CHUNK as usize).map(|at| read_and_compare(blob, &content, at, 100));
    time.block_on(join_all(reads)).into_iter().for_each(Result::unwrap);
}

#[test]
fn a_request_that_waits_for_its_turn_has_not_stalled() {
    let time = VirtualTime::new();
    let source = OneByOne::new(&time, 0);
    let blob = open(&time, source.clone());
    read_all(&time, &blob);
    assert_eq!(time.elapsed().as_secs(), CHUNKS as u64, "most waited for longer than a stall takes");
    assert_eq!((blob.stats().requests, blob.stats().retries), (CHUNKS as u64, 0));
}

#[test]
fn a_request_that_skips_has_not_stalled() {
    let time = VirtualTime::new();
    let blob = open(&time, OneByOne::new(&time, 10));
    time.block_on(read_and_compare(&blob, &content(LEN), 0, 100)).unwrap();
    assert_eq!((time.elapsed().as_secs(), blob.stats().requests), (11, 1));
}

#[test]
fn a_mirror_is_not_passed_over_for_its_queue() {
    let time = VirtualTime::new();
    let (mirror, origin) = (OneByOne::new(&time, 0), OneByOne::new(&time, 0));
    let fallback = Fallback::new(Arc::new(time.clone()), mirror.clone()).or(origin.clone());
    let blob = open(&time, Arc::new(fallback));
    read_all(&time, &blob);
    assert_eq!(origin.asked.load(Ordering::Relaxed), 0);
}

#[test]
fn a_rate_that_is_kept_is_no_stall() {
    let time = VirtualTime::new();
    let runtime: Arc<dyn Runtime> = Arc::new(time.clone());
    let slow = Throttle::new(runtime, Arc::new(MemorySource::new(content(LEN))), u64::from(CHUNK) / 2);
    let blob = open(&time, Arc::new(slow));
    read_all(&time, &blob);
    assert_eq!((time.elapsed().as_secs(), blob.stats().retries), (2 * CHUNKS as u64, 0));
}
