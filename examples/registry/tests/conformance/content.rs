//! What may be pushed as a manifest, and that it comes back byte for byte.

use anyhow::{Result, ensure};
use registry::Digest;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::target::{
    CONFIG, EMPTY, INDEX, LAYER, MANIFEST, Target, checks, descriptor, digest_of, error_code, expect, header,
    manifest_descriptor,
};

checks![
    manifest_by_tag,
    manifest_by_digest,
    wrong_digest_in_the_reference,
    no_json,
    media_type_other_than_content_type,
    manifest_and_index_at_once,
    missing_layer,
    missing_child,
    large_manifest,
    too_large_manifest,
    nested_index,
    empty_index,
    artifact_without_layers,
    data_field,
    nondistributable_layer,
    unknown_fields_and_spaces,
    sha512_manifest,
];

/// Pushes bytes under a tag and has them come back under the tag and the digest.
async fn round_trip(target: &Target, repository: &str, media_type: &str, bytes: &[u8]) -> Result<()> {
    let digest = Digest::sha256(bytes);
    let response = target.put_manifest_bytes(repository, "round-trip", media_type, bytes.to_vec()).await?;
    accepted(response, &digest).await?;
    for reference in ["round-trip", digest.as_str()] {
        let response = target.get(&format!("/v2/{repository}/manifests/{reference}")).await?;
        expect(&response, StatusCode::OK)?;
        ensure!(header(&response, CONTENT_TYPE.as_str())? == media_type);
        ensure!(header(&response, "docker-content-digest")? == digest.as_str());
        ensure!(response.bytes().await? == bytes, "other bytes than were pushed");
    }
    Ok(())
}

async fn accepted(response: Response, digest: &Digest) -> Result<()> {
    if response.status() != StatusCode::CREATED {
        anyhow::bail!("PUT is {}: {}", response.status(), response.text().await?);
    }
    ensure!(header(&response, "docker-content-digest")? == digest.as_str());
    header(&response, "location").map(drop)
}

async fn refused(target: &Target, repository: &str, manifest: &Value, code: &str) -> Result<()> {
    let response = target.put_manifest(repository, "refused", manifest).await?;
    ensure!(matches!(response.status().as_u16(), 400 | 404), "PUT is {}", response.status());
    let found = error_code(response).await?;
    ensure!(found == code, "{found}");
    expect(&target.get(&format!("/v2/{repository}/manifests/refused")).await?, StatusCode::NOT_FOUND)
}

async fn manifest_by_tag(target: &Target) -> Result<()> {
    let image = target.image("content/by-tag", "by tag").await?;
    round_trip(target, "content/by-tag", MANIFEST, image.to_string().as_bytes()).await
}

async fn manifest_by_digest(target: &Target) -> Result<()> {
    let image = target.image("content/by-digest", "by digest").await?;
    let digest = digest_of(&image);
    accepted(target.put_manifest("content/by-digest", digest.as_str(), &image).await?, &digest).await?;
    let response = target.get(&format!("/v2/content/by-digest/manifests/{digest}")).await?;
    ensure!(response.bytes().await? == image.to_string());
    Ok(())
}

async fn wrong_digest_in_the_reference(target: &Target) -> Result<()> {
    let image = target.image("content/wrong-digest", "wrong digest").await?;
    let other = Digest::sha256(b"other");
    let response = target.put_manifest("content/wrong-digest", other.as_str(), &image).await?;
    expect(&response, StatusCode::BAD_REQUEST)?;
    ensure!(error_code(response).await? == "DIGEST_INVALID");
    Ok(())
}

async fn no_json(target: &Target) -> Result<()> {
    let response =
        target.put_manifest_bytes("content/no-json", "t", MANIFEST, b"{\"schemaVersion\":".to_vec()).await?;
    expect(&response, StatusCode::BAD_REQUEST)?;
    ensure!(error_code(response).await? == "MANIFEST_INVALID");
    Ok(())
}

async fn media_type_other_than_content_type(target: &Target) -> Result<()> {
    let image = target.image("content/type", "type").await?;
    let response = target.put_manifest_bytes("content/type", "t", INDEX, image.to_string().into()).await?;
    expect(&response, StatusCode::BAD_REQUEST)
}

