//! What the cache adds to HTTP, and what it takes from a link, beside bare requests of the same client.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::origin::Origin;
use benches::random::Random;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lazy_fetch::{
    Blob, BlobId, BlobOptions, Cache, CacheOptions, HttpClient, HttpOptions, HttpSource, Location,
    MemorySource, MemoryStore, NoPrefetch, PrefetchPolicy, Readahead, TokioRuntime,
};
use reqwest::header::RANGE;
use tokio::runtime::Runtime;

/// A blob of which nothing is here, in a cache of its own.
fn cold(http: &HttpClient, origin: &Origin, chunk_size: u32, policy: impl PrefetchPolicy + 'static) -> Blob {
    let source = HttpSource::new(http.clone(), Arc::new(Location::new(&origin.url)), origin.size);
    let runtime = Arc::new(TokioRuntime::current().unwrap());
    let cache = Cache::builder(runtime)
        .options(CacheOptions::default().with_chunk_size(chunk_size))
        .store(Arc::new(MemoryStore::new(64 << 20)))
        .build()
        .unwrap();
    let options = BlobOptions::default().with_prefetch(policy);
    cache.open_with(BlobId::new("blob").unwrap(), origin.size, Arc::new(source), options).unwrap()
}

/// Reads a range, or all, with nothing between reqwest and the caller; gives the bytes that came.
async fn bare(client: &reqwest::Client, url: &str, range: Option<(u64, u64)>) -> u64 {
    let mut request = client.get(url);
    if let Some((at, len)) = range {
        request = request.header(RANGE, format!("bytes={at}-{}", at + len - 1));
    }
    let (mut response, mut bytes) = (request.send().await.unwrap(), 0);
    while let Some(piece) = response.chunk().await.unwrap() {
        bytes += piece.len() as u64;
        black_box(&piece);
    }
    bytes
}

/// A read of one chunk that is not here, beside a request for the same bytes.
fn miss(criterion: &mut Criterion) {
    let (runtime, origin) = (Runtime::new().unwrap(), Origin::start(1 << 40, None));
    let (client, http) = (reqwest::Client::new(), HttpClient::new(HttpOptions::default()).unwrap());
    for len in [4 << 10, 64 << 10] {
        let mut group = criterion.benchmark_group(format!("miss/{}k", len >> 10));
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3)).sample_size(50);
        let mut at = 0;
        group.bench_function("bare", |bench| {
            bench.iter(|| {
                at += len;
                runtime.block_on(bare(&client, &origin.url, Some((at, len))))
            });
        });
        let blob = runtime.block_on(async { cold(&http, &origin, len as u32, NoPrefetch) });
        let (mut at, mut buf) = (0, vec![0; len as usize]);
        group.bench_function("blob", |bench| {
            bench.iter(|| {
                at += len;
                runtime.block_on(blob.read_at(&mut buf, at)).unwrap();
            });
        });
        group.finish();
    }
}

/// A read of 4 KiB that is in memory, beside copying them. They are few enough to stay near the processor: what a
/// miss of its caches costs, both pay.
fn warm(criterion: &mut Criterion) {
    let (runtime, size) = (Runtime::new().unwrap(), 1 << 20);
    let blob = runtime.block_on(async {
        let cache = Cache::builder(Arc::new(TokioRuntime::current().unwrap())).build().unwrap();
        let source = Arc::new(MemorySource::new(vec![7; size as usize]));
        let blob = cache.open(BlobId::new("blob").unwrap(), size, source);
        blob.read_at(&mut vec![0; size as usize], 0).await.unwrap();
        blob
    });
    let mut group = criterion.benchmark_group("warm-4k");
    group.throughput(Throughput::Elements(1)).sample_size(50);
    let (content, mut buf, mut random) = (vec![7; size as usize], vec![0; 4096], Random::new(1));
    group.bench_function("copy", |bench| {
        bench.iter(|| {
            let at = random.below(size / 4096) as usize * 4096;
            buf.copy_from_slice(&content[at..at + 4096]);
            black_box(&buf);
        });
    });
    group.bench_function("blob", |bench| {
        bench.iter(|| {
            assert!(blob.try_read_at(&mut buf, random.below(size / 4096) * 4096).unwrap());
            black_box(&buf);
        });
    });
    group.finish();
}

