//! With HTTP/2 all requests to a host share one connection, also those at the same time.
//!
//! The reader is a process of its own, because the environment says whose certificates it trusts.

#![cfg(all(feature = "http2", feature = "rustls"))]

use std::convert::Infallible;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_RANGE, RANGE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lazy_fetch::{
    BlobId, BlobOptions, Cache, CacheOptions, HttpClient, HttpOptions, HttpSource, Location, NoPrefetch,
    TokioRuntime,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const CHUNK: u64 = 16 << 10;
const CHUNKS: u64 = 64;
const READER: &str = "LAZY_FETCH_READS";

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// A server of zeros that speaks HTTP/2 and nothing else; gives the path of its certificate, too.
async fn serve(seen: Arc<Seen>, dir: &std::path::Path) -> (String, std::path::PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = dir.join("certificate.pem");
    std::fs::write(&path, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let mut config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (acceptor, listener) =
        (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let origin = format!("https://localhost:{}/blob", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            seen.connections.fetch_add(1, Ordering::Relaxed);
            let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(socket).await else { return };
                let answer = service_fn(|request| {
                    seen.requests.fetch_add(1, Ordering::Relaxed);
                    std::future::ready(Ok::<_, Infallible>(answer(&request)))
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    (origin, path)
}

fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    assert_eq!(request.version(), Version::HTTP_2);
    let range = request.headers()[RANGE].to_str().unwrap().strip_prefix("bytes=").unwrap();
    let (first, last) = range.split_once('-').unwrap();
    let len = last.parse::<usize>().unwrap() + 1 - first.parse::<usize>().unwrap();
    Response::builder()
        .status(StatusCode::PARTIAL_CONTENT)
        .header(CONTENT_RANGE, format!("bytes {range}/{}", CHUNK * CHUNKS))
        .body(Full::from(vec![0; len]))
        .unwrap()
}

/// Half of the chunks one after the other, the rest at once.
async fn read(origin: &str) {
    let client = HttpClient::new(HttpOptions::default()).unwrap();
    let source = Arc::new(HttpSource::new(client, Arc::new(Location::new(origin)), CHUNK * CHUNKS));
    let options = CacheOptions::default().with_chunk_size(CHUNK as u32).with_hedge_percentile(None);
    let runtime = Arc::new(TokioRuntime::current().unwrap());
    let cache = Cache::builder(runtime).options(options).build().unwrap();
    let options = BlobOptions::default().with_prefetch(NoPrefetch);
    let blob = cache.open_with(BlobId::new("b").unwrap(), CHUNK * CHUNKS, source, options).unwrap();
    for chunk in 0..CHUNKS / 2 {
        blob.read_at(&mut [0; 10], chunk * CHUNK).await.unwrap();
    }
    let rest = (CHUNKS / 2..CHUNKS).map(|chunk| {
        let blob = blob.clone();
        async move { blob.read_at(&mut [0; 10], chunk * CHUNK).await.unwrap() }
    });
    join_all(rest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_reads_use_one_connection() {
    if let Ok(origin) = std::env::var(READER) {
        return read(&origin).await;
    }
    let (seen, dir) = (Arc::new(Seen::default()), tempfile::tempdir().unwrap());
    let (origin, certificate) = serve(Arc::clone(&seen), dir.path()).await;
    let mut reader = Command::new(std::env::current_exe().unwrap());
    reader.args(["--exact", "sixty_four_reads_use_one_connection"]).env(READER, origin);
    reader.env("SSL_CERT_FILE", certificate).env("NO_PROXY", "localhost");
    let output = tokio::task::spawn_blocking(move || reader.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(seen.requests.load(Ordering::Relaxed), CHUNKS as usize);
    assert_eq!(seen.connections.load(Ordering::Relaxed), 1);
}
