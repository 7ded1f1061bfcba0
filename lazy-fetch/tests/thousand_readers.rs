//! A thousand readers of one cold blob cost the origin what one costs.

#![cfg(feature = "http")]

#[path = "support/http_server.rs"]
mod http_server;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::future::join_all;
use http_server::{Reply, Server, content, reply, serve};
use lazy_fetch::{
    BlobId, BlobOptions, Cache, CacheOptions, Endpoint, HttpClient, HttpOptions, HttpSource, Locate,
    Location, MemoryStore, NoPrefetch, TokioRuntime,
};

const CHUNK: usize = 16 << 10;
const CHUNKS: usize = 64;
const LEN: usize = CHUNK * CHUNKS;

/// Hands out a token that has to be asked for once, after the first rejection.
#[derive(Debug)]
struct Tokens {
    url: String,
    made: AtomicUsize,
}

#[async_trait]
impl Endpoint for Tokens {
    async fn locate(&self, reason: Locate) -> lazy_fetch::Result<Location> {
        if reason != Locate::Fresh {
            self.made.fetch_add(1, Ordering::Relaxed);
        }
        let location = Location::new(&self.url);
        Ok(match self.made.load(Ordering::Relaxed) {
            0 => location,
            _ => location.with_header("Authorization", "Bearer good"),
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_chunk_is_fetched_once_and_one_token_is_made() {
    let storage = Server::start(|request, _| Reply::Bytes(serve(&content(LEN), request))).await;
    let to = format!("Location: {}/signed", storage.origin);
    let registry = Server::start(move |request, _| {
        Reply::Bytes(match request.header("authorization") {
            Some("Bearer good") => reply("307 Temporary Redirect", &["Content-Length: 0", &to], b""),
            _ => {
                reply("401 Unauthorized", &["Content-Length: 0", "WWW-Authenticate: Bearer realm=\"x\""], b"")
            }
        })
    })
    .await;
    let endpoint = Arc::new(Tokens { url: registry.origin.clone(), made: AtomicUsize::new(0) });
    let source =
        HttpSource::new(HttpClient::new(HttpOptions::default()).unwrap(), endpoint.clone(), LEN as u64);
    let memory = Arc::new(MemoryStore::new(4 << 20));
    let cache = Cache::builder(Arc::new(TokioRuntime::current().unwrap()))
        .options(CacheOptions::default().with_chunk_size(CHUNK as u32).with_hedge_percentile(None))
        .store(memory.clone())
        .build()
        .unwrap();
    let options = BlobOptions::default().with_prefetch(NoPrefetch);
    let blob = cache.open_with(BlobId::new("b").unwrap(), LEN as u64, Arc::new(source), options).unwrap();
    let expected = Arc::new(content(LEN));
    let readers = (0..1000usize).map(|reader| {
        let (blob, expected) = (blob.clone(), expected.clone());
        tokio::spawn(async move {
            for step in 0..CHUNKS {
                let at = (reader * 7 + step * 13) % CHUNKS * CHUNK + reader % 100;
                let mut buf = [0; 512];
                blob.read_at(&mut buf, at as u64).await.unwrap();
                assert!(buf == expected[at..at + 512]);
            }
        })
    });
    for reader in join_all(readers).await {
        reader.unwrap();
    }
    let mut starts: Vec<_> = storage.requests().iter().map(|request| request.range().unwrap().0).collect();
    starts.sort_unstable();
    assert_eq!(starts, (0..CHUNKS).map(|chunk| chunk * CHUNK).collect::<Vec<_>>(), "each chunk once");
    assert_eq!((registry.requests().len(), endpoint.made.load(Ordering::Relaxed)), (2, 1));
    assert_eq!(blob.stats().bytes_fetched, LEN as u64);
    assert!(memory.bytes() <= 4 << 20);
    assert_eq!(cache.usage().bytes_in_flight, 0);
}