async fn manifest_and_index_at_once(target: &Target) -> Result<()> {
    let mut confused = target.image("content/confused", "confused").await?;
    confused["manifests"] = json!([]);
    refused(target, "content/confused", &confused, "MANIFEST_INVALID").await
}

async fn missing_layer(target: &Target) -> Result<()> {
    let mut image = target.image("content/missing-layer", "missing layer").await?;
    image["layers"] = json!([descriptor(LAYER, b"never pushed")]);
    refused(target, "content/missing-layer", &image, "MANIFEST_BLOB_UNKNOWN").await
}

async fn missing_child(target: &Target) -> Result<()> {
    let child = descriptor(MANIFEST, b"never pushed");
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [child] });
    refused(target, "content/missing-child", &index, "MANIFEST_BLOB_UNKNOWN").await
}

async fn large_manifest(target: &Target) -> Result<()> {
    let mut image = target.image("content/large", "large").await?;
    image["annotations"] = json!({ "padding": "x".repeat(3_900_000) });
    round_trip(target, "content/large", MANIFEST, image.to_string().as_bytes()).await
}

async fn too_large_manifest(target: &Target) -> Result<()> {
    let mut image = target.image("content/too-large", "too large").await?;
    image["annotations"] = json!({ "padding": "x".repeat(4 << 20) });
    expect(&target.put_manifest("content/too-large", "t", &image).await?, StatusCode::PAYLOAD_TOO_LARGE)
}

async fn nested_index(target: &Target) -> Result<()> {
    let image = target.image("content/nested", "nested").await?;
    target.push_manifest("content/nested", &image).await?;
    let inner = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest_descriptor(&image)] });
    target.push_manifest("content/nested", &inner).await?;
    let outer = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest_descriptor(&inner)] });
    round_trip(target, "content/nested", INDEX, outer.to_string().as_bytes()).await
}

async fn empty_index(target: &Target) -> Result<()> {
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] });
    round_trip(target, "content/empty", INDEX, index.to_string().as_bytes()).await
}

async fn artifact_without_layers(target: &Target) -> Result<()> {
    let mut artifact = target.artifact("content/artifact", "application/vnd.example.a").await?;
    artifact["layers"] = json!([]);
    round_trip(target, "content/artifact", MANIFEST, artifact.to_string().as_bytes()).await
}

async fn data_field(target: &Target) -> Result<()> {
    let mut artifact = target.artifact("content/data", "application/vnd.example.a").await?;
    artifact["config"] = descriptor(EMPTY, b"{}");
    artifact["config"]["data"] = json!("e30=");
    round_trip(target, "content/data", MANIFEST, artifact.to_string().as_bytes()).await
}

async fn nondistributable_layer(target: &Target) -> Result<()> {
    let mut image = target.image("content/foreign", "foreign").await?;
    let mut foreign =
        descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", b"elsewhere");
    foreign["urls"] = json!(["https://example.com/layer"]);
    image["layers"] = json!([foreign]);
    round_trip(target, "content/foreign", MANIFEST, image.to_string().as_bytes()).await
}

async fn unknown_fields_and_spaces(target: &Target) -> Result<()> {
    target.push_blob("content/exact", b"{}").await?;
    let text = format!(
        "{{ \"unknown\" : [ 1, {{\"x\":null}} ],\n\t\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\n \"config\": {},\"layers\":[]}}\n",
        descriptor(CONFIG, b"{}")
    );
    round_trip(target, "content/exact", MANIFEST, text.as_bytes()).await
}

async fn sha512_manifest(target: &Target) -> Result<()> {
    let image = target.image("content/sha512", "sha512").await?;
    let digest = Digest::sha512(image.to_string().as_bytes());
    accepted(target.put_manifest("content/sha512", digest.as_str(), &image).await?, &digest).await?;
    let response = target.get(&format!("/v2/content/sha512/manifests/{digest}")).await?;
    expect(&response, StatusCode::OK)?;
    ensure!(response.bytes().await? == image.to_string());
    Ok(())
}
