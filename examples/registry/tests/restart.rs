//! What the directory store keeps when the server starts again.

use registry::{Digest, Fault, Registry, Server, Store};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

async fn get(server: &Server, path: &str) -> Value {
    let response = reqwest::get(format!("{}{path}", server.url())).await.unwrap();
    assert_eq!(response.status().as_u16(), 200, "{path}");
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

fn artifact(subject: &Digest) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "a/a",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": Digest::sha256(b"{}").as_str(),
            "size": 2,
        },
        "layers": [],
        "subject": { "mediaType": MANIFEST, "digest": subject.as_str(), "size": 1 },
    })
}

/// A registry without the Referrers API is upgraded: what a fallback tag lists is in the listing. It is
/// also read without a push before, as the official suite does in its read-only mode (R12).
#[tokio::test]
async fn fallback_tags_are_imported() {
    let root = tempfile::tempdir().unwrap();
    let subject = Digest::sha256(b"a subject from elsewhere");
    let old = Registry::builder().store(Store::dir(root.path()).unwrap()).fault(Fault::ReferrersOff);
    let old = old.serve().await.unwrap();
    old.put_blob("a/b", "{}".into()).unwrap();
    let artifact = artifact(&subject).to_string();
    let digest = old.put_manifest("a/b", None, artifact.clone().into()).unwrap();
    let entry = json!({ "mediaType": MANIFEST, "digest": digest.as_str(), "size": artifact.len() });
    let fallback = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] }).to_string();
    let tag = subject.as_str().replace(':', "-");
    old.put_manifest("a/b", Some(&tag), fallback.into()).unwrap();
    old.shutdown().await;

    let new = Registry::builder().store(Store::dir(root.path()).unwrap()).serve().await.unwrap();
    let listing = get(&new, &format!("/v2/a/b/referrers/{subject}")).await;
    assert_eq!(listing["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(listing["manifests"][0]["digest"], digest.as_str());
    assert_eq!(listing["manifests"][0]["artifactType"], "a/a");
    assert_eq!(get(&new, "/v2/a/b/tags/list").await["tags"], json!([tag]));
}

#[tokio::test]
async fn blobs_tags_and_deletions_survive() {
    let root = tempfile::tempdir().unwrap();
    let subject = Digest::sha256(b"subject");
    let first = Registry::builder().store(Store::dir(root.path()).unwrap()).serve().await.unwrap();
    first.put_blob("a", "{}".into()).unwrap();
    let text = artifact(&subject).to_string();
    let digest = first.put_manifest("a", Some("gone"), text.clone().into()).unwrap();
    let path = format!("/v2/a/manifests/{digest}");
    reqwest::Client::new().delete(format!("{}{path}", first.url())).send().await.unwrap();
    first.put_manifest("b", Some("t"), text.clone().into()).unwrap_err();
    first.shutdown().await;

    let second = Registry::builder().store(Store::dir(root.path()).unwrap()).serve().await.unwrap();
    assert_eq!(get(&second, &format!("/v2/a/blobs/{}", Digest::sha256(b"{}"))).await, json!({}));
    assert_eq!(get(&second, "/v2/a/tags/list").await["tags"], json!([]));
    assert_eq!(get(&second, &format!("/v2/a/referrers/{subject}")).await["manifests"], json!([]));
}

#[tokio::test]
async fn a_manifest_that_was_changed_on_disk_is_named() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::dir(root.path()).unwrap();
    let server = Registry::builder().store(store.clone()).serve().await.unwrap();
    server.put_blob("a", "{}".into()).unwrap();
    let digest = server.put_manifest("a", None, artifact(&Digest::sha256(b"")).to_string().into()).unwrap();
    server.shutdown().await;
    let file = root.path().join("repositories/a/_manifests/sha256").join(&digest.as_str()[7..]);
    std::fs::write(file, "{}").unwrap();
    let error = Registry::builder().store(store).serve().await.unwrap_err();
    assert!(error.to_string().contains(digest.as_str()), "{error}");
}
