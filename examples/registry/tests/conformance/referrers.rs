//! The Referrers API; the numbers are those of the checklist that the official suite amounts to.

use anyhow::{Context, Result, ensure};
use registry::Digest;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::target::{
    CONFIG, INDEX, MANIFEST, Target, checks, digest_of, error_code, expect, header, manifest_descriptor,
};

checks![
    r1_digest_nobody_pushed,
    r2_manifest_with_a_subject,
    r3_index_with_a_subject,
    r4_subject_that_does_not_exist,
    r5_listing_is_complete,
    r6_image_without_an_artifact_type,
    r7_tagged_and_untagged,
    r8_filter,
    r9_index_without_an_artifact_type,
    r10_content_type,
    r11_deleted_referrer,
    referrers_of_a_malformed_digest,
];

const A: &str = "application/vnd.example.a";
const B: &str = "application/vnd.example.b";

async fn listing(target: &Target, repository: &str, query: &str) -> Result<(Vec<Value>, bool)> {
    let response = target.get(&format!("/v2/{repository}/referrers/{query}")).await?;
    expect(&response, StatusCode::OK)?;
    let filtered = response
        .headers()
        .get("oci-filters-applied")
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|filter| filter.trim() == "artifactType"));
    let index: Value = serde_json::from_str(&response.text().await?)?;
    ensure!(index["schemaVersion"] == 2 && index["mediaType"] == INDEX, "not an OCI index");
    Ok((index["manifests"].as_array().context("no manifests")?.clone(), filtered))
}

async fn referrers(target: &Target, repository: &str, subject: &Digest) -> Result<Vec<Value>> {
    Ok(listing(target, repository, subject.as_str()).await?.0)
}

fn has(list: &[Value], manifest: &Value) -> Result<Value> {
    let digest = digest_of(manifest);
    let entry = list.iter().find(|entry| entry["digest"] == digest.as_str());
    entry.cloned().with_context(|| format!("{digest} is not listed"))
}

/// A subject, and an artifact that refers to it.
async fn pair(target: &Target, repository: &str) -> Result<(Digest, Value)> {
    let image = target.image(repository, repository).await?;
    let subject = target.push_manifest(repository, &image).await?;
    let mut artifact = target.artifact(repository, A).await?;
    artifact["subject"] = manifest_descriptor(&image);
    Ok((subject, artifact))
}

async fn r1_digest_nobody_pushed(target: &Target) -> Result<()> {
    ensure!(referrers(target, "referrers/r1", &Digest::sha256(b"nobody")).await?.is_empty());
    ensure!(referrers(target, "referrers/r1", &Digest::sha512(b"nobody")).await?.is_empty());
    Ok(())
}

async fn r2_manifest_with_a_subject(target: &Target) -> Result<()> {
    let (subject, artifact) = pair(target, "referrers/r2").await?;
    for reference in [digest_of(&artifact).as_str(), "tag"] {
        let response = target.put_manifest("referrers/r2", reference, &artifact).await?;
        expect(&response, StatusCode::CREATED)?;
        ensure!(header(&response, "oci-subject")? == subject.as_str());
    }
    Ok(())
}

async fn r3_index_with_a_subject(target: &Target) -> Result<()> {
    let (subject, artifact) = pair(target, "referrers/r3").await?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "artifactType": B,
        "manifests": [],
        "subject": artifact["subject"],
    });
    for reference in [digest_of(&index).as_str(), "tag"] {
        let response = target.put_manifest("referrers/r3", reference, &index).await?;
        expect(&response, StatusCode::CREATED)?;
        ensure!(header(&response, "oci-subject")? == subject.as_str());
    }
    let entry = has(&referrers(target, "referrers/r3", &subject).await?, &index)?;
    ensure!(entry["mediaType"] == INDEX && entry["artifactType"] == B);
    Ok(())
}

async fn r4_subject_that_does_not_exist(target: &Target) -> Result<()> {
    let missing = json!({ "mediaType": MANIFEST, "digest": Digest::sha256(b"missing").as_str(), "size": 7 });
    let mut artifact = target.artifact("referrers/r4", A).await?;
    artifact["subject"] = missing;
    let response = target.put_manifest("referrers/r4", digest_of(&artifact).as_str(), &artifact).await?;
    expect(&response, StatusCode::CREATED)?;
    ensure!(header(&response, "oci-subject")? == Digest::sha256(b"missing").as_str());
    let list = referrers(target, "referrers/r4", &Digest::sha256(b"missing")).await?;
    ensure!(list.len() == 1);
    has(&list, &artifact).map(drop)
}

