//! What a start of an image reads, kept beside the image in its registry for the next start.
//!
//! ```text
//!  accelerated image ◄─ subject ── manifest, artifact type ARTIFACT_TYPE
//!                                    ├─ annotation RUNS: how many starts it is of
//!                                    └─ layer, media type TRACE: a trace file of overlaybd
//! ```
//!
//! The blob is a trace as overlaybd's own tools record and replay it, so that an acceleration layer, where
//! an image has one, is a profile as well. A profile is a hint: it decides what is fetched first, and nothing
//! else. It is of the image by its subject, and its bytes are checked by their digest.

mod acceleration_layer;
mod record;
mod replay;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use overlaybd_format::Limits;
use overlaybd_format::trace::Trace;
use referrers::{Accelerated, Descriptor, Digest, Error, ErrorKind, Layer, Registry, Repository, Role};
use serde_json::json;

pub use record::record;
pub use replay::replay;

/// Where the profiles of one accelerated image are.
#[derive(Debug, Clone)]
pub struct Profiles {
    registry: Registry,
    repository: Repository,
    subject: Descriptor,
    acceleration: Option<Layer>,
}

/// A profile that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// What is read.
    pub trace: Trace,
    /// How many starts it is of; none if it is an acceleration layer, which does not say.
    pub runs: u64,
}

impl Profiles {
    /// The profiles of `image`, which is in `repository`.
    pub fn of(registry: Registry, repository: Repository, image: &Accelerated) -> Self {
        let acceleration = image.layers.iter().find(|layer| layer.role == Role::Acceleration).cloned();
        Self { registry, repository, subject: image.descriptor.clone(), acceleration }
    }

    /// The profile to replay: the attached one of most starts, else the acceleration layer.
    ///
    /// # Errors
    ///
    /// If the registry cannot be asked, or what it has is not a profile of this image.
    pub async fn find(&self) -> Result<Option<Found>> {
        if let Some(listed) = self.listed().await?.first() {
            let found = self.read(listed).await;
            return found.map(Some).with_context(|| format!("the start profile {}", listed.digest));
        }
        let Some(layer) = &self.acceleration else { return Ok(None) };
        let descriptor = Descriptor::new(layer.media_type.clone(), layer.digest.clone(), layer.size);
        let tar = self.registry.small_blob(&self.repository, &descriptor).await?;
        let trace = acceleration_layer::trace(&tar, &limits());
        let trace = trace.with_context(|| format!("the acceleration layer {}", layer.digest))?;
        Ok(Some(Found { trace, runs: 0 }))
    }

    /// Attaches the profile of `runs` starts in place of those that are there, and gives the digest of its
    /// manifest. What is attached depends on the profile alone.
    ///
    /// # Errors
    ///
    /// If the registry takes no profile, or does not let go of an old one.
    pub async fn attach(&self, trace: &Trace, runs: u64) -> Result<Digest> {
        let old = self.listed().await?;
        let (trace, config) = (Bytes::from(trace.encode()), Bytes::from_static(b"{}"));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ARTIFACT_TYPE,
            "config": Descriptor::of(EMPTY, &config),
            "layers": [Descriptor::of(TRACE, &trace)],
            "subject": Descriptor::new(
                self.subject.media_type.clone(),
                self.subject.digest.clone(),
                self.subject.size,
            ),
            "annotations": { RUNS: runs.to_string() },
        });
        self.registry.push_blob(&self.repository, config).await?;
        self.registry.push_blob(&self.repository, trace).await?;
        let bytes = Bytes::from(manifest.to_string());
        let attached = self.registry.attach(&self.repository, MANIFEST, bytes).await?.descriptor.digest;
        for old in old.into_iter().filter(|old| old.digest != attached) {
            match self.registry.detach(&self.repository, &old.digest).await {
                // Where nothing can be deleted, the one of more starts is found first.
                Err(error) if !is_left(&error) => {
                    return Err(error).with_context(|| format!("detaching {}", old.digest));
                }
                _ => {}
            }
        }
        Ok(attached)
    }

    /// What is attached, the one of most starts first.
    async fn listed(&self) -> Result<Vec<Descriptor>> {
        let listing = self.registry.referrers(&self.repository, &self.subject.digest, Some(ARTIFACT_TYPE));
        let mut listed = listing.await?.referrers;
        listed.sort_by_cached_key(|listed| (std::cmp::Reverse(runs(listed)), listed.digest.to_string()));
        Ok(listed)
    }

    async fn read(&self, listed: &Descriptor) -> Result<Found> {
        let manifest = self.registry.manifest_of(&self.repository, listed).await?;
        let of = manifest.subject().map(|subject| &subject.digest);
        ensure!(of == Some(&self.subject.digest), "it is of another image");
        let layers = manifest.image().map(|image| image.layers.as_slice());
        let Some([layer]) = layers.filter(|layers| layers.iter().all(|layer| layer.media_type == TRACE))
        else {
            anyhow::bail!("it is not one layer of type {TRACE}");
        };
        let bytes = self.registry.small_blob(&self.repository, layer).await?;
        Ok(Found { trace: Trace::decode(&bytes, &limits())?, runs: runs(listed) })
    }
}

/// What a profile may have.
pub fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.trace_records = MOST_RECORDS;
    limits
}

/// Whether an old profile stays for good, or is gone already.
fn is_left(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported { .. } | ErrorKind::NotFound { .. })
}

fn runs(listed: &Descriptor) -> u64 {
    listed.annotation(RUNS).and_then(|runs| runs.parse().ok()).unwrap_or(0)
}

/// The artifact type of start profiles.
pub const ARTIFACT_TYPE: &str = "application/vnd.overlaybd.start-profile.v1";
/// The media type of a trace file.
const TRACE: &str = "application/vnd.overlaybd.trace.v1";
const RUNS: &str = "overlaybd.start-profile.runs";
/// OCI image specification, "OCI Image Manifest" and "Guidance for an Empty Descriptor".
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// A trace of 1.5 MiB. Starts of large applications have a few thousand.
const MOST_RECORDS: usize = 1 << 16;
