//! Listing referrers: every answer that a registry may give to the Referrers API, and the fallback tag.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::collections::BTreeSet;

use referrers::{
    ApiSupport, Descriptor, Digest, Error, ErrorKind, Limits, Listing, Manifest, fallback_tag, media_type,
};

use registry::{TestRegistry, image, index, referrer};
use server::{Request, Response};

const TYPE: &str = "application/vnd.example.a";
const OTHER: &str = "application/vnd.example.b";

/// A registry with a subject and two referrers of different types.
async fn scene() -> (TestRegistry, Manifest) {
    let registry = TestRegistry::start().await;
    let config = registry.put_blob(media_type::OCI_CONFIG, b"{}");
    let subject = registry.put(Some("t"), media_type::OCI_MANIFEST, &image(&config, &[]));
    for (artifact_type, note) in [(TYPE, "1"), (OTHER, "2")] {
        registry.put(None, media_type::OCI_MANIFEST, &referrer(&subject.descriptor(), artifact_type, note));
    }
    (registry, subject)
}

async fn list(registry: &TestRegistry, subject: &Manifest) -> Result<Listing, Error> {
    registry.client().referrers(&registry.repository, subject.digest(), None).await
}

fn notes(listing: &Listing) -> BTreeSet<&str> {
    listing.referrers.iter().filter_map(|entry| entry.annotation("note")).collect()
}

fn entry(n: usize) -> Descriptor {
    let mut entry = Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256_of(&n.to_le_bytes()), 1);
    entry.artifact_type = Some(TYPE.into());
    entry
}

fn is_api(request: &Request) -> bool {
    request.path().contains("/referrers/")
}

#[tokio::test]
async fn the_api_gives_type_and_annotations() {
    let (registry, subject) = scene().await;
    let listing = list(&registry, &subject).await.unwrap();
    assert_eq!(listing.api, ApiSupport::Supported);
    assert_eq!(notes(&listing), BTreeSet::from(["1", "2"]));
    let types: BTreeSet<_> =
        listing.referrers.iter().map(|entry| entry.artifact_type.as_deref().unwrap()).collect();
    assert_eq!(types, BTreeSet::from([TYPE, OTHER]));
    assert_eq!(registry.server.requests().len(), 1);
}

#[tokio::test]
async fn a_subject_that_nobody_refers_to_has_an_empty_list() {
    let (registry, _) = scene().await;
    let absent = Digest::sha256_of(b"absent");
    let listing = registry.client().referrers(&registry.repository, &absent, None).await.unwrap();
    assert_eq!((listing.api, listing.referrers.len()), (ApiSupport::Supported, 0));
}

#[tokio::test]
async fn the_filter_is_applied_here_whatever_the_registry_claims() {
    let (registry, subject) = scene().await;
    for claim in ["", "artifactType", " artifactType , other"] {
        let body = index(&[entry(1), {
            let mut other = entry(2);
            other.artifact_type = Some(OTHER.into());
            other
        }]);
        registry.fault(move |r| {
            is_api(r).then(|| {
                Response::ok(media_type::OCI_INDEX, body.to_string()).with("oci-filters-applied", claim)
            })
        });
        let listing =
            registry.client().referrers(&registry.repository, subject.digest(), Some(TYPE)).await.unwrap();
        assert_eq!(listing.referrers, [entry(1)], "{claim}");
    }
    let asked = registry.server.requests();
    assert!(asked.iter().all(|r| r.query("artifactType").as_deref() == Some(TYPE)), "{asked:?}");
}

#[tokio::test]
async fn without_the_api_the_fallback_tag_is_read() {
    let html = || Response::ok("text/html", "<html>welcome</html>");
    let json = || Response::ok("application/json", "{}");
    let answers = [400, 404, 405, 406, 501].map(Response::new);
    for (n, answer) in answers.into_iter().chain([html(), json()]).enumerate() {
        let (registry, subject) = scene().await;
        registry.put(Some(&fallback_tag(subject.digest())), media_type::OCI_INDEX, &index(&[entry(7)]));
        registry.fault(move |r| is_api(r).then(|| answer.clone()));
        let listing = list(&registry, &subject).await.unwrap();
        assert_eq!(listing.api, ApiSupport::Unsupported, "answer {n}");
        assert_eq!(listing.referrers, [entry(7)], "answer {n}");
    }
}

#[tokio::test]
async fn an_absent_fallback_tag_is_an_empty_list() {
    let (registry, subject) = scene().await;
    let registry = registry.without_api();
    let listing = list(&registry, &subject).await.unwrap();
    assert_eq!((listing.api, listing.referrers.len()), (ApiSupport::Unsupported, 0));
    assert_eq!(registry.server.count(&fallback_tag(subject.digest())), 1);
}

#[tokio::test]
async fn an_unknown_repository_says_nothing_of_the_api() {
    let (registry, subject) = scene().await;
    registry.fault(|r| is_api(r).then(|| Response::error(404, "NAME_UNKNOWN")));
    let listing = list(&registry, &subject).await.unwrap();
    assert_eq!(listing.api, ApiSupport::Unknown);
    assert_eq!(registry.server.count(&fallback_tag(subject.digest())), 1);
}

#[tokio::test]
async fn a_refusal_or_a_failure_is_never_an_empty_list() {
    let check = async |status: u16, transient: bool, at_fallback: bool| {
        let (registry, subject) = scene().await;
        let registry = if at_fallback { registry.without_api() } else { registry };
        registry.fault(move |r| (is_api(r) != at_fallback).then(|| Response::new(status)));
        let error = list(&registry, &subject).await.unwrap_err();
        assert_eq!(error.is_transient(), transient, "{status} {at_fallback}: {error}");
    };
    let answers = [(401, false), (403, false), (429, true), (500, true), (503, true), (418, false)];
    let cases = answers.into_iter().flat_map(|(status, transient)| {
        [false, true].map(|at_fallback| check(status, transient, at_fallback))
    });
    futures::future::join_all(cases).await;
}

