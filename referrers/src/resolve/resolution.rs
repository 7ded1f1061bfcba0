//! What a resolution found, and why.

use std::fmt;

use crate::{
    Descriptor, Digest, Freshness, ImageConfig, ImageManifest, Kind, Layer, Manifest, Reference, Repository,
    Role,
};

/// The outcome of a resolution.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Resolution {
    /// What was resolved.
    pub reference: Reference,
    /// The image that the reference names. Its configuration is the one to run with, whether or not there is
    /// an accelerated image.
    pub base: ResolvedImage,
    /// The accelerated image to read from instead, if one was found.
    pub accelerated: Option<Accelerated>,
    /// What each stage came to, in the order in which they were tried.
    pub decisions: Vec<Decision>,
    /// What must stay in the registry for as long as a container reads from the accelerated image.
    pub dependencies: Vec<Dependency>,
    /// How old the oldest answer is that it rests on and that may have changed since.
    pub freshness: Freshness,
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
    /// What was found: the index that holds the manifest for the platform, or that manifest itself.
    pub top: Descriptor,
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
    /// It stands beside the base image in the index that the reference names.
    InIndex,
    /// It is pinned for the base image.
    Pinned,
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
    /// The one that is pinned for the base image, or was chosen before.
    Pinned,
    /// The index that the base image stands in.
    InIndex,
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
    /// It would be used, were it not only for observing.
    Observed,
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
pub struct Dependency {
    /// Where it is.
    pub repository: Repository,
    /// What it is.
    pub digest: Digest,
    /// What it is for.
    pub role: DependencyRole,
}

/// What a [`Dependency`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DependencyRole {
    /// The manifest of the accelerated image.
    AcceleratedManifest,
    /// A layer of the accelerated image.
    AcceleratedLayer,
    /// The manifest of the base image, which keeps the layers that an index-only image reads.
    BaseManifest,
    /// A layer of the base image that an index-only image reads.
    BaseLayer,
}

impl Resolution {
    /// The whole outcome in a few lines for people: what is used, what ties it to the base image, and what each
    /// stage came to.
    pub fn explain(&self) -> impl fmt::Display + '_ {
        Explanation(self)
    }
}

struct Explanation<'a>(&'a Resolution);

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resolution = self.0;
        writeln!(f, "{} for {}", resolution.reference, resolution.base.config.platform)?;
        writeln!(f, "  base image {}", resolution.base.manifest.digest())?;
        match &resolution.accelerated {
            Some(found) => {
                writeln!(f, "  accelerated image {} ({})", found.descriptor.digest, found.kind)?;
                writeln!(f, "  tied to it by {}", found.binding)?;
            }
            None => writeln!(f, "  no accelerated image is used")?,
        }
        if let Freshness::Stale(age) = resolution.freshness {
            writeln!(f, "  from memory, {} s old, because the source does not answer", age.as_secs())?;
        }
        resolution.decisions.iter().try_for_each(|decision| writeln!(f, "  - {decision}"))
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stage, self.outcome)?;
        if let Some(candidate) = &self.candidate {
            write!(f, " {candidate}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Itself => "itself",
            Self::Pinned => "pinned",
            Self::InIndex => "in the index",
            Self::Referrer => "referrer",
            Self::TagSuffix => "tag suffix",
            Self::Base => "base",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Used => "used",
            Self::Observed => "observed",
            Self::Absent => "absent",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        })
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Itself => "being the image that the reference names",
            Self::Subject => "its subject",
            Self::ListedSubject => "the subject of the manifest it was found through",
            Self::InIndex => "the index that both stand in",
            Self::Pinned => "a pin",
            Self::TargetDigests => "the digests of the layers that it indexes",
            Self::Unbound => "nothing but its tag",
        })
    }
}

/// What a container that runs the resolved image reads. A base image that is used alone is unpacked from its
/// layers before it starts and reads nothing later.
pub(crate) fn dependencies(
    repository: &Repository,
    base: &ResolvedImage,
    found: Option<&Accelerated>,
) -> Vec<Dependency> {
    let Some(found) = found else { return Vec::new() };
    let needed = |digest: &Digest, role| {
        let (repository, digest) = (repository.clone(), digest.clone());
        Dependency { repository, digest, role }
    };
    let mut dependencies = vec![needed(&found.descriptor.digest, DependencyRole::AcceleratedManifest)];
    let layers = found.layers.iter();
    dependencies.extend(layers.map(|layer| needed(&layer.digest, DependencyRole::AcceleratedLayer)));
    if found.kind == Kind::Turbo {
        if found.binding != Binding::Itself {
            dependencies.push(needed(base.manifest.digest(), DependencyRole::BaseManifest));
        }
        dependencies.extend(found.layers.iter().filter_map(|layer| match &layer.role {
            Role::Turbo { target, .. } => Some(needed(target, DependencyRole::BaseLayer)),
            Role::Native | Role::Acceleration => None,
        }));
    }
    dependencies
}
