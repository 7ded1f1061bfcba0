//! Hosts are asked for as much as they bear, and for the way to the bytes once.

#![cfg(feature = "http")]

#[path = "support/http_server.rs"]
mod http_server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use http_server::{Reply, Server, content, reply, serve};
use lazy_fetch::{
    BlobSource, ByteStream, Error, ErrorKind, FetchRequest, HttpClient, HttpOptions, HttpSource, Location,
    Priority, Urgency,
};
use tokio::sync::mpsc;

const LEN: usize = 1000;

fn source(options: HttpOptions, url: &str) -> Arc<HttpSource> {
    Arc::new(HttpSource::new(HttpClient::new(options).unwrap(), Arc::new(Location::new(url)), LEN as u64))
}

fn request() -> FetchRequest {
    FetchRequest::new(10..500, Instant::now() + Duration::from_secs(20))
}

async fn read(source: &HttpSource) -> Result<(), Error> {
    all(source.fetch(request()).await?).await
}

async fn all(mut stream: ByteStream) -> Result<(), Error> {
    let mut got = Vec::new();
    while let Some(piece) = stream.next().await {
        got.extend_from_slice(&piece?);
    }
    assert!(got == content(LEN)[10..500]);
    Ok(())
}

#[tokio::test]
async fn fifty_first_reads_ask_the_registry_once() {
    let storage = Server::start(|request, _| Reply::Bytes(serve(&content(LEN), request))).await;
    let location = format!("Location: {}/signed", storage.origin);
    let registry = Server::start(move |_, _| {
        Reply::Bytes(reply("307 Temporary Redirect", &["Content-Length: 0", &location], b""))
    })
    .await;
    let source = source(HttpOptions::default(), &registry.origin);
    for result in join_all((0..50).map(|_| read(&source))).await {
        result.unwrap();
    }
    assert_eq!((registry.requests().len(), storage.requests().len()), (1, 50));
}

#[tokio::test]
async fn a_signature_that_has_ended_is_not_used() {
    let storage = Server::start(|request, _| Reply::Bytes(serve(&content(LEN), request))).await;
    let location = format!("Location: {}/signed?Expires=1000000000", storage.origin);
    let registry = Server::start(move |_, _| {
        Reply::Bytes(reply("307 Temporary Redirect", &["Content-Length: 0", &location], b""))
    })
    .await;
    let source = source(HttpOptions::default(), &registry.origin);
    for _ in 0..3 {
        read(&source).await.unwrap();
    }
    assert_eq!((registry.requests().len(), storage.requests().len()), (3, 3));
}

#[tokio::test]
async fn when_a_signature_is_refused_one_of_all_asks_for_the_next() {
    let storage = Server::start(|request, _| {
        Reply::Bytes(match request.target.as_str() {
            "/signed0" if request.range() != Some((0, 0)) => {
                reply("403 Forbidden", &["Content-Length: 0"], b"")
            }
            _ => serve(&content(LEN), request),
        })
    })
    .await;
    let to = storage.origin.clone();
    let registry = Server::start(move |_, number| {
        let location = format!("Location: {to}/signed{number}");
        Reply::Bytes(reply("307 Temporary Redirect", &["Content-Length: 0", &location], b""))
    })
    .await;
    let source = source(HttpOptions::default(), &registry.origin);
    // It works for the first byte and for no other.
    let first = FetchRequest::new(0..1, Instant::now() + Duration::from_secs(20));
    source.fetch(first).await.unwrap().next().await.unwrap().unwrap();
    for result in join_all((0..16).map(|_| read(&source))).await {
        result.unwrap();
    }
    assert_eq!(registry.requests().len(), 2);
}

#[tokio::test]
async fn requests_beyond_the_limit_wait_for_the_body_of_another_demand_first() {
    let (sender, mut arrived) = mpsc::unbounded_channel();
    let server = Server::start(move |request, _| {
        sender.send(request.range().unwrap().0).unwrap();
        let mut bytes = serve(&content(LEN), request);
        bytes.truncate(bytes.len() - 100);
        Reply::ThenStall(bytes)
    })
    .await;
    let client = HttpClient::new(HttpOptions::default().with_max_requests_per_host(1)).unwrap();
    let source = HttpSource::new(client.clone(), Arc::new(Location::new(&server.origin)), LEN as u64);
    let fetch = |start: u64, priority| {
        let request = FetchRequest::new(start..start + 200, Instant::now() + Duration::from_secs(20));
        source.fetch(request.with_urgency(Urgency::new(priority)))
    };
    let held = fetch(0, Priority::OnDemand).await.unwrap();
    assert_eq!(arrived.recv().await, Some(0));
    let mut waiting = [fetch(1, Priority::Prefetch), fetch(2, Priority::OnDemand)];
    for fetch in &mut waiting {
        assert!(futures::FutureExt::now_or_never(fetch).is_none());
    }
    let usage = &client.usage()[0];
    assert_eq!((usage.origin.as_str(), usage.limit), (server.origin.as_str(), 1));
    assert_eq!((usage.requests, usage.waiting), (1, 2));
    drop(held);
    let [prefetch, demand] = waiting;
    let demand = demand.await.unwrap();
    assert_eq!((arrived.recv().await, server.requests().len()), (Some(2), 2));
    drop(demand);
    let _prefetch = prefetch.await.unwrap();
    assert_eq!(arrived.recv().await, Some(1));
}

#[tokio::test]
async fn what_one_request_is_told_to_wait_all_wait() {
    let busy = reply("429 Too Many Requests", &["Retry-After: 30", "Content-Length: 0"], b"");
    let server = Server::start(move |_, _| Reply::Bytes(busy.clone())).await;
    let source = source(HttpOptions::default(), &server.origin);
    for _ in 0..5 {
        let error = read(&source).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert!(error.retry_after().unwrap() > Duration::from_secs(20));
    }
    assert_eq!(server.requests().len(), 1, "the others knew without asking");
}
