//! Deleting blobs, manifests and tags, and updates on a condition.

use anyhow::{Result, ensure};
use registry::Digest;
use reqwest::header::{CONTENT_TYPE, IF_MATCH};
use reqwest::{Method, StatusCode};

use crate::target::{MANIFEST, Target, checks, digest_of, expect};

checks![delete_blob, delete_manifest, delete_tag, delete_what_is_not_there, update_on_a_condition];

async fn delete_blob(target: &Target) -> Result<()> {
    let digest = target.push_blob("deletion/blob", b"short-lived").await?;
    let path = format!("/v2/deletion/blob/blobs/{digest}");
    expect(&target.delete(&path).await?, StatusCode::ACCEPTED)?;
    expect(&target.get(&path).await?, StatusCode::NOT_FOUND)?;
    expect(&target.delete(&path).await?, StatusCode::NOT_FOUND)
}

async fn delete_manifest(target: &Target) -> Result<()> {
    let image = target.image("deletion/manifest", "manifest").await?;
    expect(&target.put_manifest("deletion/manifest", "t", &image).await?, StatusCode::CREATED)?;
    let path = format!("/v2/deletion/manifest/manifests/{}", digest_of(&image));
    expect(&target.delete(&path).await?, StatusCode::ACCEPTED)?;
    expect(&target.get(&path).await?, StatusCode::NOT_FOUND)?;
    expect(&target.get("/v2/deletion/manifest/manifests/t").await?, StatusCode::NOT_FOUND)
}

async fn delete_tag(target: &Target) -> Result<()> {
    let image = target.image("deletion/tag", "tag").await?;
    for tag in ["kept", "gone"] {
        expect(&target.put_manifest("deletion/tag", tag, &image).await?, StatusCode::CREATED)?;
    }
    expect(&target.delete("/v2/deletion/tag/manifests/gone").await?, StatusCode::ACCEPTED)?;
    expect(&target.get("/v2/deletion/tag/manifests/gone").await?, StatusCode::NOT_FOUND)?;
    expect(&target.get("/v2/deletion/tag/manifests/kept").await?, StatusCode::OK)
}

async fn delete_what_is_not_there(target: &Target) -> Result<()> {
    let digest = Digest::sha256(b"never pushed");
    for path in [format!("/v2/deletion/none/blobs/{digest}"), format!("/v2/deletion/none/manifests/{digest}")]
    {
        expect(&target.delete(&path).await?, StatusCode::NOT_FOUND)?;
    }
    Ok(())
}

async fn update_on_a_condition(target: &Target) -> Result<()> {
    let (repository, path) = ("deletion/condition", "/v2/deletion/condition/manifests/t");
    let images = [target.image(repository, "one").await?, target.image(repository, "two").await?];
    expect(&target.put_manifest(repository, "t", &images[0]).await?, StatusCode::CREATED)?;
    for (etag, status) in [
        (digest_of(&images[1]), StatusCode::PRECONDITION_FAILED),
        (digest_of(&images[0]), StatusCode::CREATED),
    ] {
        let request = target.request(Method::PUT, path).header(CONTENT_TYPE, MANIFEST);
        let request = request.header(IF_MATCH, format!("\"{etag}\"")).body(images[1].to_string());
        expect(&request.send().await?, status)?;
    }
    let response = target.get(path).await?;
    ensure!(response.bytes().await? == images[1].to_string());
    Ok(())
}
