//! Publishing: images, and referrers that are found with and without the Referrers API.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use referrers::{Descriptor, Digest, Error, ErrorKind, Listed, Manifest, fallback_tag, media_type};
use serde_json::Value;

use registry::{TestRegistry, image, index, referrer};
use server::Response;

async fn scene() -> (TestRegistry, Manifest) {
    let registry = TestRegistry::start().await;
    let config = registry.put_blob(media_type::OCI_CONFIG, b"{}");
    let subject = registry.put(Some("t"), media_type::OCI_MANIFEST, &image(&config, &[]));
    (registry, subject)
}

fn bytes(body: &Value) -> Bytes {
    Bytes::from(body.to_string())
}

async fn attach(registry: &TestRegistry, body: &Value) -> Result<Listed, Error> {
    let client = registry.client();
    client.attach(&registry.repository, media_type::OCI_MANIFEST, bytes(body)).await.map(|done| done.listed)
}

async fn listed(registry: &TestRegistry, subject: &Manifest) -> Vec<Descriptor> {
    registry.client().referrers(&registry.repository, subject.digest(), None).await.unwrap().referrers
}

#[tokio::test]
async fn an_image_is_pushed_and_read_back() {
    let registry = TestRegistry::start().await;
    let client = registry.client();
    let blob = Bytes::from("{}");
    let digest = client.push_blob(&registry.repository, blob.clone()).await.unwrap();
    client.push_blob(&registry.repository, blob.clone()).await.unwrap();
    assert_eq!(registry.server.count("POST"), 1, "the second one is there already");
    let config = Descriptor::new(media_type::OCI_CONFIG, digest, 2);
    assert_eq!(client.small_blob(&registry.repository, &config).await.unwrap(), blob);
    let body = bytes(&image(&config, &[]));
    let tag = registry.tagged("t");
    let pushed = client.push_manifest(&tag, media_type::OCI_MANIFEST, body.clone()).await.unwrap();
    assert!(!pushed.subject_listed);
    let read = client.manifest(&tag).await.unwrap();
    assert_eq!((read.bytes(), read.descriptor()), (&body, pushed.descriptor));
}

#[tokio::test]
async fn a_registry_that_stores_something_else_is_noticed() {
    let registry = TestRegistry::start().await;
    registry.fault(|r| {
        let other = Digest::sha256_of(b"other").to_string();
        (r.method == "PUT").then(|| Response::new(201).with("docker-content-digest", other))
    });
    let client = registry.client();
    let error = client.push_blob(&registry.repository, Bytes::from("blob")).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Integrity { .. }), "{error}");
    let body = bytes(&image(&Descriptor::of(media_type::OCI_CONFIG, b""), &[]));
    let error = client
        .push_manifest(&registry.tagged("t"), media_type::OCI_MANIFEST, body.clone())
        .await
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Integrity { .. }), "{error}");
    let wrong = registry.repository.with_digest(Digest::sha256_of(b"other"));
    let before = registry.server.requests().len();
    client.push_manifest(&wrong, media_type::OCI_MANIFEST, body).await.unwrap_err();
    assert_eq!(registry.server.requests().len(), before, "nothing is sent under a wrong digest");
}

#[tokio::test]
async fn with_the_api_the_registry_lists() {
    let (registry, subject) = scene().await;
    let listed_at = attach(&registry, &referrer(&subject.descriptor(), "a/b", "1")).await.unwrap();
    assert_eq!(listed_at, Listed::Api);
    assert_eq!(listed(&registry, &subject).await.len(), 1);
    assert_eq!(registry.server.count(&fallback_tag(subject.digest())), 0);
}

#[tokio::test]
async fn without_the_api_the_fallback_tag_lists_type_and_annotations() {
    let (registry, subject) = scene().await;
    let registry = registry.without_api();
    for note in ["1", "2", "1"] {
        let body = referrer(&subject.descriptor(), "a/b", note);
        assert_eq!(attach(&registry, &body).await.unwrap(), Listed::FallbackTag);
    }
    let entries = listed(&registry, &subject).await;
    let notes: Vec<_> = entries.iter().map(|entry| entry.annotation("note").unwrap()).collect();
    assert_eq!(notes, ["1", "2"]);
    assert!(entries.iter().all(|entry| entry.artifact_type.as_deref() == Some("a/b")));
}

