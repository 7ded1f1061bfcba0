//! Every way to bring a blob in.

use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::{Result, ensure};
use bytes::Bytes;
use hyper::body::{Body, Frame};
use registry::Digest;
use reqwest::{Method, Response, StatusCode};

use crate::target::{Target, checks, error_code, expect, header, location};

checks![
    post_then_put,
    single_post,
    one_chunk,
    several_chunks,
    last_chunk_in_the_closing_put,
    stream_without_length,
    mount,
    mount_without_source,
    mount_of_a_missing_blob,
    cancel,
    chunk_out_of_order,
    empty_blob,
    sha512_blob,
    wrong_digest,
    upload_with_a_malformed_digest,
    unknown_session,
];

const REPOSITORY: &str = "uploads/a";

async fn stored(target: &Target, repository: &str, digest: &Digest, bytes: &[u8]) -> Result<()> {
    let response = target.get(&format!("/v2/{repository}/blobs/{digest}")).await?;
    expect(&response, StatusCode::OK)?;
    ensure!(response.bytes().await? == bytes, "other bytes than were pushed");
    Ok(())
}

async fn patch(target: &Target, location: &str, first: usize, bytes: &[u8]) -> Result<Response> {
    let range = format!("{first}-{}", first + bytes.len() - 1);
    let request = target.request(Method::PATCH, location).header("content-range", range);
    Ok(request.header("content-type", "application/octet-stream").body(bytes.to_vec()).send().await?)
}

async fn post_then_put(target: &Target) -> Result<()> {
    let digest = Digest::sha256(b"post then put");
    let upload = target.open_upload(REPOSITORY).await?;
    let response = target.close_upload(&upload, &digest, b"post then put".to_vec()).await?;
    expect(&response, StatusCode::CREATED)?;
    ensure!(header(&response, "docker-content-digest")? == digest.as_str());
    let blob = target.get(&location(&response)?).await?;
    ensure!(blob.bytes().await? == "post then put");
    Ok(())
}

/// A registry may answer 202 and wait for the bytes in a PUT.
async fn single_post(target: &Target) -> Result<()> {
    let digest = Digest::sha256(b"single post");
    let path = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={digest}");
    let response = target.request(Method::POST, &path).body("single post").send().await?;
    if response.status() == StatusCode::ACCEPTED {
        let response = target.close_upload(&location(&response)?, &digest, b"single post".to_vec()).await?;
        expect(&response, StatusCode::CREATED)?;
    } else {
        expect(&response, StatusCode::CREATED)?;
    }
    stored(target, REPOSITORY, &digest, b"single post").await
}

async fn one_chunk(target: &Target) -> Result<()> {
    let upload = target.open_upload(REPOSITORY).await?;
    let response = patch(target, &upload, 0, b"one chunk").await?;
    expect(&response, StatusCode::ACCEPTED)?;
    ensure!(header(&response, "range")? == "0-8");
    let digest = Digest::sha256(b"one chunk");
    let response = target.close_upload(&location(&response)?, &digest, Vec::new()).await?;
    expect(&response, StatusCode::CREATED)?;
    stored(target, REPOSITORY, &digest, b"one chunk").await
}

async fn several_chunks(target: &Target) -> Result<()> {
    let mut upload = target.open_upload(REPOSITORY).await?;
    let whole: Vec<u8> = (0..3000_u32).map(|n| n as u8).collect();
    for (index, chunk) in whole.chunks(1000).enumerate() {
        let response = patch(target, &upload, index * 1000, chunk).await?;
        expect(&response, StatusCode::ACCEPTED)?;
        ensure!(header(&response, "range")? == format!("0-{}", index * 1000 + 999));
        upload = location(&response)?;
    }
    let digest = Digest::sha256(&whole);
    expect(&target.close_upload(&upload, &digest, Vec::new()).await?, StatusCode::CREATED)?;
    stored(target, REPOSITORY, &digest, &whole).await
}

async fn last_chunk_in_the_closing_put(target: &Target) -> Result<()> {
    let upload = target.open_upload(REPOSITORY).await?;
    let response = patch(target, &upload, 0, b"first ").await?;
    expect(&response, StatusCode::ACCEPTED)?;
    let digest = Digest::sha256(b"first last");
    let response = target.close_upload(&location(&response)?, &digest, b"last".to_vec()).await?;
    expect(&response, StatusCode::CREATED)?;
    stored(target, REPOSITORY, &digest, b"first last").await
}

/// A body that does not tell its length, so it is sent with chunked transfer coding.
struct Stream(std::vec::IntoIter<Bytes>);

impl Body for Stream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.next().map(|bytes| Ok(Frame::data(bytes))))
    }
}

async fn stream_without_length(target: &Target) -> Result<()> {
    let upload = target.open_upload(REPOSITORY).await?;
    let parts = vec![Bytes::from_static(b"a stream "), Bytes::from_static(b"without length")];
    let body = reqwest::Body::wrap(Stream(parts.into_iter()));
    let response = target.request(Method::PATCH, &upload).body(body).send().await?;
    expect(&response, StatusCode::ACCEPTED)?;
    let digest = Digest::sha256(b"a stream without length");
    let response = target.close_upload(&location(&response)?, &digest, Vec::new()).await?;
    expect(&response, StatusCode::CREATED)?;
    stored(target, REPOSITORY, &digest, b"a stream without length").await
}

