//! Each fault switch shows its fault, and nothing of it when it is off.

use std::time::Duration;

use registry::{Digest, Fault, PageLink, Registry, Server};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_MATCH, LINK, RANGE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const BLOB: &[u8] = b"0123456789";

/// A server with a blob, an image tagged `base`, and three referrers of it, two of type `b/b`.
struct Bench {
    server: Server,
    client: Client,
    subject: Digest,
}

impl Bench {
    async fn new() -> Self {
        let server = Registry::builder().serve().await.unwrap();
        server.put_blob("a", BLOB.into()).unwrap();
        server.put_blob("a", "{}".into()).unwrap();
        let subject = server.put_manifest("a", Some("base"), manifest().to_string().into()).unwrap();
        for (artifact_type, number) in [("a/a", "1"), ("b/b", "2"), ("b/b", "3")] {
            let mut artifact = manifest();
            artifact["artifactType"] = json!(artifact_type);
            artifact["annotations"] = json!({ "number": number });
            artifact["subject"] = json!({ "mediaType": MANIFEST, "digest": subject.as_str(), "size": 1 });
            server.put_manifest("a", None, artifact.to_string().into()).unwrap();
        }
        Self { server, client: Client::new(), subject }
    }

    fn switch(&self, fault: Fault) {
        self.server.faults().clear();
        self.server.faults().add(fault);
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.server.url())).send().await.unwrap()
    }

    async fn range(&self, range: &str) -> Response {
        let url = format!("{}{}", self.server.url(), self.blob());
        self.client.get(url).header(RANGE, range).send().await.unwrap()
    }

    fn blob(&self) -> String {
        format!("/v2/a/blobs/{}", Digest::sha256(BLOB))
    }

    fn referrers(&self) -> String {
        format!("/v2/a/referrers/{}", self.subject)
    }

    /// A page of referrers: how many, whether the filter is said to be applied, the next page.
    async fn page(&self, path: &str) -> (usize, bool, Option<String>) {
        let response = self.get(path).await;
        let filtered = response.headers().contains_key("oci-filters-applied");
        let next = response.headers().get(LINK).map(|link| {
            let link = link.to_str().unwrap();
            link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned()
        });
        let index: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        (index["manifests"].as_array().unwrap().len(), filtered, next)
    }
}

fn manifest() -> Value {
    let config = json!({ "mediaType": EMPTY, "digest": Digest::sha256(b"{}").as_str(), "size": 2 });
    json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [] })
}

#[tokio::test]
async fn without_referrers_there_is_a_text_and_no_subject() {
    let bench = Bench::new().await;
    let push = async || {
        let mut artifact = manifest();
        artifact["subject"] = json!({ "mediaType": MANIFEST, "digest": bench.subject.as_str(), "size": 1 });
        let url = format!("{}/v2/a/manifests/t", bench.server.url());
        let request = bench.client.put(url).header(CONTENT_TYPE, MANIFEST).body(artifact.to_string());
        request.send().await.unwrap().headers().contains_key("oci-subject")
    };
    bench.switch(Fault::ReferrersOff);
    let response = bench.get(&bench.referrers()).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(response.headers()[CONTENT_TYPE].to_str().unwrap().starts_with("text/plain"));
    assert!(!push().await);
    bench.server.faults().remove(&Fault::ReferrersOff);
    assert_eq!(bench.page(&bench.referrers()).await.0, 4);
    assert!(push().await);
}

#[tokio::test]
async fn the_filter_is_ignored_honestly_or_not() {
    let bench = Bench::new().await;
    let filtered = format!("{}?artifactType=b/b", bench.referrers());
    assert_eq!(bench.page(&filtered).await, (2, true, None));
    bench.switch(Fault::FilterIgnored);
    assert_eq!(bench.page(&filtered).await, (3, false, None));
    bench.switch(Fault::FilterLies);
    assert_eq!(bench.page(&filtered).await, (3, true, None));
}

