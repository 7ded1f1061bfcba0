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
use std::time::Duration;

use lazy_fetch::{Endpoint, ErrorKind, Locate, Location};
use referrers::{Anonymous, Capability, Digest, Mirror, RegistryBlob};

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

fn rejected(registry: &TestRegistry, status: u16) -> Locate {
    let challenge = format!(r#"Bearer realm="http://{}/token",service="s""#, registry.server.host);
    Locate::Rejected { status, challenges: vec![challenge] }
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
    let authorised = blob.locate(rejected(&registry, 401)).await.unwrap();
    assert_eq!(authorization(&authorised), Some("Bearer t0"));
    assert_eq!(authorization(&blob.locate(Locate::Fresh).await.unwrap()), Some("Bearer t0"));
    assert_eq!(issued.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn requests_rejected_together_lead_to_one_renewal() {
    let (registry, blob, issued) = scene().await;
    blob.locate(rejected(&registry, 401)).await.unwrap();
    blob.locate(Locate::Fresh).await.unwrap();
    for status in [403, 401, 401] {
        let renewed = blob.locate(rejected(&registry, status)).await.unwrap();
        assert_eq!(authorization(&renewed), Some("Bearer t1"));
    }
    assert_eq!(issued.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_stands_in_the_way_is_told_apart() {
    let (registry, blob, _) = scene().await;
    let no_challenge = Locate::Rejected { status: 403, challenges: vec![] };
    assert_eq!(blob.locate(no_challenge).await.unwrap_err().kind(), ErrorKind::Denied);
    for (status, kind) in
        [(503, ErrorKind::Unavailable), (429, ErrorKind::RateLimited), (302, ErrorKind::Refused)]
    {
        let (registry, blob, _) = scene().await;
        registry.contents.lock().unwrap().faults.insert(0, Box::new(move |_| Some(Response::new(status))));
        assert_eq!(blob.locate(rejected(&registry, 401)).await.unwrap_err().kind(), kind, "{status}");
    }
    // A token server that accepts connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let challenge = format!(r#"Bearer realm="http://{}/token""#, silent.local_addr().unwrap());
    let options = registry.options().with_deadline(Duration::from_millis(100));
    let blob =
        registry.client_with(options, Anonymous).blob(&registry.repository, &Digest::sha256_of(b"blob"));
    let asked = blob.unwrap().locate(Locate::Rejected { status: 401, challenges: vec![challenge] }).await;
    assert!(asked.unwrap_err().is_transient());
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
