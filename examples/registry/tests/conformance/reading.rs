//! Reading blobs and manifests: absence, HEAD, ranges, conditions.

use anyhow::{Result, ensure};
use registry::Digest;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName, IF_NONE_MATCH, IF_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};

use crate::target::{Target, checks, error_code, expect, header};

checks![
    missing_blob,
    missing_manifest,
    manifest_with_a_malformed_digest,
    head_of_a_blob,
    head_of_a_manifest,
    ranges,
    range_outside,
    several_ranges,
    range_if_unchanged,
    blob_not_modified,
    manifest_not_modified,
];

const REPOSITORY: &str = "reading/a";

async fn missing_blob(target: &Target) -> Result<()> {
    let path = format!("/v2/{REPOSITORY}/blobs/{}", Digest::sha256(b"never pushed"));
    let response = target.get(&path).await?;
    expect(&response, StatusCode::NOT_FOUND)?;
    ensure!(error_code(response).await? == "BLOB_UNKNOWN");
    expect(&target.head(&path).await?, StatusCode::NOT_FOUND)
}

async fn missing_manifest(target: &Target) -> Result<()> {
    for reference in ["never-pushed", Digest::sha256(b"never pushed").as_str()] {
        let path = format!("/v2/{REPOSITORY}/manifests/{reference}");
        let response = target.get(&path).await?;
        expect(&response, StatusCode::NOT_FOUND)?;
        ensure!(error_code(response).await? == "MANIFEST_UNKNOWN");
        expect(&target.head(&path).await?, StatusCode::NOT_FOUND)?;
    }
    Ok(())
}

async fn manifest_with_a_malformed_digest(target: &Target) -> Result<()> {
    let response = target.get(&format!("/v2/{REPOSITORY}/manifests/sha256:xyz")).await?;
    expect(&response, StatusCode::BAD_REQUEST)?;
    ensure!(error_code(response).await? == "DIGEST_INVALID");
    Ok(())
}

async fn blob(target: &Target) -> Result<String> {
    let digest = target.push_blob(REPOSITORY, b"0123456789").await?;
    Ok(format!("/v2/{REPOSITORY}/blobs/{digest}"))
}

async fn head_of_a_blob(target: &Target) -> Result<()> {
    let response = target.head(&blob(target).await?).await?;
    expect(&response, StatusCode::OK)?;
    ensure!(header(&response, CONTENT_LENGTH.as_str())? == "10");
    ensure!(header(&response, "docker-content-digest")? == Digest::sha256(b"0123456789").as_str());
    Ok(())
}

async fn head_of_a_manifest(target: &Target) -> Result<()> {
    let image = target.image(REPOSITORY, "head").await?;
    expect(&target.put_manifest(REPOSITORY, "head", &image).await?, StatusCode::CREATED)?;
    let response = target.head(&format!("/v2/{REPOSITORY}/manifests/head")).await?;
    expect(&response, StatusCode::OK)?;
    ensure!(header(&response, CONTENT_LENGTH.as_str())? == image.to_string().len().to_string());
    Ok(())
}

async fn ranged(target: &Target, path: &str, headers: &[(HeaderName, &str)]) -> Result<Response> {
    let mut request = target.request(Method::GET, path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    Ok(request.send().await?)
}

async fn ranges(target: &Target) -> Result<()> {
    let path = blob(target).await?;
    for (range, content_range, bytes) in [
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-2", "bytes 8-9/10", "89"),
        ("bytes=8-100", "bytes 8-9/10", "89"),
        ("bytes=0-0", "bytes 0-0/10", "0"),
    ] {
        let response = ranged(target, &path, &[(RANGE, range)]).await?;
        expect(&response, StatusCode::PARTIAL_CONTENT)?;
        ensure!(header(&response, CONTENT_RANGE.as_str())? == content_range, "{range}");
        ensure!(response.bytes().await? == bytes, "{range}");
    }
    Ok(())
}

async fn range_outside(target: &Target) -> Result<()> {
    let response = ranged(target, &blob(target).await?, &[(RANGE, "bytes=10-")]).await?;
    expect(&response, StatusCode::RANGE_NOT_SATISFIABLE)?;
    ensure!(header(&response, CONTENT_RANGE.as_str())? == "bytes */10");
    response.bytes().await?;
    Ok(())
}

/// A server may answer several ranges with several parts or with everything.
async fn several_ranges(target: &Target) -> Result<()> {
    let response = ranged(target, &blob(target).await?, &[(RANGE, "bytes=0-1,5-6")]).await?;
    match response.status() {
        StatusCode::OK => ensure!(response.bytes().await? == "0123456789"),
        StatusCode::PARTIAL_CONTENT => {
            ensure!(header(&response, "content-type")?.starts_with("multipart/byteranges"));
        }
        status => anyhow::bail!("several ranges are {status}"),
    }
    Ok(())
}

async fn range_if_unchanged(target: &Target) -> Result<()> {
    let path = blob(target).await?;
    let etag = header(&target.head(&path).await?, ETAG.as_str())?.to_owned();
    let response = ranged(target, &path, &[(RANGE, "bytes=2-4"), (IF_RANGE, &etag)]).await?;
    expect(&response, StatusCode::PARTIAL_CONTENT)?;
    let response = ranged(target, &path, &[(RANGE, "bytes=2-4"), (IF_RANGE, "\"other\"")]).await?;
    expect(&response, StatusCode::OK)?;
    ensure!(response.bytes().await? == "0123456789");
    Ok(())
}

async fn not_modified(target: &Target, path: &str) -> Result<()> {
    let accept = (reqwest::header::ACCEPT, crate::target::MANIFEST);
    let etag = header(&target.head(path).await?, ETAG.as_str())?.to_owned();
    let response = ranged(target, path, &[accept.clone(), (IF_NONE_MATCH, &etag)]).await?;
    expect(&response, StatusCode::NOT_MODIFIED)?;
    let response = ranged(target, path, &[accept, (IF_NONE_MATCH, "\"other\"")]).await?;
    expect(&response, StatusCode::OK)
}

async fn blob_not_modified(target: &Target) -> Result<()> {
    not_modified(target, &blob(target).await?).await
}

async fn manifest_not_modified(target: &Target) -> Result<()> {
    let image = target.image(REPOSITORY, "etag").await?;
    expect(&target.put_manifest(REPOSITORY, "etag", &image).await?, StatusCode::CREATED)?;
    not_modified(target, &format!("/v2/{REPOSITORY}/manifests/etag")).await
}
