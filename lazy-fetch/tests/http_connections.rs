//! Requests one after the other use one connection; that is a round trip less for each, and two with TLS.

#![cfg(feature = "http")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lazy_fetch::{
    BlobId, BlobOptions, Cache, CacheOptions, HttpClient, HttpOptions, HttpSource, Location, NoPrefetch,
    TokioRuntime,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

const CHUNK: u64 = 64 << 10;
const CHUNKS: u64 = 50;

/// A server that keeps connections, serves any range as zeros, and counts both.
async fn serve(connections: Arc<AtomicUsize>, requests: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}/blob", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::Relaxed);
            let requests = Arc::clone(&requests);
            tokio::spawn(async move {
                let mut socket = BufReader::new(socket);
                let (mut line, mut range) = (String::new(), 0..0);
                while socket.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                    let field = line.trim_end().to_ascii_lowercase();
                    if let Some((first, last)) =
                        field.strip_prefix("range: bytes=").and_then(|r| r.split_once('-'))
                    {
                        range = first.parse::<u64>().unwrap()..last.parse::<u64>().unwrap() + 1;
                    }
                    if field.is_empty() {
                        requests.fetch_add(1, Ordering::Relaxed);
                        let (len, last, total) = (range.end - range.start, range.end - 1, CHUNK * CHUNKS);
                        let head = format!(
                            "HTTP/1.1 206 Partial Content\r\nContent-Length: {len}\r\n\
                             Content-Range: bytes {}-{last}/{total}\r\n\r\n",
                            range.start
                        );
                        let answer = [head.as_bytes(), &vec![0; len as usize]].concat();
                        if socket.write_all(&answer).await.is_err() {
                            return;
                        }
                    }
                    line.clear();
                }
            });
        }
    });
    origin
}

#[tokio::test]
async fn fifty_reads_one_after_the_other_use_one_connection() {
    let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let url = serve(Arc::clone(&connections), Arc::clone(&requests)).await;
    let client = HttpClient::new(HttpOptions::default()).unwrap();
    let source = HttpSource::new(client, Arc::new(Location::new(url)), CHUNK * CHUNKS);
    let options = CacheOptions::default().with_chunk_size(CHUNK as u32).with_hedge_percentile(None);
    let cache = Cache::builder(Arc::new(TokioRuntime::current().unwrap())).options(options).build().unwrap();
    let options = BlobOptions::default().with_prefetch(NoPrefetch);
    let blob = cache.open_with(BlobId::new("b").unwrap(), CHUNK * CHUNKS, Arc::new(source), options).unwrap();
    for chunk in 0..CHUNKS {
        blob.read_at(&mut [1; 100], chunk * CHUNK).await.unwrap();
    }
    let counts = (requests.load(Ordering::Relaxed), connections.load(Ordering::Relaxed));
    println!("{} requests over {} connections", counts.0, counts.1);
    assert_eq!(counts.0 as u64, CHUNKS);
    // The next request may come before the last answer's connection is back in the pool.
    assert!(counts.1 <= 2, "{} connections", counts.1);
}