#[tokio::test]
async fn writers_of_one_process_lose_nothing() {
    let (registry, subject) = scene().await;
    let registry = registry.without_api();
    let client = registry.client();
    let bodies: Vec<_> =
        (0..20).map(|n| bytes(&referrer(&subject.descriptor(), "a/b", &n.to_string()))).collect();
    let all =
        bodies.into_iter().map(|body| client.attach(&registry.repository, media_type::OCI_MANIFEST, body));
    for outcome in futures::future::join_all(all).await {
        outcome.unwrap();
    }
    assert_eq!(listed(&registry, &subject).await.len(), 20);
}

#[tokio::test]
async fn an_update_that_another_host_overwrites_is_made_again() {
    let (registry, subject) = scene().await;
    let registry = registry.without_api();
    let tag = fallback_tag(subject.digest());
    let theirs =
        registry.put(None, media_type::OCI_MANIFEST, &referrer(&subject.descriptor(), "a/b", "theirs"));
    registry.put(Some(&tag), media_type::OCI_INDEX, &index(&[theirs.listed_descriptor()]));
    // Our first write is overwritten at once by what the other host had read before.
    let (overwritten, path) = (AtomicBool::new(false), format!("/v2/a/b/manifests/{tag}"));
    registry.fault(move |r| {
        let first = r.method == "PUT" && r.path() == path && !overwritten.swap(true, Ordering::SeqCst);
        first.then(|| Response::new(201))
    });
    attach(&registry, &referrer(&subject.descriptor(), "a/b", "ours")).await.unwrap();
    let entries = listed(&registry, &subject).await;
    let notes: BTreeSet<_> = entries.iter().map(|entry| entry.annotation("note").unwrap()).collect();
    assert_eq!(notes, BTreeSet::from(["ours", "theirs"]));
}

#[tokio::test]
async fn entries_of_deleted_manifests_do_not_block_an_update() {
    let (registry, subject) = scene().await;
    let registry = registry.without_api();
    let gone = Descriptor::of(media_type::OCI_MANIFEST, b"gone");
    let kept = registry.put(None, media_type::OCI_MANIFEST, &referrer(&subject.descriptor(), "a/b", "kept"));
    let tag = fallback_tag(subject.digest());
    registry.put(Some(&tag), media_type::OCI_INDEX, &index(&[gone, kept.listed_descriptor()]));
    attach(&registry, &referrer(&subject.descriptor(), "a/b", "new")).await.unwrap();
    let entries = listed(&registry, &subject).await;
    let notes: Vec<_> = entries.iter().map(|entry| entry.annotation("note").unwrap()).collect();
    assert_eq!(notes, ["kept", "new"]);
}

#[tokio::test]
async fn what_is_no_list_of_referrers_is_left_alone() {
    let (registry, subject) = scene().await;
    let registry = registry.without_api();
    let tag = fallback_tag(subject.digest());
    let other = registry.put(Some(&tag), media_type::OCI_MANIFEST, &image(&Descriptor::of("a/b", b""), &[]));
    let error = attach(&registry, &referrer(&subject.descriptor(), "a/b", "1")).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Protocol { .. }), "{error}");
    let stays = registry.client().manifest(&registry.tagged(&tag)).await.unwrap();
    assert_eq!(stays.digest(), other.digest());
}

#[tokio::test]
async fn a_manifest_without_subject_is_no_referrer() {
    let (registry, _) = scene().await;
    let error = attach(&registry, &image(&Descriptor::of("a/b", b""), &[])).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Invalid { .. }), "{error}");
    assert_eq!(registry.server.requests().len(), 0);
}

#[tokio::test]
async fn where_nothing_can_be_deleted_the_list_is_left_empty() {
    let (registry, subject) = scene().await;
    let registry = registry.without_api();
    let body = referrer(&subject.descriptor(), "a/b", "1");
    attach(&registry, &body).await.unwrap();
    registry.fault(|r| (r.method == "DELETE").then(|| Response::error(405, "UNSUPPORTED")));
    let digest = Manifest::parse(bytes(&body), media_type::OCI_MANIFEST, None).unwrap().digest().clone();
    let error = registry.client().detach(&registry.repository, &digest).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    assert!(listed(&registry, &subject).await.is_empty());
    attach(&registry, &body).await.unwrap();
    assert_eq!(listed(&registry, &subject).await.len(), 1);
}
