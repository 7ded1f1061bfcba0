#![doc = include_str!("../README.md")]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod artifact_type;
mod cache;
mod clock;
mod credential;
mod descriptor;
mod digest;
mod error;
mod fallback;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod image_config;
mod image_source;
mod layers;
mod manifest;
pub mod media_type;
mod mirror;
mod oci_layout;
mod platform;
mod reference;
mod registry;
#[cfg(feature = "lazy-fetch")]
mod registry_blob;
mod resolve;
mod watch;

pub use artifact_type::AcceptedType;
pub use cache::{Cache, CacheOptions, Cached};
pub use clock::{Clock, TokioClock};
pub use credential::{
    Anonymous, Chain, Credential, CredentialEndpoint, CredentialHelper, CredentialPlugin, CredentialSource,
    DockerConfig, PullSecret, PullSecrets, Reason, Secret, StaticCredentials,
};
pub use descriptor::{Annotations, Descriptor};
pub use digest::{Algorithm, Digest};
pub use error::{AuthFailure, Error, ErrorKind, Result};
pub use fallback::fallback_tag;
pub use image_config::{ImageConfig, RuntimeConfig};
pub use image_source::{Freshness, ImageSource, Named};
pub use layers::{Classified, Kind, Layer, LayerRefusal, Role, classify};
pub use manifest::{Content, ImageManifest, Index, Manifest};
pub use mirror::{Capability, Mirror};
pub use oci_layout::OciLayout;
pub use platform::Platform;
pub use reference::{Reference, Repository};
pub use registry::{
    ApiSupport, Attached, Authentication, Limits, Listed, Listing, Probe, Pushed, Registry, RegistryOptions,
    UploadOptions,
};
#[cfg(feature = "lazy-fetch")]
pub use registry_blob::RegistryBlob;
pub use resolve::{
    Accelerated, AnnotationIs, Binding, Decision, Dependency, DependencyRole, Mode, Outcome, Pins,
    Resolution, ResolveOptions, ResolvedImage, Resolver, Stage, Sticky, Verdict, Verifier,
};
pub use watch::{Change, State, Watch};