async fn post_mount(target: &Target, query: &str) -> Result<Response> {
    let path = format!("/v2/uploads/b/blobs/uploads/?{query}");
    Ok(target.request(Method::POST, &path).header("content-length", 0).send().await?)
}

async fn mount(target: &Target) -> Result<()> {
    let digest = target.push_blob(REPOSITORY, b"mount me").await?;
    let response = target.head(&format!("/v2/uploads/b/blobs/{digest}")).await?;
    expect(&response, StatusCode::NOT_FOUND)?;
    let response = post_mount(target, &format!("mount={digest}&from={REPOSITORY}")).await?;
    expect(&response, StatusCode::CREATED)?;
    ensure!(location(&response)?.ends_with(&format!("/v2/uploads/b/blobs/{digest}")));
    stored(target, "uploads/b", &digest, b"mount me").await
}

/// A registry may search its repositories, or ask for the bytes.
async fn mount_without_source(target: &Target) -> Result<()> {
    let digest = target.push_blob(REPOSITORY, b"find me").await?;
    let response = post_mount(target, &format!("mount={digest}")).await?;
    match response.status() {
        StatusCode::CREATED => stored(target, "uploads/b", &digest, b"find me").await,
        StatusCode::ACCEPTED => location(&response).map(drop),
        status => anyhow::bail!("mount without from is {status}"),
    }
}

async fn mount_of_a_missing_blob(target: &Target) -> Result<()> {
    let digest = Digest::sha256(b"nobody has this");
    let response = post_mount(target, &format!("mount={digest}&from={REPOSITORY}")).await?;
    expect(&response, StatusCode::ACCEPTED)?;
    let response = target.close_upload(&location(&response)?, &digest, b"nobody has this".to_vec()).await?;
    expect(&response, StatusCode::CREATED)
}

async fn cancel(target: &Target) -> Result<()> {
    let upload = target.open_upload(REPOSITORY).await?;
    expect(&target.delete(&upload).await?, StatusCode::NO_CONTENT)?;
    expect(&target.get(&upload).await?, StatusCode::NOT_FOUND)
}

async fn chunk_out_of_order(target: &Target) -> Result<()> {
    let upload = target.open_upload(REPOSITORY).await?;
    let response = patch(target, &upload, 0, b"first ").await?;
    expect(&response, StatusCode::ACCEPTED)?;
    let upload = location(&response)?;
    expect(&patch(target, &upload, 9, b"third").await?, StatusCode::RANGE_NOT_SATISFIABLE)?;
    let status = target.get(&upload).await?;
    expect(&status, StatusCode::NO_CONTENT)?;
    ensure!(header(&status, "range")? == "0-5");
    let response = patch(target, &location(&status)?, 6, b"second").await?;
    expect(&response, StatusCode::ACCEPTED)?;
    let digest = Digest::sha256(b"first second");
    expect(&target.close_upload(&location(&response)?, &digest, Vec::new()).await?, StatusCode::CREATED)
}

async fn empty_blob(target: &Target) -> Result<()> {
    let digest = target.push_blob(REPOSITORY, b"").await?;
    stored(target, REPOSITORY, &digest, b"").await
}

async fn sha512_blob(target: &Target) -> Result<()> {
    let digest = Digest::sha512(b"a longer digest");
    let upload = target.open_upload(REPOSITORY).await?;
    let response = target.close_upload(&upload, &digest, b"a longer digest".to_vec()).await?;
    expect(&response, StatusCode::CREATED)?;
    ensure!(header(&response, "docker-content-digest")? == digest.as_str(), "reports another digest");
    stored(target, REPOSITORY, &digest, b"a longer digest").await
}

async fn wrong_digest(target: &Target) -> Result<()> {
    let upload = target.open_upload(REPOSITORY).await?;
    let digest = Digest::sha256(b"promised");
    let response = target.close_upload(&upload, &digest, b"delivered".to_vec()).await?;
    expect(&response, StatusCode::BAD_REQUEST)?;
    ensure!(error_code(response).await? == "DIGEST_INVALID");
    for content in [b"promised".as_slice(), b"delivered"] {
        let path = format!("/v2/{REPOSITORY}/blobs/{}", Digest::sha256(content));
        expect(&target.head(&path).await?, StatusCode::NOT_FOUND)?;
    }
    Ok(())
}

async fn upload_with_a_malformed_digest(target: &Target) -> Result<()> {
    let upload = target.open_upload(REPOSITORY).await?;
    let separator = if upload.contains('?') { '&' } else { '?' };
    let url = format!("{upload}{separator}digest=sha256:xyz");
    expect(&target.request(Method::PUT, &url).body("x").send().await?, StatusCode::BAD_REQUEST)
}

async fn unknown_session(target: &Target) -> Result<()> {
    let path = format!("/v2/{REPOSITORY}/blobs/uploads/00000000-0000-4000-8000-000000000000");
    expect(&target.get(&path).await?, StatusCode::NOT_FOUND)
}
