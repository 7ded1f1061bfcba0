//! Reading manifests and configurations from a registry that misbehaves.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use referrers::{Descriptor, Digest, Error, ErrorKind, Limits, Manifest, media_type};

use registry::{TestRegistry, image, index};
use server::Response;

async fn with_image() -> (TestRegistry, Manifest) {
    let registry = TestRegistry::start().await;
    let config = registry.put_blob(media_type::OCI_CONFIG, br#"{"os":"linux","architecture":"amd64"}"#);
    let manifest = registry.put(Some("t"), media_type::OCI_MANIFEST, &image(&config, &[]));
    (registry, manifest)
}

fn is_integrity(error: &Error, field: &str) -> bool {
    matches!(error.kind(), ErrorKind::Integrity { what, .. } if *what == field)
}

#[tokio::test]
async fn tag_digest_and_descriptor_lead_to_the_same_bytes() {
    let (registry, stored) = with_image().await;
    let client = registry.client();
    let by_tag = client.manifest(&registry.tagged("t")).await.unwrap();
    let by_digest = client.manifest(&registry.repository.with_digest(stored.digest().clone())).await.unwrap();
    let described = client.manifest_of(&registry.repository, &stored.descriptor()).await.unwrap();
    for manifest in [&by_tag, &by_digest, &described] {
        assert_eq!(manifest.bytes(), stored.bytes());
        assert_eq!(manifest.digest(), stored.digest());
    }
    assert_eq!(client.head_manifest(&registry.tagged("t")).await.unwrap(), stored.descriptor());
    let config = client.image_config(&registry.repository, by_tag.image().unwrap()).await.unwrap();
    assert_eq!(config.platform.architecture, "amd64");
    for request in registry.server.requests().iter().filter(|r| r.path().contains("/manifests/")) {
        let accept = request.header("accept").unwrap();
        for media_type in [
            media_type::OCI_MANIFEST,
            media_type::OCI_INDEX,
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_LIST,
        ] {
            assert!(accept.contains(media_type), "{accept}");
        }
        assert_eq!(request.header("accept-encoding"), Some("identity"));
        assert_eq!(request.header("referer"), None);
    }
}

#[tokio::test]
async fn a_registry_without_head_is_asked_with_get() {
    let (registry, stored) = with_image().await;
    registry.fault(|r| (r.method == "HEAD").then(|| Response::error(405, "UNSUPPORTED")));
    let client = registry.client();
    assert_eq!(client.head_manifest(&registry.tagged("t")).await.unwrap(), stored.descriptor());
    assert_eq!(registry.server.count("GET"), 1);
}

#[tokio::test]
async fn bytes_other_than_the_ones_named_are_refused() {
    let (registry, stored) = with_image().await;
    let other = image(&Descriptor::of(media_type::OCI_CONFIG, b"other"), &[]).to_string();
    let client = registry.client();
    registry.fault(move |_| Some(Response::ok(media_type::OCI_MANIFEST, &other)));
    let by_digest = registry.repository.with_digest(stored.digest().clone());
    let error = client.manifest(&by_digest).await.unwrap_err();
    assert!(is_integrity(&error, "digest"), "{error}");
    let error = client.manifest_of(&registry.repository, &stored.descriptor()).await.unwrap_err();
    assert!(is_integrity(&error, "digest"), "{error}");
}

#[tokio::test]
async fn a_digest_header_that_lies_is_noticed() {
    let (registry, stored) = with_image().await;
    let body = stored.bytes().clone();
    registry.fault(move |r| {
        let lie = Digest::sha256_of(b"lie").to_string();
        let response = Response::ok(media_type::OCI_MANIFEST, &body);
        (r.method == "GET").then(|| response.with("docker-content-digest", lie))
    });
    let error = registry.client().manifest(&registry.tagged("t")).await.unwrap_err();
    assert!(is_integrity(&error, "digest"), "{error}");
}

#[tokio::test]
async fn descriptors_must_agree_in_size_and_media_type() {
    let (registry, stored) = with_image().await;
    let client = registry.client();
    let mut descriptor = stored.descriptor();
    descriptor.size += 1;
    let error = client.manifest_of(&registry.repository, &descriptor).await.unwrap_err();
    assert!(is_integrity(&error, "size"), "{error}");
    let mut descriptor = stored.descriptor();
    descriptor.media_type = media_type::OCI_INDEX.into();
    let error = client.manifest_of(&registry.repository, &descriptor).await.unwrap_err();
    assert!(is_integrity(&error, "media type"), "{error}");
    let mut config = stored.image().unwrap().config.clone();
    for size in [config.size - 1, config.size + 1] {
        config.size = size;
        assert!(client.small_blob(&registry.repository, &config).await.is_err(), "{size}");
    }
}

#[tokio::test]
async fn the_type_that_is_served_must_be_the_type_of_the_body() {
    let (registry, _) = with_image().await;
    let body = index(&[]).to_string();
    registry.fault(move |_| Some(Response::ok(media_type::OCI_MANIFEST, &body)));
    let error = registry.client().manifest(&registry.tagged("t")).await.unwrap_err();
    assert!(is_integrity(&error, "media type"), "{error}");
}

#[tokio::test]
async fn a_page_for_people_is_no_manifest() {
    let (registry, _) = with_image().await;
    registry.fault(|_| Some(Response::ok("text/html", "<html>log in</html>")));
    let error = registry.client().manifest(&registry.tagged("t")).await.unwrap_err();
    assert!(error.to_string().contains("text/html"), "{error}");
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
}

#[tokio::test]
async fn answers_above_the_limit_are_not_read() {
    let (registry, _) = with_image().await;
    let mut limits = Limits::default();
    limits.manifest = 1000;
    let client = registry.client_with(registry.options().with_limits(limits), referrers::Anonymous);
    registry.fault(|r| {
        let response = Response::ok(media_type::OCI_MANIFEST, vec![b' '; 1001]);
        Some(if r.path().ends_with("chunked") { response.chunked() } else { response })
    });
    for tag in ["sized", "chunked"] {
        let error = client.manifest(&registry.tagged(tag)).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Limit { limit: 1000, .. }), "{tag}: {error}");
    }
    let mut large = Descriptor::of(media_type::OCI_CONFIG, b"");
    large.size = 1 << 40;
    let before = registry.server.requests().len();
    let error = client.small_blob(&registry.repository, &large).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { .. }), "{error}");
    assert_eq!(registry.server.requests().len(), before);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_read_again() {
    let (registry, stored) = with_image().await;
    let (body, tries) = (stored.bytes().clone(), std::sync::atomic::AtomicUsize::new(0));
    registry.fault(move |_| {
        let first = tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        first.then(|| Response::ok(media_type::OCI_MANIFEST, &body).cut_at(body.len() / 2))
    });
    let manifest = registry.client().manifest(&registry.tagged("t")).await.unwrap();
    assert_eq!(manifest.digest(), stored.digest());
    assert_eq!(registry.server.requests().len(), 2);
}

#[tokio::test]
async fn an_encoded_answer_is_refused() {
    let (registry, stored) = with_image().await;
    let body = stored.bytes().clone();
    registry
        .fault(move |_| Some(Response::ok(media_type::OCI_MANIFEST, &body).with("content-encoding", "gzip")));
    let error = registry.client().manifest(&registry.tagged("t")).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn absence_names_what_is_absent() {
    let (registry, _) = with_image().await;
    let client = registry.client();
    let error = client.manifest(&registry.tagged("absent")).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NotFound { what: "manifest" });
    assert!(error.place().ends_with("/v2/a/b/manifests/absent"), "{error}");
    let blob = Descriptor::of(media_type::OCI_CONFIG, b"absent");
    let error = client.small_blob(&registry.repository, &blob).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NotFound { what: "blob" });
}
