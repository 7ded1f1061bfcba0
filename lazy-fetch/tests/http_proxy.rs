//! A caching proxy that takes the URL behind its own, and the origin when it is away.

#![cfg(feature = "http")]

#[path = "support/http_server.rs"]
mod http_server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use http_server::{Reply, Server, content, reply, serve};
use lazy_fetch::{
    BlobSource, Fallback, FetchRequest, HttpClient, HttpOptions, HttpSource, Location, TokioRuntime,
};

const LEN: usize = 1000;

async fn read(source: &dyn BlobSource) {
    let request = FetchRequest::new(10..500, Instant::now() + Duration::from_secs(20));
    let mut stream = source.fetch(request).await.unwrap();
    let mut got = Vec::new();
    while let Some(piece) = stream.next().await {
        got.extend_from_slice(&piece.unwrap());
    }
    assert!(got == content(LEN)[10..500]);
}

fn direct(url: &str) -> HttpSource {
    let location = Location::new(url).with_header("Authorization", "Bearer t0ken");
    HttpSource::new(HttpClient::new(HttpOptions::default()).unwrap(), Arc::new(location), LEN as u64)
}

#[tokio::test]
async fn every_hop_goes_through_the_proxy_and_credentials_only_with_the_first() {
    // It passes redirects on, as proxies do that only carry.
    let proxy = Server::start(|request, _| match request.target.as_str() {
        "/p2p/https://registry.example/v2/a/blobs/x" => {
            let to = "Location: https://storage.example/s?sig=a%2Fb&x=1";
            Reply::Bytes(reply("307 Temporary Redirect", &["Content-Length: 0", to], b""))
        }
        _ => Reply::Bytes(serve(&content(LEN), request)),
    })
    .await;
    let source = direct("https://registry.example/v2/a/blobs/x").with_proxy(format!("{}/p2p/", proxy.origin));
    read(&source).await;
    read(&source).await;
    let requests = proxy.requests();
    let signed = "/p2p/https://storage.example/s?sig=a%2Fb&x=1";
    let targets: Vec<_> = requests.iter().map(|request| request.target.as_str()).collect();
    assert_eq!(targets, ["/p2p/https://registry.example/v2/a/blobs/x", signed, signed]);
    let authorised: Vec<_> = requests.iter().map(|r| r.header("authorization").is_some()).collect();
    assert_eq!(authorised, [true, false, false]);
}

#[tokio::test]
async fn the_origin_serves_while_the_proxy_is_away() {
    let origin = Server::start(|request, _| Reply::Bytes(serve(&content(LEN), request))).await;
    let lies = reply("200 OK", &["Content-Length: 5"], b"hello");
    let broken = Server::start(move |_, _| Reply::Bytes(lies.clone())).await;
    // The discard port of this host: nobody listens.
    for proxy in ["http://127.0.0.1:9/p2p", broken.origin.as_str()] {
        let runtime = Arc::new(TokioRuntime::current().unwrap());
        let proxied = direct(&origin.origin).with_proxy(proxy);
        let source = Fallback::new(runtime, Arc::new(proxied)).or(Arc::new(direct(&origin.origin)));
        for _ in 0..5 {
            read(&source).await;
        }
        assert_eq!(source.passed_over(), [true, false], "{proxy}");
    }
    assert_eq!((origin.requests().len(), broken.requests().len()), (10, 3));
}

/// In a process of its own, whose environment names a proxy.
#[tokio::test]
async fn the_proxy_of_the_environment_carries_what_is_not_excepted() {
    if let Ok(there) = std::env::var(CHILD) {
        read(&direct("http://blob.invalid/x")).await;
        return read(&direct(&there)).await;
    }
    let excepted = Server::start(|request, _| Reply::Bytes(serve(&content(LEN), request))).await;
    let proxy = Server::start(|request, _| Reply::Bytes(serve(&content(LEN), request))).await;
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "the_proxy_of_the_environment_carries_what_is_not_excepted"])
        .env(CHILD, excepted.origin.replace("127.0.0.1", "localhost"))
        .env("http_proxy", &proxy.origin)
        .env("no_proxy", "localhost");
    let child = tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    let targets = |server: &Server| server.requests().into_iter().map(|r| r.target).collect::<Vec<_>>();
    assert_eq!(
        (targets(&proxy), targets(&excepted)),
        (vec!["http://blob.invalid/x".into()], vec!["/".into()])
    );
}

const CHILD: &str = "LAZY_FETCH_READS";
