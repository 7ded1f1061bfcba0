//! What a resolution found, and why.

use std::fmt;

use crate::{Descriptor, Digest, ImageConfig, ImageManifest, Kind, Layer, Manifest, Repository, Role};

/// The outcome of a resolution.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Resolution {
    /// The image that the reference names. Its configuration is the one to run with, whether or not there is
    /// an accelerated image.
    pub base: ResolvedImage,
    /// The accelerated image to read from instead, if one was found.
    pub accelerated: Option<Accelerated>,
    /// What each stage came to, in the order in which they were tried.
    pub decisions: Vec<Decision>,
    /// What must stay in the registry for as long as a container reads from the accelerated image.
    pub pins: Vec<Pin>,
}

/// The image for one platform that a reference names.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ResolvedImage {
    /// What the reference itself points to: the index, or the image if there is none.
    pub top: Descriptor,
    /// The manifest of the image.
    pub manifest: Manifest,
    /// What the manifest holds.
    pub image: ImageManifest,
    /// The configuration.
    pub config: ImageConfig,
}

/// An accelerated image that passed every check.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Accelerated {
    /// Media type, digest and size of its manifest for the platform.
    pub descriptor: Descriptor,
    /// Its manifest for the platform.
    pub manifest: Manifest,
    /// How it is stored.
    pub kind: Kind,
    /// What ties it to the base image.
    pub binding: Binding,
    /// Where it was found.
    pub stage: Stage,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
}

/// What ties an accelerated image to its base image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Binding {
    /// It is the image that the reference names.
    Itself,
    /// Its `subject` is the manifest of the base image.
    Subject,
    /// The `subject` of the manifest it was found through is the base image's manifest or index; its own
    /// manifest names none.
    ListedSubject,
    /// Its layers index exactly the layers of the base image.
    TargetDigests,
    /// Nothing but its tag.
    Unbound,
}

/// Where accelerated images are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The image that the reference names is itself accelerated.
    Itself,
    /// A referrer of the platform's manifest or of the index.
    Referrer,
    /// The reference's tag with a suffix.
    TagSuffix,
    /// No acceleration.
    Base,
}

/// What became of one stage, or of one candidate in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// The stage.
    pub stage: Stage,
    /// The candidate, if it is about one.
    pub candidate: Option<Digest>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, in one line for people.
    pub reason: String,
}

/// What became of a stage or candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It is used.
    Used,
    /// There is nothing.
    Absent,
    /// There is something that a check refused.
    Rejected,
    /// It is unknown whether there is something. A later resolution may find it.
    Failed,
    /// It was not tried.
    Skipped,
}

/// A manifest or blob that must stay in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pin {
    /// Where it is.
    pub repository: Repository,
    /// What it is.
    pub digest: Digest,
    /// What it is for.
    pub role: PinRole,
}

/// What a [`Pin`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PinRole {
    /// The manifest of the accelerated image.
    AcceleratedManifest,
    /// A layer of the accelerated image.
    AcceleratedLayer,
    /// The manifest of the base image, which keeps the layers that an index-only image reads.
    BaseManifest,
    /// A layer of the base image that an index-only image reads.
    BaseLayer,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.stage, self.outcome)?;
        if let Some(candidate) = &self.candidate {
            write!(f, " {candidate}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

pub(crate) fn pins(repository: &Repository, base: &ResolvedImage, found: &Accelerated) -> Vec<Pin> {
    let pin = |digest: &Digest, role| Pin { repository: repository.clone(), digest: digest.clone(), role };
    let mut pins = vec![pin(&found.descriptor.digest, PinRole::AcceleratedManifest)];
    pins.extend(found.layers.iter().map(|layer| pin(&layer.digest, PinRole::AcceleratedLayer)));
    if found.kind == Kind::Turbo {
        if found.binding != Binding::Itself {
            pins.push(pin(base.manifest.digest(), PinRole::BaseManifest));
        }
        pins.extend(found.layers.iter().filter_map(|layer| match &layer.role {
            Role::Turbo { target, .. } => Some(pin(target, PinRole::BaseLayer)),
            _ => None,
        }));
    }
    pins
}
