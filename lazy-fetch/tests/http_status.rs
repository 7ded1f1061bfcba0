//! What each answer to a ranged GET leads to.

#![cfg(feature = "http")]

#[path = "support/http_server.rs"]
mod http_server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use http_server::{Reply, Request, Server, content, reply, serve, serve_whole};
use lazy_fetch::conformance::{blob_source, blob_source_under_fault};
use lazy_fetch::{
    BlobId, BlobSource, Cache, CacheOptions, Error, ErrorKind, FetchRequest, HttpClient, HttpOptions,
    HttpSource, Location, RetryOptions, TokioRuntime,
};

const LEN: usize = 10_000;

fn client() -> HttpClient {
    HttpClient::new(HttpOptions::default()).unwrap()
}

fn source(client: HttpClient, server: &Server, size: usize) -> Arc<HttpSource> {
    let endpoint = Arc::new(Location::new(format!("{}/blob", server.origin)));
    Arc::new(HttpSource::new(client, endpoint, size as u64))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Fetches bytes 100..200 once: what came, and how it ended.
async fn fetch(server: &Server, size: usize) -> (Vec<u8>, Option<Error>) {
    fetch_range(&source(client(), server, size), 100, 200).await
}

async fn fetch_range(source: &HttpSource, start: u64, end: u64) -> (Vec<u8>, Option<Error>) {
    let mut got = Vec::new();
    let mut stream = match source.fetch(FetchRequest::new(start..end, soon())).await {
        Ok(stream) => stream,
        Err(error) => return (got, Some(error)),
    };
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => got.extend_from_slice(&piece),
            Err(error) => return (got, Some(error)),
        }
    }
    (got, None)
}

async fn always(answer: Vec<u8>) -> Server {
    Server::start(move |_, _| Reply::Bytes(answer.clone())).await
}

/// The kind of error that a fetch of bytes 100..200 ends with, without a byte.
async fn refused(answer: Vec<u8>) -> Error {
    let (got, error) = fetch(&always(answer).await, LEN).await;
    assert!(got.is_empty(), "{} bytes came through", got.len());
    error.expect("the answer was accepted")
}

#[tokio::test]
async fn the_contract_is_kept() {
    let server = Server::start(|request, _| Reply::Bytes(serve(&content(LEN), request))).await;
    blob_source(source(client(), &server, LEN), &content(LEN), soon()).await;
    let request = &server.requests()[0];
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert_eq!((request.header("referer"), request.header("authorization")), (None, None));
}

#[tokio::test]
async fn the_contract_is_kept_without_ranges() {
    let server = Server::start(|_, _| Reply::Bytes(serve_whole(&content(LEN)))).await;
    blob_source(source(client(), &server, LEN), &content(LEN), soon()).await;
}

#[tokio::test]
async fn a_broken_connection_is_an_error_after_right_bytes() {
    for cut in [0, 10, 80, 150, 5000] {
        let server = Server::start(move |request, number| {
            let mut bytes = serve(&content(LEN), request);
            bytes.truncate(if number == 0 { cut } else { usize::MAX });
            Reply::Bytes(bytes)
        })
        .await;
        blob_source_under_fault(source(client(), &server, LEN), &content(LEN), soon(), || ()).await;
    }
}

#[tokio::test]
async fn a_206_must_be_the_range_that_was_asked_for() {
    let partial = |range: &str| {
        reply("206 Partial Content", &[&format!("Content-Range: {range}"), "Content-Length: 100"], &[0; 100])
    };
    for range in [
        "bytes 0-99/10000",
        "bytes 101-200/10000",
        "bytes 100-200/10000",
        "bytes 100-99/10000",
        "100-199",
        "",
    ] {
        assert_eq!(refused(partial(range)).await.kind(), ErrorKind::Protocol, "{range}");
    }
    assert_eq!(refused(partial("bytes 100-199/9999")).await.kind(), ErrorKind::SizeMismatch);
    let bare = reply("206 Partial Content", &["Content-Length: 100"], &[0; 100]);
    assert_eq!(refused(bare).await.kind(), ErrorKind::Protocol);

    let unknown_total = always(partial("bytes 100-199/*")).await;
    assert_eq!(fetch(&unknown_total, LEN).await.0, [0; 100]);
}