/// All of a blob in reads of 128 KiB, beside one request for all of it.
fn sequential(criterion: &mut Criterion) {
    for (name, megabits, size) in
        [("300-Mbit", Some(300), 32 << 20), ("1-Gbit", Some(1000), 64 << 20), ("loopback", None, 512 << 20)]
    {
        let runtime = Runtime::new().unwrap();
        let origin = Origin::start(size, megabits.map(|megabits| megabits * 125_000));
        let (client, http) = (reqwest::Client::new(), HttpClient::new(HttpOptions::default()).unwrap());
        let mut group = criterion.benchmark_group(format!("sequential/{name}"));
        group.throughput(Throughput::Bytes(size)).sample_size(10).measurement_time(Duration::from_secs(5));
        group.bench_function("bare", |bench| {
            bench.iter(|| assert_eq!(runtime.block_on(bare(&client, &origin.url, None)), size));
        });
        group.bench_function("blob", |bench| {
            bench.iter(|| {
                runtime.block_on(async {
                    let (blob, mut buf) =
                        (cold(&http, &origin, 64 << 10, Readahead::default()), vec![0; 128 << 10]);
                    for at in (0..size).step_by(buf.len()) {
                        blob.read_at(&mut buf, at).await.unwrap();
                    }
                });
            });
        });
        group.finish();
    }
}

/// A recorded start, beside one request for as many bytes as it touches.
fn replay(criterion: &mut Criterion) {
    let (runtime, origin) = (Runtime::new().unwrap(), Origin::start(256 << 20, Some(300 * 125_000)));
    let (client, http) = (reqwest::Client::new(), HttpClient::new(HttpOptions::default()).unwrap());
    // Parts of 200 files, each read in pieces of 32 KiB.
    let mut random = Random::new(1);
    let mut touched = Vec::new();
    for _ in 0..200 {
        let (at, pieces) = (random.below(origin.size / 4096 - 200) * 4096, 1 + random.below(8));
        touched.extend((0..pieces).map(|piece| at + piece * 32_768..at + (piece + 1) * 32_768));
    }
    // Files that overlap are touched once.
    let mut sorted = touched.clone();
    sorted.sort_by_key(|range| range.start);
    let (mut bytes, mut end) = (0, 0);
    for range in sorted {
        bytes += range.end.max(end) - range.start.max(end);
        end = end.max(range.end);
    }
    let mut group = criterion.benchmark_group("replay/300-Mbit");
    group.throughput(Throughput::Bytes(bytes)).sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function("bare", |bench| {
        bench.iter(|| runtime.block_on(bare(&client, &origin.url, Some((0, bytes)))));
    });
    let mut fetched = None;
    group.bench_function("blob", |bench| {
        bench.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                let blob = runtime.block_on(async { cold(&http, &origin, 4 << 10, NoPrefetch) });
                let begun = Instant::now();
                runtime.block_on(async {
                    blob.prefetch(touched.iter().cloned());
                    let mut buf = vec![0; 32_768];
                    for range in &touched {
                        blob.read_at(&mut buf, range.start).await.unwrap();
                    }
                });
                took += begun.elapsed();
                fetched = Some(blob.stats().bytes_fetched as f64 / bytes as f64);
            }
            took
        });
    });
    group.finish();
    if let Some(fetched) = fetched {
        println!("replay fetches {fetched:.2} bytes for each one that the start touches");
    }
}

criterion_group!(benches, miss, warm, sequential, replay);
criterion_main!(benches);