#[tokio::test]
async fn pages_are_followed_also_over_empty_ones() {
    let (registry, subject) = scene().await;
    registry.fault(|r| {
        let (manifests, link) = match r.query("page").as_deref() {
            None => (vec![entry(1)], Some(r#"</v2/x?page=0>; rel="prev", <?page=2>; rel="next""#)),
            Some("2") => (vec![], Some("<?page=3>; rel=next")),
            Some("3") => (vec![entry(2), entry(1)], None),
            _ => return None,
        };
        let page = Response::ok(media_type::OCI_INDEX, index(&manifests).to_string());
        is_api(r).then(|| link.map_or(page.clone(), |link| page.with("link", link)))
    });
    let listing = list(&registry, &subject).await.unwrap();
    assert_eq!(listing.referrers, [entry(1), entry(2), entry(1)]);
}

#[tokio::test]
async fn a_page_that_fails_fails_the_list() {
    let not_index = Response::ok("text/html", "<html>");
    let no_json = Response::ok(media_type::OCI_INDEX, "{");
    for answer in [Response::new(404), Response::new(400), Response::new(503), not_index, no_json] {
        let (registry, subject) = scene().await;
        registry.fault(move |r| {
            let first = Response::ok(media_type::OCI_INDEX, index(&[entry(1)]).to_string());
            let first = first.with("link", "<?page=2>; rel=next");
            is_api(r).then(|| if r.query("page").is_some() { answer.clone() } else { first })
        });
        list(&registry, &subject).await.unwrap_err();
        assert_eq!(registry.server.count("/manifests/"), 0, "no fallback after a first page");
    }
}

#[tokio::test]
async fn pages_that_do_not_end_are_stopped() {
    let (registry, subject) = scene().await;
    registry.fault(|r| {
        let page: u64 = r.query("page").map_or(0, |page| page.parse().unwrap());
        let next = if r.query("loop").is_some() { (page + 1) % 3 } else { page + 1 };
        let link = format!("<?page={next}>; rel=next");
        is_api(r).then(|| Response::ok(media_type::OCI_INDEX, index(&[]).to_string()).with("link", link))
    });
    let error = list(&registry, &subject).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { limit: 16, .. }), "{error}");
    assert_eq!(registry.server.requests().len(), 16);
}

#[tokio::test]
async fn a_link_to_a_page_already_read_is_an_error() {
    let (registry, subject) = scene().await;
    registry.fault(|r| {
        let next = if r.query("page").as_deref() == Some("1") { "2" } else { "1" };
        let link = format!("<?page={next}>; rel=next");
        is_api(r).then(|| Response::ok(media_type::OCI_INDEX, index(&[]).to_string()).with("link", link))
    });
    let error = list(&registry, &subject).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Protocol { .. }), "{error}");
    assert_eq!(registry.server.requests().len(), 3);
}

#[tokio::test]
async fn too_many_entries_or_bytes_are_an_error() {
    let (registry, subject) = scene().await;
    let many: Vec<_> = (0..4097).map(entry).collect();
    registry.fault(move |r| is_api(r).then(|| Response::ok(media_type::OCI_INDEX, index(&many).to_string())));
    let error = list(&registry, &subject).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { limit: 4096, .. }), "{error}");

    let mut limits = Limits::default();
    limits.referrers_page = 100;
    let client = registry.client_with(registry.options().with_limits(limits), referrers::Anonymous);
    let error = client.referrers(&registry.repository, subject.digest(), None).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { limit: 100, .. }), "{error}");
}

#[tokio::test]
async fn what_stands_at_the_fallback_tag_need_not_be_a_list_of_referrers() {
    // One registry answers the tag with the subject itself; here an index, whose children would be taken.
    let registry = TestRegistry::start().await.without_api();
    let subject = registry.put(Some("t"), media_type::OCI_INDEX, &index(&[entry(1)]));
    let bytes = String::from_utf8(subject.bytes().to_vec()).unwrap();
    let tag = fallback_tag(subject.digest());
    let mut with_subject = index(&[entry(1)]);
    with_subject["subject"] = serde_json::json!(subject.descriptor());
    let docker = index(&[entry(1)]).to_string().replace(media_type::OCI_INDEX, media_type::DOCKER_LIST);
    let image = image(&entry(1), &[]).to_string();
    for (media_type, body, why) in [
        (media_type::OCI_INDEX, bytes, "the subject itself"),
        (media_type::OCI_INDEX, with_subject.to_string(), "a subject of its own"),
        (media_type::DOCKER_LIST, docker, "not an OCI index"),
        (media_type::OCI_MANIFEST, image, "not an OCI index"),
        (media_type::OCI_INDEX, "{".to_owned(), "not the JSON"),
    ] {
        let stored = (media_type.to_owned(), body.into_bytes());
        registry.contents.lock().unwrap().manifests.insert(tag.clone(), stored);
        let listing = list(&registry, &subject).await.unwrap();
        assert_eq!(listing.referrers, [], "{why}");
        assert!(listing.ignored.as_ref().unwrap().contains(why), "{:?}", listing.ignored);
    }
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_counted() {
    let (registry, subject) = scene().await;
    let mut body = index(&[entry(1), entry(2)]);
    body["manifests"][0]["digest"] = "blake3:00".into();
    registry.fault(move |r| is_api(r).then(|| Response::ok(media_type::OCI_INDEX, body.to_string())));
    let listing = list(&registry, &subject).await.unwrap();
    assert_eq!((listing.referrers, listing.skipped), (vec![entry(2)], 1));
}