#[tokio::test]
async fn a_shorter_range_is_served_and_then_resumed() {
    let server = Server::start(|request, _| {
        let (first, last) = request.range().unwrap();
        let last = last.min(first + 2999);
        let shorter = Request {
            target: String::new(),
            headers: vec![("range".into(), format!("bytes={first}-{last}"))],
        };
        Reply::Bytes(serve(&content(LEN), &shorter))
    })
    .await;
    let (got, error) = fetch_range(&source(client(), &server, LEN), 0, 5000).await;
    assert_eq!(got, content(LEN)[..3000]);
    assert!(error.unwrap().is_transient());
    assert_eq!(read_all(client(), &server, LEN).await.unwrap(), content(LEN));
}

#[tokio::test]
async fn a_multipart_or_coded_body_is_refused() {
    let range = "Content-Range: bytes 100-199/10000";
    for header in ["Content-Type: multipart/byteranges; boundary=x", "Content-Encoding: gzip"] {
        let answer = reply("206 Partial Content", &[range, header, "Content-Length: 100"], &[0; 100]);
        assert_eq!(refused(answer).await.kind(), ErrorKind::Protocol, "{header}");
    }
}

#[tokio::test]
async fn a_body_longer_than_its_range_is_cut_or_refused() {
    let range = "Content-Range: bytes 100-199/10000";
    let stated = reply("206 Partial Content", &[range, "Content-Length: 150"], &[0; 150]);
    assert_eq!(refused(stated).await.kind(), ErrorKind::Protocol);
    // Ends with the connection: only the surplus itself tells.
    let unstated = reply("206 Partial Content", &[range], &[0; 150]);
    assert_eq!(refused(unstated).await.kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn a_200_is_skipped_into_up_to_a_limit() {
    let near = Server::start(|_, _| Reply::Bytes(serve_whole(&content(LEN)))).await;
    assert_eq!(fetch(&near, LEN).await.0, content(LEN)[100..200]);

    let size = 9 << 20;
    let large = Arc::new(content(size));
    let served = Arc::clone(&large);
    let far = Server::start(move |_, _| Reply::Bytes(serve_whole(&served))).await;
    let source = source(client(), &far, size);
    let (start, end) = (8 << 20, (8 << 20) + 50);
    assert_eq!(fetch_range(&source, start, end).await.0, large[start as usize..end as usize]);
    let error = fetch_range(&source, start + 1, end).await.1.unwrap();
    assert_eq!(error.kind(), ErrorKind::RangesUnsupported);
}

#[tokio::test]
async fn a_200_that_is_not_the_blob_is_refused() {
    let page = b"<html>please log in</html>";
    let stated = reply("200 OK", &["Content-Type: text/html", "Content-Length: 26"], page);
    assert_eq!(refused(stated).await.kind(), ErrorKind::SizeMismatch);
    let unstated = reply("200 OK", &["Content-Type: text/html"], page);
    assert_eq!(refused(unstated).await.kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn a_416_is_another_size_and_its_body_is_not_waited_for() {
    // As a known registry does: the length of the blob, but a few bytes of text.
    let answer = reply("416 Range Not Satisfiable", &["Content-Length: 10000"], b"invalid range");
    let server = Server::start(move |_, _| Reply::ThenStall(answer.clone())).await;
    let (_, error) = fetch(&server, LEN).await;
    assert_eq!(error.unwrap().kind(), ErrorKind::SizeMismatch);
}

#[tokio::test]
async fn other_statuses_are_typed_errors() {
    for (status, kind, transient) in [
        ("401 Unauthorized", ErrorKind::Denied, false),
        ("403 Forbidden", ErrorKind::Denied, false),
        ("404 Not Found", ErrorKind::NotFound, false),
        ("408 Request Timeout", ErrorKind::Unavailable, true),
        ("429 Too Many Requests", ErrorKind::RateLimited, true),
        ("500 Internal Server Error", ErrorKind::Unavailable, true),
        ("502 Bad Gateway", ErrorKind::Unavailable, true),
        ("503 Service Unavailable", ErrorKind::Unavailable, true),
        ("504 Gateway Timeout", ErrorKind::Unavailable, true),
        ("204 No Content", ErrorKind::Protocol, false),
        ("300 Multiple Choices", ErrorKind::Protocol, false),
        ("304 Not Modified", ErrorKind::Protocol, false),
        ("418 Teapot", ErrorKind::Protocol, false),
    ] {
        let error = refused(reply(status, &["Content-Length: 0", "Retry-After: 17"], b"")).await;
        assert_eq!((error.kind(), error.is_transient()), (kind, transient), "{status}");
        assert!(error.to_string().contains(&status[..3]), "{error}");
        let waits = error.retry_after() == Some(Duration::from_secs(17));
        assert_eq!(waits, transient, "{status}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_a_connection_error_that_hides_the_query() {
    let server = always(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()).await;
    let endpoint = Arc::new(Location::new(format!("{}/blob?sig=s3cret", server.origin)));
    let source = HttpSource::new(client(), endpoint, 10);
    let error = fetch_range(&source, 0, 10).await.1.unwrap();
    assert_eq!(error.kind(), ErrorKind::Connection);
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("/blob") && !shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn nobody_at_the_address_is_a_connection_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Arc::new(Location::new(format!("http://{}/", listener.local_addr().unwrap())));
    drop(listener);
    let source = HttpSource::new(client(), endpoint, 10);
    assert_eq!(fetch_range(&source, 0, 10).await.1.unwrap().kind(), ErrorKind::Connection);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_a_connection_error_that_may_pass() {
    // A name that is reserved for not being there (RFC 6761, section 6.4).
    let endpoint = Arc::new(Location::new("http://nobody.invalid/blob?sig=s3cret"));
    let error = fetch_range(&HttpSource::new(client(), endpoint, 10), 0, 10).await.1.unwrap();
    assert!(error.kind() == ErrorKind::Connection && error.is_transient(), "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_at_the_deadline() {
    let server = Server::start(|_, _| Reply::ThenStall(Vec::new())).await;
    let deadline = Instant::now() + Duration::from_millis(200);
    let request = FetchRequest::new(0..10, deadline);
    let error = source(client(), &server, LEN).fetch(request).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(Instant::now() >= deadline);
}

#[tokio::test]
async fn a_cut_at_every_byte_of_an_answer_is_resumed_by_the_cache() {
    let whole = serve(
        &content(500),
        &Request { target: String::new(), headers: vec![("range".into(), "bytes=0-499".into())] },
    );
    let client = client();
    for cut in 0..whole.len() {
        let server = Server::start(move |request, number| {
            let mut bytes = serve(&content(500), request);
            bytes.truncate(if number == 0 { cut } else { usize::MAX });
            Reply::Bytes(bytes)
        })
        .await;
        assert_eq!(read_all(client.clone(), &server, 500).await.unwrap(), content(500), "cut at {cut}");
        let held = cut.saturating_sub(whole.len() - 500);
        let resumed = server.requests()[1].range();
        // The client may drop bytes that came just before the end of the connection.
        assert!(resumed.is_some_and(|(first, last)| first <= held && last == 499), "{resumed:?} after {cut}");
    }
}

#[tokio::test]
async fn storms_pass() {
    let server = Server::start(|request, number| {
        Reply::Bytes(match number % 4 {
            0 => reply("503 Service Unavailable", &["Content-Length: 0", "Retry-After: 0"], b""),
            1 => Vec::new(),
            2 => reply("429 Too Many Requests", &["Content-Length: 3"], b"wai"),
            _ => serve(&content(LEN), request),
        })
    })
    .await;
    assert_eq!(read_all(client(), &server, LEN).await.unwrap(), content(LEN));
}

/// Reads the whole blob through a cache that does not wait long between tries.
async fn read_all(client: HttpClient, server: &Server, size: usize) -> lazy_fetch::Result<Vec<u8>> {
    let retry = RetryOptions::default().with_first_wait(Duration::from_millis(1));
    let cache = Cache::builder(Arc::new(TokioRuntime::current()?))
        .options(CacheOptions::default().with_chunk_size(4096).with_retry(retry))
        .build()?;
    let blob = cache.open(BlobId::new("b")?, size as u64, source(client, server, size));
    let mut buf = vec![0; size];
    blob.read_at(&mut buf, 0).await?;
    Ok(buf)
}
