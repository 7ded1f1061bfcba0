//! Ping, names and tags.

use anyhow::{Result, ensure};
use reqwest::StatusCode;
use serde_json::Value;

use crate::target::{Target, checks, error_code, expect, header};

checks![
    ping,
    unknown_repository_has_no_tags,
    tags_are_sorted,
    tags_come_in_pages,
    invalid_name_is_refused,
    names_may_hold_the_words_of_the_api,
];

async fn ping(target: &Target) -> Result<()> {
    let response = target.get("/v2/").await?;
    expect(&response, StatusCode::OK)?;
    ensure!(header(&response, "docker-distribution-api-version")? == "registry/2.0");
    Ok(())
}

async fn unknown_repository_has_no_tags(target: &Target) -> Result<()> {
    let response = target.get("/v2/base/never-pushed/tags/list").await?;
    expect(&response, StatusCode::NOT_FOUND)?;
    ensure!(error_code(response).await? == "NAME_UNKNOWN");
    Ok(())
}

async fn push_tags(target: &Target, repository: &str) -> Result<()> {
    let image = target.image(repository, repository).await?;
    for tag in ["b", "a10", "c", "a2", "a1"] {
        expect(&target.put_manifest(repository, tag, &image).await?, StatusCode::CREATED)?;
    }
    Ok(())
}

async fn tags_at(target: &Target, path: &str) -> Result<(Vec<String>, Option<String>)> {
    let response = target.get(path).await?;
    expect(&response, StatusCode::OK)?;
    let link = response.headers().get("link").and_then(|link| link.to_str().ok()).map(str::to_owned);
    let body: Value = serde_json::from_str(&response.text().await?)?;
    Ok((serde_json::from_value(body["tags"].clone())?, link))
}

async fn tags_are_sorted(target: &Target) -> Result<()> {
    push_tags(target, "base/sorted").await?;
    let (tags, link) = tags_at(target, "/v2/base/sorted/tags/list").await?;
    ensure!(tags == ["a1", "a10", "a2", "b", "c"], "{tags:?}");
    ensure!(link.is_none());
    Ok(())
}

async fn tags_come_in_pages(target: &Target) -> Result<()> {
    push_tags(target, "base/pages").await?;
    let (tags, link) = tags_at(target, "/v2/base/pages/tags/list?n=2").await?;
    ensure!(tags == ["a1", "a10"], "{tags:?}");
    let link = link.unwrap_or_default();
    let next =
        link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).unwrap_or_default();
    let (tags, _) = tags_at(target, next).await?;
    ensure!(tags == ["a2", "b"], "{tags:?}");
    let (tags, link) = tags_at(target, "/v2/base/pages/tags/list?n=3&last=a2").await?;
    ensure!(tags == ["b", "c"], "{tags:?}");
    ensure!(link.is_none());
    let (tags, _) = tags_at(target, "/v2/base/pages/tags/list?n=0").await?;
    ensure!(tags.is_empty(), "{tags:?}");
    Ok(())
}

async fn invalid_name_is_refused(target: &Target) -> Result<()> {
    let response = target.get("/v2/Base/tags/list").await?;
    ensure!(response.status().is_client_error());
    Ok(())
}

async fn names_may_hold_the_words_of_the_api(target: &Target) -> Result<()> {
    let repository = "base/manifests/blobs/tags/list/x";
    let image = target.image(repository, "words").await?;
    expect(&target.put_manifest(repository, "t", &image).await?, StatusCode::CREATED)?;
    expect(&target.get(&format!("/v2/{repository}/manifests/t")).await?, StatusCode::OK)?;
    Ok(())
}
