//! `runtime.v1.ImageService` of the container runtime interface, as far as pulling needs it.

/// The call that pulls an image.
pub const PULL_IMAGE: &str = "/runtime.v1.ImageService/PullImage";

/// `ImageSpec`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ImageSpec {
    /// The reference.
    #[prost(string, tag = "1")]
    pub image: String,
}

/// `PullImageRequest`, of which no other field is used.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct PullImageRequest {
    /// The image.
    #[prost(message, optional, tag = "1")]
    pub image: Option<ImageSpec>,
}

/// `PullImageResponse`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct PullImageResponse {
    /// What containerd calls the image: the digest of its configuration.
    #[prost(string, tag = "1")]
    pub image_ref: String,
}
