//! What is asked again, and for how long.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use referrers::{Anonymous, ErrorKind, media_type};

use registry::{TestRegistry, index};
use server::{Request, Response};

/// Answers the first `times` requests that `matches` with `response`.
fn at_first(
    times: usize,
    matches: impl Fn(&Request) -> bool + Send + Sync + 'static,
    response: Response,
) -> impl Fn(&Request) -> Option<Response> + Send + Sync + 'static {
    let seen = AtomicUsize::new(0);
    move |request| (matches(request) && seen.fetch_add(1, Ordering::SeqCst) < times).then(|| response.clone())
}

#[tokio::test]
async fn a_passing_failure_is_asked_again() {
    for status in [408, 429, 500, 502, 503, 504] {
        let registry = TestRegistry::start().await;
        registry.put(Some("t"), media_type::OCI_INDEX, &index(&[]));
        registry.fault(at_first(2, |_| true, Response::new(status)));
        registry.client().manifest(&registry.tagged("t")).await.unwrap();
        assert_eq!(registry.server.requests().len(), 3, "{status}");
        assert!(registry.clock.elapsed() > Duration::ZERO);
    }
}

#[tokio::test]
async fn the_code_for_too_many_requests_counts_with_any_status() {
    let registry = TestRegistry::start().await;
    registry.put(Some("t"), media_type::OCI_INDEX, &index(&[]));
    registry.fault(at_first(1, |_| true, Response::error(400, "TOOMANYREQUESTS")));
    registry.client().manifest(&registry.tagged("t")).await.unwrap();
    assert_eq!(registry.server.requests().len(), 2);
}

#[tokio::test]
async fn a_lasting_failure_is_reported_after_five_tries() {
    let registry = TestRegistry::start().await;
    registry.fault(|_| Some(Response::error(503, "UNAVAILABLE")));
    let error = registry.client().manifest(&registry.tagged("t")).await.unwrap_err();
    let code = Some("UNAVAILABLE".to_owned());
    assert_eq!(*error.kind(), ErrorKind::Status { status: 503, code });
    assert!(error.is_transient());
    assert_eq!(registry.server.requests().len(), 5);
}

#[tokio::test]
async fn what_cannot_pass_is_asked_once() {
    for status in [400, 404, 405, 501] {
        let registry = TestRegistry::start().await;
        registry.fault(move |_| Some(Response::new(status)));
        registry.client().manifest(&registry.tagged("t")).await.unwrap_err();
        assert_eq!(registry.server.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn the_wait_that_is_asked_for_is_kept() {
    let registry = TestRegistry::start().await;
    registry.put(Some("t"), media_type::OCI_INDEX, &index(&[]));
    registry.fault(at_first(1, |_| true, Response::new(429).with("retry-after", "7")));
    registry.client().manifest(&registry.tagged("t")).await.unwrap();
    assert!(registry.clock.elapsed() >= Duration::from_secs(7));
    assert_eq!(registry.server.requests().len(), 2);
}

#[tokio::test]
async fn a_wait_that_is_asked_of_one_request_holds_all_others() {
    let registry = TestRegistry::start().await;
    registry.fault(|_| Some(Response::new(429).with("retry-after", "50")));
    let options = registry.options().with_deadline(Duration::from_millis(100));
    let client = registry.client_with(options, Anonymous);
    let error = client.manifest(&registry.tagged("t")).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::RateLimited { .. }), "{error}");
    let error = client.manifest(&registry.tagged("other")).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::RateLimited { .. }), "{error}");
    assert_eq!(registry.server.requests().len(), 1);
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_not_begun() {
    let registry = TestRegistry::start().await;
    registry.fault(|_| Some(Response::new(429).with("retry-after", "50")));
    let options = registry.options().with_deadline(Duration::from_secs(5));
    let client = registry.client_with(options, Anonymous);
    let error = client.manifest(&registry.tagged("t")).await.unwrap_err();
    let retry_after = Some(Duration::from_secs(50));
    assert_eq!(*error.kind(), ErrorKind::RateLimited { retry_after });
    assert_eq!(registry.clock.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_registry_that_does_not_answer_ends_at_the_deadline() {
    // A listener that accepts nothing: the connection is made, and nothing comes.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let options = referrers::RegistryOptions::default()
        .with_plain_http(host.as_str())
        .with_deadline(Duration::from_millis(100));
    let client = referrers::Registry::new(options, std::sync::Arc::new(Anonymous)).unwrap();
    let tag = format!("{host}/a:t").parse().unwrap();
    let error = client.manifest(&tag).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Timeout { after: Duration::from_millis(100) });
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let clock = std::sync::Arc::new(clock::JumpingClock::new());
    let options = referrers::RegistryOptions::default().with_plain_http(host.as_str()).with_clock(clock);
    let client = referrers::Registry::new(options, std::sync::Arc::new(Anonymous)).unwrap();
    let error = client.manifest(&format!("{host}/a:t").parse().unwrap()).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Network);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn the_steps_of_an_upload_are_not_repeated() {
    for method in ["POST", "PUT"] {
        let registry = TestRegistry::start().await;
        registry.fault(at_first(1, move |r| r.method == method, Response::new(503)));
        let error = registry.client().push_blob(&registry.repository, Bytes::from("x")).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert_eq!(registry.server.count(method), 1);
    }
}
