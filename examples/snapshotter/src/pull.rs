//! Pulling through containerd's CRI plugin, which skips the download of layers that a snapshotter has.
//!
//! `ctr images pull` of containerd 1.6 downloads all layers before it asks any snapshotter.

use std::path::Path;

use anyhow::{Context, Result};
use http::uri::PathAndQuery;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use crate::containerd::cri::{ImageSpec, PULL_IMAGE, PullImageRequest, PullImageResponse};

/// Has the containerd at `socket` pull `reference`, in the namespace of the CRI plugin and for the
/// snapshotter that its configuration names, and returns the digest of the image's configuration.
///
/// # Errors
///
/// If containerd cannot be reached, or what it says.
pub async fn pull(socket: &Path, reference: &str) -> Result<String> {
    let place = || socket.display().to_string();
    let channel = Endpoint::from_shared(format!("unix:{}", socket.display()))?.connect().await;
    let mut client = Grpc::new(channel.with_context(place)?);
    client.ready().await.with_context(place)?;
    let image = Some(ImageSpec { image: reference.to_owned() });
    let codec = ProstCodec::<PullImageRequest, PullImageResponse>::default();
    let path = PathAndQuery::from_static(PULL_IMAGE);
    let answer = client.unary(Request::new(PullImageRequest { image }), path, codec).await;
    // The whole of a status has lines of metadata.
    let answer =
        answer.map_err(|status| anyhow::anyhow!("{}", status.message())).context(reference.to_owned())?;
    Ok(answer.into_inner().image_ref)
}