#[tokio::test]
async fn pages_add_up_and_keep_the_filter() {
    let bench = Bench::new().await;
    bench.switch(Fault::PageSize(1));
    for (query, pages) in [("", 3), ("?artifactType=b/b", 2)] {
        let mut next = Some(format!("{}{query}", bench.referrers()));
        let mut seen = 0;
        while let Some(path) = next {
            let (count, _, link) = bench.page(&path).await;
            assert_eq!(count, 1);
            seen += count;
            next = link;
        }
        assert_eq!(seen, pages);
    }
}

#[tokio::test]
async fn the_link_of_a_page_is_spelled_as_asked() {
    let bench = Bench::new().await;
    let first = format!("{}?artifactType=b/b", bench.referrers());
    for (spelling, start) in [
        (PageLink::Absolute, format!("{}{first}&last=", bench.server.url()).replace("b/b", "b%2Fb")),
        (PageLink::ForeignHost, format!("http://foreign.invalid{first}&last=").replace("b/b", "b%2Fb")),
        (PageLink::Loop, first.clone()),
    ] {
        bench.switch(Fault::PageSize(1));
        bench.server.faults().add(Fault::PageLink(spelling));
        let next = bench.page(&first).await.2.unwrap();
        assert!(next.starts_with(&start), "{next}");
        assert_eq!(next == first, spelling == PageLink::Loop);
    }
}

#[tokio::test]
async fn a_fallback_tag_names_the_subject_itself() {
    let bench = Bench::new().await;
    let path = format!("/v2/a/manifests/{}", bench.subject.as_str().replace(':', "-"));
    assert_eq!(bench.get(&path).await.status(), StatusCode::NOT_FOUND);
    bench.switch(Fault::SubjectAlias);
    assert_eq!(bench.get(&path).await.text().await.unwrap(), manifest().to_string());
}

#[tokio::test]
async fn an_html_page_takes_the_place_of_an_answer() {
    let bench = Bench::new().await;
    bench.server.faults().add(Fault::Html.on("/referrers/"));
    let response = bench.get(&bench.referrers()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers()[CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
    assert_eq!(bench.get(&bench.blob()).await.bytes().await.unwrap(), BLOB);
}

#[tokio::test]
async fn a_status_lasts_as_often_as_asked() {
    let bench = Bench::new().await;
    bench.server.faults().add(Fault::Status(503).times(2));
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(bench.get(&bench.blob()).await.status().as_u16());
    }
    assert_eq!(seen, [503, 503, 200]);
}

#[tokio::test]
async fn too_many_requests_tells_when_to_come_back_or_not() {
    let bench = Bench::new().await;
    for retry_after in [None, Some("7"), Some("Wed, 21 Oct 2026 07:28:00 GMT")] {
        bench.switch(Fault::TooManyRequests { retry_after: retry_after.map(str::to_owned) });
        let response = bench.get("/v2/").await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        let told = response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap());
        assert_eq!(told, retry_after);
    }
}

#[tokio::test]
async fn a_bit_is_flipped_at_its_place_in_the_answer() {
    let bench = Bench::new().await;
    bench.switch(Fault::BitFlip { at: 2 });
    assert_eq!(bench.get(&bench.blob()).await.text().await.unwrap(), "0133456789");
    assert_eq!(bench.range("bytes=4-8").await.text().await.unwrap(), "45778");
    assert_eq!(bench.range("bytes=0-1").await.text().await.unwrap(), "01");
}

/// The bytes that arrive before the answer breaks off.
async fn before_the_end(mut response: Response) -> (Vec<u8>, bool) {
    let mut got = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => got.extend_from_slice(&chunk),
            Ok(None) => return (got, true),
            Err(_) => return (got, false),
        }
    }
}

