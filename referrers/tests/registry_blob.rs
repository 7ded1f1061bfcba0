//! A blob of a registry as an endpoint of `lazy-fetch`: where it is, and what authorises reading it.
#![cfg(feature = "lazy-fetch")]

#[path = "support/clock.rs"]
mod clock;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::TryStreamExt;
use lazy_fetch::{
    BlobSource, Endpoint, ErrorKind, FetchRequest, HttpClient, HttpOptions, HttpSource, Locate, Location,
};
use referrers::{Anonymous, Capability, Credential, Digest, Mirror, RegistryBlob, StaticCredentials};

use registry::TestRegistry;
use server::Response;

/// A blob whose registry's token server numbers its tokens.
async fn scene() -> (TestRegistry, RegistryBlob, Arc<AtomicUsize>) {
    let registry = TestRegistry::start().await;
    let issued = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&issued);
    registry.fault(move |r| {
        let body =
            || format!(r#"{{"token":"t{}","expires_in":300}}"#, counter.fetch_add(1, Ordering::SeqCst));
        (r.path() == "/token").then(|| Response::ok("application/json", body()))
    });
    let blob = registry.client().blob(&registry.repository, &Digest::sha256_of(b"blob")).unwrap();
    (registry, blob, issued)
}

fn rejected(registry: &TestRegistry, status: u16, location: &Location) -> Locate {
    let challenge = format!(r#"Bearer realm="http://{}/token",service="s""#, registry.server.host);
    Locate::Rejected { status, challenges: vec![challenge], location: location.clone() }
}

fn authorization(location: &Location) -> Option<&str> {
    let header = location.headers().iter().find(|(name, _)| name == "authorization");
    header.map(|(_, value)| value.as_str())
}

#[tokio::test]
async fn a_token_is_fetched_when_asked_for_and_then_kept() {
    let (registry, blob, issued) = scene().await;
    let fresh = blob.locate(Locate::Fresh).await.unwrap();
    let digest = Digest::sha256_of(b"blob");
    assert_eq!(fresh.url(), format!("http://{}/v2/a/b/blobs/{digest}", registry.server.host));
    assert_eq!(authorization(&fresh), None);
    let authorised = blob.locate(rejected(&registry, 401, &fresh)).await.unwrap();
    assert_eq!(authorization(&authorised), Some("Bearer t0"));
    assert_eq!(authorization(&blob.locate(Locate::Fresh).await.unwrap()), Some("Bearer t0"));
    assert_eq!(issued.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn requests_rejected_together_lead_to_one_renewal() {
    let (registry, blob, issued) = scene().await;
    let fresh = blob.locate(Locate::Fresh).await.unwrap();
    blob.locate(rejected(&registry, 401, &fresh)).await.unwrap();
    let fresh = blob.locate(Locate::Fresh).await.unwrap();
    for status in [403, 401, 401] {
        let renewed = blob.locate(rejected(&registry, status, &fresh)).await.unwrap();
        assert_eq!(authorization(&renewed), Some("Bearer t1"));
    }
    assert_eq!(issued.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_stands_in_the_way_is_told_apart() {
    let (registry, blob, _) = scene().await;
    let fresh = blob.locate(Locate::Fresh).await.unwrap();
    let no_challenge = Locate::Rejected { status: 403, challenges: vec![], location: fresh.clone() };
    assert_eq!(blob.locate(no_challenge).await.unwrap_err().kind(), ErrorKind::Denied);
    for (status, kind) in
        [(503, ErrorKind::Unavailable), (429, ErrorKind::RateLimited), (302, ErrorKind::Refused)]
    {
        let (registry, blob, _) = scene().await;
        registry.contents.lock().unwrap().faults.insert(0, Box::new(move |_| Some(Response::new(status))));
        assert_eq!(blob.locate(rejected(&registry, 401, &fresh)).await.unwrap_err().kind(), kind, "{status}");
    }
    // A token server that accepts connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let challenge = format!(r#"Bearer realm="http://{}/token""#, silent.local_addr().unwrap());
    let options = registry.options().with_deadline(Duration::from_millis(100));
    let blob =
        registry.client_with(options, Anonymous).blob(&registry.repository, &Digest::sha256_of(b"blob"));
    let rejected = Locate::Rejected { status: 401, challenges: vec![challenge], location: fresh };
    assert!(blob.unwrap().locate(rejected).await.unwrap_err().is_transient());
}

/// A registry whose token server gives `user`'s token to `user`, with its blob for someone with two credentials.
fn two_credentials(registry: &TestRegistry) -> RegistryBlob {
    registry.fault(|r| {
        let user = match r.header("authorization") {
            Some("Basic b25lOnA=") => "one",
            Some("Basic dHdvOnA=") => "two",
            _ => return None,
        };
        let body = format!(r#"{{"token":"{user}","expires_in":300}}"#);
        (r.path() == "/token").then(|| Response::ok("application/json", body))
    });
    let both = ["one", "two"].map(|user| Credential::password(user, "p"));
    let credentials = StaticCredentials::new(registry.server.host.as_str(), both.to_vec());
    let client = registry.client_with(registry.options(), credentials);
    client.blob(&registry.repository, &Digest::sha256_of(b"blob")).unwrap()
}

#[tokio::test]
async fn each_credential_is_tried_while_rejections_follow_each_other() {
    let registry = TestRegistry::start().await;
    let blob = two_credentials(&registry);
    let fresh = blob.locate(Locate::Fresh).await.unwrap();
    let first = blob.locate(rejected(&registry, 401, &fresh)).await.unwrap();
    assert_eq!(authorization(&first), Some("Bearer one"));
    let second = blob.locate(rejected(&registry, 403, &first)).await.unwrap();
    assert_eq!(authorization(&second), Some("Bearer two"));
    // Who comes late with what was rejected before gets what is held now.
    let late = blob.locate(rejected(&registry, 403, &first)).await.unwrap();
    assert_eq!(authorization(&late), Some("Bearer two"));
    assert_eq!(blob.locate(rejected(&registry, 403, &second)).await.unwrap_err().kind(), ErrorKind::Denied);
    // The next read begins anew, with what served last.
    let fresh = blob.locate(Locate::Fresh).await.unwrap();
    let again = blob.locate(rejected(&registry, 401, &fresh)).await.unwrap();
    assert_eq!(authorization(&again), Some("Bearer two"));
}

#[tokio::test]
async fn a_blob_that_only_the_second_credential_may_read_is_read() {
    let registry = TestRegistry::start().await;
    registry.put_blob("application/octet-stream", b"blob");
    let host = registry.server.host.clone();
    registry.fault(move |r| {
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="s""#);
        let denied = || Response::error(403, "DENIED").with("www-authenticate", challenge);
        (r.path() != "/token" && r.header("authorization") != Some("Bearer two")).then(denied)
    });
    // The scripted registry ignores ranges.
    let source = HttpSource::new(
        HttpClient::new(HttpOptions::default()).unwrap(),
        Arc::new(two_credentials(&registry)),
        4,
    );
    let request = FetchRequest::new(0..4, Instant::now() + Duration::from_secs(20));
    let pieces: Vec<Bytes> = source.fetch(request).await.unwrap().try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"blob");
}

#[tokio::test]
async fn mirrors_come_first_with_their_own_headers_and_tokens() {
    let (registry, ..) = scene().await;
    let at = |url: &str| Mirror::new(url).unwrap().with_header("x-key", "k").unwrap();
    let host = registry.server.host.as_str();
    let options = registry
        .options()
        .with_mirror(host, at("http://one.test:1/p"))
        .with_mirror(host, at("https://two.test").with_capabilities([Capability::Resolve]));
    let client = registry.client_with(options, Anonymous);
    let digest = Digest::sha256_of(b"blob");
    let blobs = client.blob_with_mirrors(&registry.repository, &digest).unwrap();
    let mut locations = Vec::new();
    for blob in &blobs {
        locations.push(blob.locate(Locate::Fresh).await.unwrap());
    }
    let urls: Vec<_> = locations.iter().map(Location::url).collect();
    let ns = host.replace(':', "%3A");
    assert_eq!(
        urls,
        [
            format!("http://one.test:1/p/v2/a/b/blobs/{digest}?ns={ns}"),
            format!("http://{host}/v2/a/b/blobs/{digest}"),
        ]
    );
    let keys: Vec<_> =
        locations.iter().map(|l| l.headers().iter().any(|(name, _)| name == "x-key")).collect();
    assert_eq!(keys, [true, false]);
}
