//! Which accelerated images are looked for, and what is done without one.

use std::sync::Arc;
use std::time::Duration;

use crate::artifact_type::AcceptedType;

use super::pins::Pins;
use super::sticky::Sticky;
use super::verifier::Verifier;

/// Which accelerated images a [`Resolver`](crate::Resolver) looks for, how long, and what it does without.
///
/// ```
/// use referrers::{Mode, ResolveOptions};
///
/// let options = ResolveOptions::alibaba().with_mode(Mode::Observe);
/// assert_eq!(options.tag_suffixes, ["_containerd_accelerated", "_accelerated"]);
/// assert!(ResolveOptions::default().tag_suffixes.is_empty());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ResolveOptions {
    /// What is done with what is found.
    pub mode: Mode,
    /// The artifact types to use, the preferred first.
    pub accepted: Vec<AcceptedType>,
    /// What is added to the reference's tag to find images that no referrer names.
    pub tag_suffixes: Vec<String>,
    /// Whether a full-mode image found by its tag is used although nothing ties it to the base image.
    pub allow_unbound: bool,
    /// The accelerated images to use for certain base images, and no other.
    pub pins: Pins,
    /// Keeps to the accelerated image that was chosen before.
    pub sticky: Option<Arc<Sticky>>,
    /// Has the last word on a candidate.
    pub verifier: Option<Arc<dyn Verifier>>,
    /// Time for all stages together. The base image has the time that the registry's calls have.
    pub deadline: Duration,
    /// How many candidates are read at most.
    pub max_candidates: usize,
}

/// What is done with an accelerated image, and without one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// None is looked for.
    Off,
    /// One is looked for and reported, and the base image is used.
    Observe,
    /// One is used if there is one, else the base image.
    #[default]
    Prefer,
    /// One is used; it is an error if there is none.
    Require,
}

impl ResolveOptions {
    /// For images that Alibaba Cloud's registries convert: referrers, and the tag suffixes of full mode and
    /// of index-only mode. A full-mode image found by its tag is used, and marked
    /// [`Binding::Unbound`](crate::Binding::Unbound), because that is all these registries offer for it.
    pub fn alibaba() -> Self {
        Self::default().with_tag_suffixes(["_containerd_accelerated", "_accelerated"]).with_unbound(true)
    }

    /// For images that the overlaybd project's converter made: referrers, and the tag suffixes that its
    /// documentation uses. A full-mode image found by its tag is used, and marked
    /// [`Binding::Unbound`](crate::Binding::Unbound).
    pub fn upstream() -> Self {
        Self::default().with_tag_suffixes(["_obd", "_overlaybd", "_turbo"]).with_unbound(true)
    }

    /// Sets what is done with what is found.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Uses these artifact types, the preferred first.
    #[must_use]
    pub fn with_accepted(mut self, accepted: Vec<AcceptedType>) -> Self {
        self.accepted = accepted;
        self
    }

    /// Looks for these tag suffixes, in order.
    #[must_use]
    pub fn with_tag_suffixes<S: Into<String>>(mut self, suffixes: impl IntoIterator<Item = S>) -> Self {
        self.tag_suffixes = suffixes.into_iter().map(Into::into).collect();
        self
    }

    /// Uses full-mode images that nothing but their tag ties to the base image.
    #[must_use]
    pub fn with_unbound(mut self, allow: bool) -> Self {
        self.allow_unbound = allow;
        self
    }

    /// Uses these accelerated images for these base images.
    #[must_use]
    pub fn with_pins(mut self, pins: Pins) -> Self {
        self.pins = pins;
        self
    }

    /// Keeps to what was chosen before.
    #[must_use]
    pub fn with_sticky(mut self, sticky: Arc<Sticky>) -> Self {
        self.sticky = Some(sticky);
        self
    }

    /// Gives `verifier` the last word on a candidate.
    #[must_use]
    pub fn with_verifier(mut self, verifier: Arc<dyn Verifier>) -> Self {
        self.verifier = Some(verifier);
        self
    }

    /// Sets the time for all stages together.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl Default for ResolveOptions {
    /// Every known artifact type, no tag suffixes, nothing pinned, 3 s, 8 candidates.
    fn default() -> Self {
        Self {
            mode: Mode::Prefer,
            accepted: AcceptedType::all_known(),
            tag_suffixes: Vec::new(),
            allow_unbound: false,
            pins: Pins::default(),
            sticky: None,
            verifier: None,
            deadline: Duration::from_secs(3),
            max_candidates: 8,
        }
    }
}
