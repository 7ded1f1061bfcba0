//! Where credentials go, and where they never go.

#![cfg(feature = "http")]

#[path = "support/http_server.rs"]
mod http_server;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt;
use http_server::{Reply, Server, content, reply, serve};
use lazy_fetch::{
    BlobSource, Endpoint, Error, ErrorKind, FetchRequest, HttpClient, HttpOptions, HttpSource, Locate,
    Location,
};

const LEN: usize = 1000;

async fn read(source: &HttpSource) -> Result<(), Error> {
    let request = FetchRequest::new(10..500, Instant::now() + Duration::from_secs(20));
    let mut stream = source.fetch(request).await?;
    let mut got = Vec::new();
    while let Some(piece) = stream.next().await {
        got.extend_from_slice(&piece?);
    }
    assert!(got == content(LEN)[10..500]);
    Ok(())
}

fn http_source(location: Location) -> HttpSource {
    http_source_at(Arc::new(location))
}

fn http_source_at(endpoint: Arc<dyn Endpoint>) -> HttpSource {
    HttpSource::new(HttpClient::new(HttpOptions::default()).unwrap(), endpoint, LEN as u64)
}

fn secret(url: String) -> Location {
    Location::new(url).with_header("Authorization", "Bearer t0ken").with_header("X-Extra", "s3cret")
}

fn redirect(to: &str) -> Reply {
    Reply::Bytes(reply("307 Temporary Redirect", &["Content-Length: 0", &format!("Location: {to}")], b""))
}

async fn storage() -> Server {
    Server::start(|request, _| Reply::Bytes(serve(&content(LEN), request))).await
}

fn assert_no_credentials(server: &Server) {
    for request in server.requests() {
        assert_eq!(request.header("authorization"), None);
        assert_eq!(request.header("x-extra"), None);
        assert_eq!(request.header("referer"), None);
    }
}

#[tokio::test]
async fn credentials_stay_with_their_origin_and_the_signed_url_is_remembered() {
    let storage = storage().await;
    let to = format!("{}/signed?sig=1", storage.origin);
    let registry = Server::start(move |_, _| redirect(&to)).await;
    let source = http_source(secret(format!("{}/v2/blob", registry.origin)));
    for _ in 0..3 {
        read(&source).await.unwrap();
    }
    assert_eq!(registry.requests().len(), 1, "one redirect for three reads");
    assert_eq!(registry.requests()[0].header("authorization"), Some("Bearer t0ken"));
    assert_eq!(storage.requests().len(), 3);
    assert_no_credentials(&storage);
    assert!(!format!("{source:?}").contains("sig=1"));
}

#[tokio::test]
async fn credentials_do_not_come_back_through_a_detour() {
    let registry_origin = Arc::new(Mutex::new(String::new()));
    let back = Arc::clone(&registry_origin);
    let detour = Server::start(move |_, _| redirect(&format!("{}/back", back.lock().unwrap()))).await;
    let to = format!("{}/away", detour.origin);
    let registry = Server::start(move |request, _| match request.target.as_str() {
        "/back" => Reply::Bytes(serve(&content(LEN), request)),
        _ => redirect(&to),
    })
    .await;
    *registry_origin.lock().unwrap() = registry.origin.clone();
    read(&http_source(secret(format!("{}/v2/blob", registry.origin)))).await.unwrap();
    assert_no_credentials(&detour);
    let requests = registry.requests();
    assert_eq!(requests[0].header("authorization"), Some("Bearer t0ken"));
    assert_eq!((requests[1].target.as_str(), requests[1].header("authorization")), ("/back", None));
}

#[tokio::test]
async fn a_redirect_within_the_origin_keeps_its_headers_and_is_not_remembered() {
    let registry = Server::start(|request, _| match request.target.as_str() {
        "/other" => Reply::Bytes(serve(&content(LEN), request)),
        _ => redirect("/other"),
    })
    .await;
    let source = http_source(secret(format!("{}/v2/blob", registry.origin)));
    read(&source).await.unwrap();
    read(&source).await.unwrap();
    let requests = registry.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|request| request.header("authorization").is_some()));
}

#[tokio::test]
async fn an_expired_signed_url_sends_the_reader_back_to_the_endpoint_once() {
    for stale in ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found"] {
        // The signed URL works once; asked again, it is stale, and its successor works.
        let storage = Server::start(move |request, number| {
            if number == 1 {
                return Reply::Bytes(reply(stale, &["Content-Length: 0", "WWW-Authenticate: Basic"], b""));
            }
            Reply::Bytes(serve(&content(LEN), request))
        })
        .await;
        let to = format!("{}/signed", storage.origin);
        let registry = Server::start(move |_, number| redirect(&format!("{to}{number}"))).await;
        let source = http_source(secret(format!("{}/v2/blob", registry.origin)));
        for _ in 0..3 {
            read(&source).await.unwrap();
        }
        let targets: Vec<_> = storage.requests().into_iter().map(|request| request.target).collect();
        assert_eq!(targets, ["/signed0", "/signed0", "/signed1", "/signed1"], "{stale}");
        assert_no_credentials(&storage);
    }
}

