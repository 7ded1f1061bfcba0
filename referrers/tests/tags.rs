//! Lists of tags, deletion, and what registries warn of.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use referrers::{Digest, ErrorKind};
use serde_json::json;

use registry::TestRegistry;
use server::{Request, Response};

fn page(tags: &[&str], link: &str) -> Response {
    let page = Response::ok("application/json", json!({ "name": "a/b", "tags": tags }).to_string());
    if link.is_empty() { page } else { page.with("link", link) }
}

fn is_tags(request: &Request) -> bool {
    request.path().ends_with("/tags/list")
}

#[tokio::test]
async fn pages_are_put_together_and_what_is_no_tag_is_left_out() {
    let registry = TestRegistry::start().await;
    registry.fault(|r| {
        is_tags(r).then(|| match r.query("last").as_deref() {
            None => page(&["b", "../x", "a"], "</v2/a/b/tags/list?last=b>; rel=\"next\""),
            Some("b") => page(&[], "</v2/a/b/tags/list?last=c>; rel=\"next\""),
            _ => page(&["c", "a"], ""),
        })
    });
    assert_eq!(registry.client().tags(&registry.repository).await.unwrap(), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_repository_without_tags_may_say_null() {
    let registry = TestRegistry::start().await;
    registry.fault(|r| is_tags(r).then(|| Response::ok("application/json", r#"{"name":"a/b","tags":null}"#)));
    assert!(registry.client().tags(&registry.repository).await.unwrap().is_empty());
}

#[tokio::test]
async fn pages_that_lead_nowhere_or_elsewhere_are_errors() {
    for (link, is_expected) in [
        (
            "</v2/a/b/tags/list>; rel=next",
            (|kind| matches!(kind, ErrorKind::Protocol { .. })) as fn(&ErrorKind) -> bool,
        ),
        ("<http://localhost:1/v2/a/b/tags/list>; rel=next", |kind| matches!(kind, ErrorKind::Refused { .. })),
    ] {
        let registry = TestRegistry::start().await;
        registry.fault(move |r| is_tags(r).then(|| page(&["a"], link)));
        let error = registry.client().tags(&registry.repository).await.unwrap_err();
        assert!(is_expected(error.kind()), "{link}: {error}");
    }
}

#[tokio::test]
async fn what_deletion_says_is_understood() {
    let check = async |answer: Response, is_expected: fn(Option<&ErrorKind>) -> bool| {
        let registry = TestRegistry::start().await;
        registry.fault(move |r| (r.method == "DELETE").then(|| answer.clone()));
        let outcome = registry.client().delete_manifest(&registry.repository, &Digest::sha256_of(b"")).await;
        assert!(is_expected(outcome.as_ref().err().map(referrers::Error::kind)), "{outcome:?}");
    };
    check(Response::new(202), |kind| kind.is_none()).await;
    check(Response::error(404, "MANIFEST_UNKNOWN"), |kind| kind.is_none()).await;
    check(Response::error(404, "NAME_UNKNOWN"), |kind| matches!(kind, Some(ErrorKind::NotFound { .. })))
        .await;
    check(Response::new(405), |kind| matches!(kind, Some(ErrorKind::Unsupported { .. }))).await;
    check(Response::error(400, "UNSUPPORTED"), |kind| matches!(kind, Some(ErrorKind::Unsupported { .. })))
        .await;
    check(Response::new(500), |kind| matches!(kind, Some(ErrorKind::Status { .. }))).await;
}

#[tokio::test]
async fn warnings_are_kept_once_with_their_host_and_change_nothing() {
    let registry = TestRegistry::start().await;
    registry.fault(|r| is_tags(r).then(|| page(&["a"], "").with("warning", "299 - \"moves to elsewhere\"")));
    let client = registry.client();
    for _ in 0..2 {
        assert_eq!(client.tags(&registry.repository).await.unwrap(), ["a"]);
    }
    assert_eq!(client.warnings(), ["127.0.0.1: moves to elsewhere"]);
}