#[tokio::test]
async fn a_cut_lets_exactly_so_many_bytes_through() {
    let bench = Bench::new().await;
    for at in 0..BLOB.len() {
        bench.switch(Fault::Cut { at: at as u64 });
        let (got, complete) = before_the_end(bench.get(&bench.blob()).await).await;
        assert!(!complete);
        assert_eq!(got, BLOB[..at]);
    }
    bench.switch(Fault::Cut { at: 10 });
    assert!(before_the_end(bench.get(&bench.blob()).await).await.1);
    assert_eq!(bench.server.log().iter().map(|request| request.body_bytes).sum::<u64>(), 45 + 10);
}

#[tokio::test]
async fn a_large_answer_is_cut_at_its_byte() {
    let bench = Bench::new().await;
    let blob = vec![7; 5_000_000];
    let digest = bench.server.put_blob("a", blob.into()).unwrap();
    bench.switch(Fault::Cut { at: 4_321_987 });
    let (got, complete) = before_the_end(bench.get(&format!("/v2/a/blobs/{digest}")).await).await;
    assert!(!complete);
    assert_eq!(got.len(), 4_321_987);
}

#[tokio::test]
async fn a_stall_keeps_the_connection_open() {
    let bench = Bench::new().await;
    bench.switch(Fault::Stall { at: 3 });
    let mut response = bench.get(&bench.blob()).await;
    assert_eq!(response.chunk().await.unwrap().unwrap(), "012");
    // Only a clock can tell a stall from a pause. Nothing else is waited for, so it may be virtual.
    tokio::time::pause();
    let more = tokio::time::timeout(Duration::from_secs(60), response.chunk()).await;
    assert!(more.is_err(), "the answer went on");
}

#[tokio::test]
async fn ranges_are_ignored() {
    let bench = Bench::new().await;
    bench.switch(Fault::RangeIgnored);
    let response = bench.range("bytes=2-4").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.bytes().await.unwrap(), BLOB);
}

#[tokio::test]
async fn a_partial_answer_lies_about_its_place() {
    let bench = Bench::new().await;
    bench.switch(Fault::WrongContentRange);
    let response = bench.range("bytes=2-4").await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(response.headers()[CONTENT_RANGE], "bytes 3-5/10");
    assert_eq!(response.bytes().await.unwrap(), "234");
}

#[tokio::test]
async fn a_416_promises_the_whole_blob() {
    let bench = Bench::new().await;
    let digest = bench.server.put_blob("a", vec![0; 1000].into()).unwrap();
    let url = format!("{}/v2/a/blobs/{digest}", bench.server.url());
    let get = async || bench.client.get(&url).header(RANGE, "bytes=1000-").send().await.unwrap();
    assert!(before_the_end(get().await).await.1);
    bench.switch(Fault::LongNotSatisfiable);
    let response = get().await;
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(response.headers()[CONTENT_LENGTH], "1000");
    let (got, complete) = before_the_end(response).await;
    assert!(!complete);
    assert!(got.len() < 100);
}

#[tokio::test]
async fn the_digest_header_lies() {
    let bench = Bench::new().await;
    let told = async |path: &str| {
        bench.get(path).await.headers()["docker-content-digest"].to_str().unwrap().to_owned()
    };
    assert_eq!(told("/v2/a/manifests/base").await, bench.subject.as_str());
    bench.switch(Fault::LyingDigest);
    assert_ne!(told("/v2/a/manifests/base").await, bench.subject.as_str());
    assert_ne!(told(&bench.blob()).await, Digest::sha256(BLOB).as_str());
}

#[tokio::test]
async fn a_lost_update_goes_unnoticed() {
    let bench = Bench::new().await;
    let put = async || {
        let url = format!("{}/v2/a/manifests/base", bench.server.url());
        let request = bench.client.put(url).header(CONTENT_TYPE, MANIFEST).header(IF_MATCH, "\"stale\"");
        request.body(manifest().to_string()).send().await.unwrap().status()
    };
    assert_eq!(put().await, StatusCode::PRECONDITION_FAILED);
    bench.switch(Fault::IfMatchIgnored);
    assert_eq!(put().await, StatusCode::CREATED);
}