async fn r5_listing_is_complete(target: &Target) -> Result<()> {
    let (subject, mut artifact) = pair(target, "referrers/r5").await?;
    let annotations = json!({ "org.example.a": "1", "org.example.b": "ä \"quoted\"" });
    artifact["annotations"] = annotations.clone();
    target.push_manifest("referrers/r5", &artifact).await?;
    let list = referrers(target, "referrers/r5", &subject).await?;
    ensure!(list.len() == 1);
    let entry = has(&list, &artifact)?;
    ensure!(entry["mediaType"] == MANIFEST);
    ensure!(entry["size"] == artifact.to_string().len());
    ensure!(entry["artifactType"] == A);
    ensure!(entry["annotations"] == annotations);
    Ok(())
}

async fn r6_image_without_an_artifact_type(target: &Target) -> Result<()> {
    let (subject, artifact) = pair(target, "referrers/r6").await?;
    let mut image = target.image("referrers/r6", "a referring image").await?;
    image["subject"] = artifact["subject"].clone();
    target.push_manifest("referrers/r6", &image).await?;
    let entry = has(&referrers(target, "referrers/r6", &subject).await?, &image)?;
    ensure!(entry["artifactType"] == CONFIG);
    Ok(())
}

async fn r7_tagged_and_untagged(target: &Target) -> Result<()> {
    let (subject, untagged) = pair(target, "referrers/r7").await?;
    let mut tagged = untagged.clone();
    tagged["artifactType"] = json!(B);
    target.push_manifest("referrers/r7", &untagged).await?;
    expect(&target.put_manifest("referrers/r7", "tag", &tagged).await?, StatusCode::CREATED)?;
    let list = referrers(target, "referrers/r7", &subject).await?;
    ensure!(list.len() == 2);
    has(&list, &untagged)?;
    has(&list, &tagged).map(drop)
}

/// A registry may ignore the filter, but not claim otherwise.
async fn r8_filter(target: &Target) -> Result<()> {
    let (subject, a) = pair(target, "referrers/r8").await?;
    let mut b = a.clone();
    b["artifactType"] = json!(B);
    for artifact in [&a, &b] {
        target.push_manifest("referrers/r8", artifact).await?;
    }
    for (artifact_type, artifact) in [(A, &a), (B, &b)] {
        let query = format!("{subject}?artifactType={artifact_type}");
        let (list, filtered) = listing(target, "referrers/r8", &query).await?;
        has(&list, artifact)?;
        ensure!(list.len() == if filtered { 1 } else { 2 });
    }
    Ok(())
}

async fn r9_index_without_an_artifact_type(target: &Target) -> Result<()> {
    let (subject, artifact) = pair(target, "referrers/r9").await?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [],
        "subject": artifact["subject"],
    });
    target.push_manifest("referrers/r9", &index).await?;
    let entry = has(&referrers(target, "referrers/r9", &subject).await?, &index)?;
    ensure!(entry.get("artifactType").is_none());
    Ok(())
}

async fn r10_content_type(target: &Target) -> Result<()> {
    let response = target.get(&format!("/v2/referrers/r10/referrers/{}", Digest::sha256(b"nobody"))).await?;
    expect(&response, StatusCode::OK)?;
    ensure!(header(&response, CONTENT_TYPE.as_str())? == INDEX);
    Ok(())
}

async fn r11_deleted_referrer(target: &Target) -> Result<()> {
    let (subject, artifact) = pair(target, "referrers/r11").await?;
    let digest = target.push_manifest("referrers/r11", &artifact).await?;
    ensure!(referrers(target, "referrers/r11", &subject).await?.len() == 1);
    expect(&target.delete(&format!("/v2/referrers/r11/manifests/{digest}")).await?, StatusCode::ACCEPTED)?;
    ensure!(referrers(target, "referrers/r11", &subject).await?.is_empty());
    Ok(())
}

async fn referrers_of_a_malformed_digest(target: &Target) -> Result<()> {
    let response = target.get("/v2/referrers/bad/referrers/sha256:xyz").await?;
    expect(&response, StatusCode::BAD_REQUEST)?;
    ensure!(error_code(response).await? == "DIGEST_INVALID");
    Ok(())
}
