//! Artifact types that accelerated images are listed under.

use crate::Kind;

/// Written by the overlaybd converter for full mode.
pub const OVERLAYBD_NATIVE: &str = "application/vnd.containerd.overlaybd.native.v1+json";
/// Written by the overlaybd converter for index-only mode.
pub const OVERLAYBD_TURBO: &str = "application/vnd.containerd.overlaybd.turbo.v1+json";
/// Written by Azure Container Registry's artifact streaming; the layers are those of full mode.
pub const AZURE_STREAMING: &str = "application/vnd.azure.artifact.streaming.v1";

/// An artifact type to use, and how images listed under it have to be stored.
///
/// ```
/// use referrers::{AcceptedType, Kind, ResolveOptions, artifact_type};
///
/// // Index-only mode alone, and a converter's own name for it.
/// let accepted = vec![
///     AcceptedType::new(artifact_type::OVERLAYBD_TURBO, Kind::Turbo),
///     AcceptedType::new("application/vnd.example.index-only.v1", Kind::Turbo),
/// ];
/// let options = ResolveOptions::default().with_accepted(accepted);
/// # drop(options);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedType {
    /// The artifact type.
    pub artifact_type: String,
    /// How the image is stored. One that is stored otherwise is not used.
    pub kind: Kind,
}

impl AcceptedType {
    /// Images of `artifact_type`, stored as `kind`.
    pub fn new(artifact_type: impl Into<String>, kind: Kind) -> Self {
        Self { artifact_type: artifact_type.into(), kind }
    }

    /// Every known type: full mode first, because it reads less at run time, then index-only mode.
    pub fn all_known() -> Vec<Self> {
        vec![
            Self::new(OVERLAYBD_NATIVE, Kind::Native),
            Self::new(AZURE_STREAMING, Kind::Native),
            Self::new(OVERLAYBD_TURBO, Kind::Turbo),
        ]
    }
}
