//! What is checked of a candidate before it is used.
//!
//! What no check can show: that the data of a full-mode image is the data of the base image, and that
//! the file names of an index-only image lead to the right data. Whoever may push to the repository is
//! trusted with that.

use jiff::Timestamp;

use crate::artifact_type::AcceptedType;
use crate::{
    Classified, Descriptor, Error, ErrorKind, ImageConfig, ImageManifest, Kind, Layer, Manifest, Platform,
    Role, classify,
};

use super::resolution::ResolvedImage;

/// Why a candidate is not used.
#[derive(Debug)]
pub(crate) enum Rejection {
    /// A check refused it.
    Refused(String),
    /// It could not be read.
    Failed(Error),
}

impl From<Error> for Rejection {
    /// Content that is not what it should be stays so; anything else may have another outcome next time.
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Integrity { .. }
            | ErrorKind::Protocol { .. }
            | ErrorKind::Unsupported { .. }
            | ErrorKind::Limit { .. }
            | ErrorKind::NotFound { .. } => Self::Refused(error.to_string()),
            _ => Self::Failed(error),
        }
    }
}

pub(crate) fn refuse<T>(why: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection::Refused(why.into()))
}

/// Checks that `manifest` belongs to `subject`, which is the manifest that was asked about.
pub(crate) fn subject_is(manifest: &Manifest, subject: &Descriptor) -> Result<(), Rejection> {
    let Some(named) = manifest.subject() else { return refuse("it has no subject") };
    if named.digest != subject.digest {
        return refuse(format!("its subject is {}", named.digest));
    }
    if named.size != subject.size || named.media_type != subject.media_type {
        return refuse("size or media type of its subject are not those of the subject");
    }
    Ok(())
}

/// Checks that `manifest` is not the base image under another name.
pub(crate) fn is_not_base(manifest: &Manifest, base: &ResolvedImage) -> Result<(), Rejection> {
    if manifest.digest() == base.manifest.digest() || *manifest.digest() == base.top.digest {
        return refuse("it is the base image itself");
    }
    Ok(())
}

/// Checks that the manifest says it is of the type that it is listed as.
pub(crate) fn is_of_type(manifest: &Manifest, listed: &AcceptedType) -> Result<(), Rejection> {
    match manifest.artifact_type() {
        Some(artifact_type) if artifact_type == listed.artifact_type => Ok(()),
        Some(other) => refuse(format!("its artifact type is {}", crate::error::printable(other))),
        None => refuse("it has no artifact type"),
    }
}

/// Checks the layers of a candidate by themselves and against those of the base image.
pub(crate) fn layers(image: &ImageManifest, base: &ResolvedImage) -> Result<(Kind, Vec<Layer>), Rejection> {
    if image.layers.len() > MAX_LAYERS {
        return refuse(format!("it has more than {MAX_LAYERS} layers"));
    }
    let total = image.layers.iter().try_fold(0u64, |sum, layer| sum.checked_add(layer.size));
    if total.is_none_or(|total| total > MAX_BYTES) {
        return refuse("its layers are larger than 16 TiB");
    }
    let (kind, layers) = match classify(image) {
        Ok(Classified::Accelerated { kind, layers }) => (kind, layers),
        Ok(Classified::Plain) => return refuse("its layers are plain ones"),
        Err(refusal) => return refuse(refusal.to_string()),
    };
    let originals = &base.image.layers;
    let stacked: Vec<&Layer> = layers.iter().filter(|layer| layer.role != Role::Acceleration).collect();
    // The layer more is an empty file system below all others.
    let of_originals = match (stacked.len().checked_sub(originals.len()), stacked.split_first()) {
        (Some(0), _) => stacked.as_slice(),
        (Some(1), Some((lowest, above))) if lowest.role == Role::Native => above,
        _ => {
            return refuse(format!(
                "it has {} layers for {} of the base image",
                stacked.len(),
                originals.len()
            ));
        }
    };
    let other_target = of_originals.iter().zip(originals).any(
        |(layer, original)| matches!(&layer.role, Role::Turbo { target, .. } if *target != original.digest),
    );
    if other_target {
        return refuse("its layers do not index the base image's layers in order");
    }
    Ok((kind, layers))
}

/// Checks that the candidate runs on what the base image runs on.
pub(crate) fn platform(candidate: Option<&Platform>, base: &Platform) -> Result<(), Rejection> {
    match candidate {
        Some(platform) if platform.is_same(base) => Ok(()),
        Some(platform) => refuse(format!("it is for {platform}, the base image for {base}")),
        None => refuse("it does not say what platform it is for"),
    }
}

/// Checks an image that only its tag ties to the base image: it must not be of an earlier one.
pub(crate) fn is_not_stale(config: &ImageConfig, base: &ImageConfig) -> Result<(), Rejection> {
    if config.runtime != base.runtime {
        return refuse("its runtime configuration is not the base image's");
    }
    let created = |config: &ImageConfig| config.created.as_deref()?.parse::<Timestamp>().ok();
    match (created(config), created(base)) {
        (Some(own), Some(base)) if own < base => refuse("it was made before the base image"),
        _ => Ok(()),
    }
}

/// More than twice what any container runtime stacks.
const MAX_LAYERS: usize = 512;
/// Far above any image; sums below it cannot overflow anywhere.
const MAX_BYTES: u64 = 16 << 40;