#[tokio::test]
async fn a_fresh_signed_url_that_is_refused_is_an_error() {
    let storage =
        Server::start(|_, _| Reply::Bytes(reply("403 Forbidden", &["Content-Length: 0"], b""))).await;
    let to = format!("{}/signed", storage.origin);
    let registry = Server::start(move |_, _| redirect(&to)).await;
    let error = read(&http_source(secret(format!("{}/", registry.origin)))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!((registry.requests().len(), storage.requests().len()), (1, 1));
}

#[tokio::test]
async fn redirects_end_after_five_and_lead_only_where_they_may() {
    let server = Server::start(|_, number| redirect(&format!("/{number}"))).await;
    let error = read(&http_source(Location::new(server.origin.clone()))).await.unwrap_err();
    assert_eq!((error.kind(), server.requests().len()), (ErrorKind::Refused, 6));

    for to in ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://user:pw@127.0.0.1/x?sig=1"] {
        let server = Server::start(move |_, _| redirect(to)).await;
        let error = read(&http_source(Location::new(server.origin.clone()))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{to}");
        assert!(!error.to_string().contains("pw") && !error.to_string().contains("sig"), "{error}");
    }
    let nowhere = Server::start(|_, _| Reply::Bytes(reply("302 Found", &["Content-Length: 0"], b""))).await;
    let error = read(&http_source(Location::new(nowhere.origin.clone()))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
}

/// Gives a token that is stale, and a good one after it is told so.
#[derive(Debug)]
struct Rotating {
    url: String,
    reasons: Mutex<Vec<Locate>>,
    good_after: usize,
}

#[async_trait]
impl Endpoint for Rotating {
    async fn locate(&self, reason: Locate) -> lazy_fetch::Result<Location> {
        let mut reasons = self.reasons.lock().unwrap();
        reasons.push(reason);
        let rejections = reasons.iter().filter(|reason| **reason != Locate::Fresh).count();
        let token =
            if rejections >= self.good_after { "good".to_owned() } else { format!("stale{rejections}") };
        Ok(Location::new(&self.url).with_header("Authorization", format!("Bearer {token}")))
    }
}

#[tokio::test]
async fn rejections_at_home_are_answered_a_few_times() {
    for (status, good_after, succeeds) in [
        ("401 Unauthorized", 1, true),
        ("403 Forbidden", 1, true),
        ("403 Forbidden", 4, true),
        ("401 Unauthorized", 5, false),
    ] {
        let challenge =
            r#"WWW-Authenticate: Bearer realm="https://auth.example/token",scope="repository:a:pull""#;
        let registry = Server::start(move |request, _| {
            Reply::Bytes(match request.header("authorization") {
                Some("Bearer good") => serve(&content(LEN), request),
                _ => reply(status, &["Content-Length: 0", challenge, "WWW-Authenticate: Basic"], b""),
            })
        })
        .await;
        let endpoint =
            Arc::new(Rotating { url: registry.origin.clone(), reasons: Mutex::default(), good_after });
        let result = read(&http_source_at(endpoint.clone())).await;
        assert_eq!(result.is_ok(), succeeds);
        if let Err(error) = result {
            assert_eq!(error.kind(), ErrorKind::Denied);
        }
        let rejections = good_after.min(4);
        assert_eq!(registry.requests().len(), 1 + rejections);
        let challenges = vec![challenge.split_once(": ").unwrap().1.to_owned(), "Basic".to_owned()];
        let status = status[..3].parse().unwrap();
        let rejected = |number: usize| {
            let location = Location::new(&registry.origin);
            let location = location.with_header("Authorization", format!("Bearer stale{number}"));
            Locate::Rejected { status, challenges: challenges.clone(), location }
        };
        let expected: Vec<_> = std::iter::once(Locate::Fresh).chain((0..rejections).map(rejected)).collect();
        assert_eq!(*endpoint.reasons.lock().unwrap(), expected);
    }
}

#[tokio::test]
async fn an_endpoint_that_has_nothing_else_is_believed() {
    let denied = |_: &_, _| Reply::Bytes(reply("403 Forbidden", &["Content-Length: 0"], b""));
    let registry = Server::start(denied).await;
    let error = read(&http_source(Location::new(registry.origin.clone()))).await.unwrap_err();
    assert_eq!((error.kind(), registry.requests().len()), (ErrorKind::Denied, 2));
}

#[tokio::test]
async fn a_challenge_of_a_foreign_host_is_not_answered() {
    let storage = Server::start(|_, _| {
        Reply::Bytes(reply("401 Unauthorized", &["Content-Length: 0", "WWW-Authenticate: Basic"], b""))
    })
    .await;
    let to = storage.origin.clone();
    let registry = Server::start(move |_, _| redirect(&to)).await;
    let endpoint =
        Arc::new(Rotating { url: registry.origin.clone(), reasons: Mutex::default(), good_after: 1 });
    assert_eq!(read(&http_source_at(endpoint.clone())).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(*endpoint.reasons.lock().unwrap(), [Locate::Fresh]);
    assert_no_credentials(&storage);
}
