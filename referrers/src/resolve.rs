//! Resolution: from a reference to the image to run and the accelerated image that belongs to it.
//!
//! The base image is resolved first; without it there is nothing to run and the resolution fails. Then
//! the stages look for an accelerated image, each in turn until one finds one:
//!
//! ```text
//!   itself ──► referrers of the platform's manifest ──► referrers of the index ──► tag suffixes ──► base
//! ```
//!
//! Whatever goes wrong in a stage is written down as a [`Decision`], and the base image is used.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::artifact_type::AcceptedType;
use crate::{
    Classified, Error, ErrorKind, Manifest, Platform, Reference, Registry, Repository, Result, classify,
};

use self::search::Search;

mod rank;
mod resolution;
mod search;
mod verify;

pub use resolution::{
    Accelerated, Binding, Decision, Outcome, Pin, PinRole, Resolution, ResolvedImage, Stage,
};

/// Finds accelerated images.
#[derive(Debug, Clone)]
pub struct Resolver {
    registry: Registry,
    options: ResolveOptions,
}

/// Which accelerated images a [`Resolver`] looks for, and how long.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ResolveOptions {
    /// The artifact types to use, the preferred first.
    pub accepted: Vec<AcceptedType>,
    /// What is added to the reference's tag to find images that no referrer names.
    pub tag_suffixes: Vec<String>,
    /// Whether a full-mode image found by its tag is used although nothing ties it to the base image.
    pub allow_unbound: bool,
    /// Time for all stages together. The base image has the time that the registry's calls have.
    pub deadline: Duration,
    /// How many candidates are read at most.
    pub max_candidates: usize,
}

impl Resolver {
    /// A resolver that asks through `registry`.
    pub fn new(registry: Registry, options: ResolveOptions) -> Self {
        Self { registry, options }
    }

    /// Resolves `reference` for `platform`.
    ///
    /// The platform chooses from an index. A reference to a single image gives that image.
    ///
    /// # Errors
    ///
    /// Only if the base image's manifest or configuration cannot be had; what goes wrong in looking for
    /// an accelerated image is in [`Resolution::decisions`].
    pub async fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolution> {
        let repository = reference.repository();
        let top = self.registry.manifest(reference).await?;
        let top_descriptor = top.descriptor();
        let manifest = narrow(&self.registry, repository, top, platform).await?;
        let image = match manifest.image() {
            Some(image) => image.clone(),
            None => return Err(no_such_platform(repository, platform)),
        };
        let itself = classify(&image);
        let until = Instant::now().checked_add(self.options.deadline).unwrap_or_else(Instant::now);
        let config = self.registry.image_config(repository, &image);
        let (config, listed) = match &itself {
            Ok(Classified::Accelerated { .. }) => (config.await, None),
            _ => {
                // The commonest place for a referrer; asked while the configuration is on its way.
                let listing = self.registry.referrers(repository, manifest.digest(), None);
                let (config, listing) = futures::join!(config, timeout_at(until, listing));
                (config, Some(listing.unwrap_or_else(|_| Err(self.too_late(repository)))))
            }
        };
        let config = config?;
        let base = ResolvedImage { top: top_descriptor, manifest, image, config };
        let mut search = Search::new(&self.registry, &self.options, reference, &base);
        let found = match (itself, listed) {
            (Ok(Classified::Accelerated { kind, layers }), _) => Some(search.itself(kind, layers)),
            (classified, Some(listed)) => {
                search.not_itself(classified);
                let found = timeout_at(until, search.run(listed)).await;
                found.unwrap_or_else(|_| {
                    search.fail(&self.too_late(repository));
                    None
                })
            }
            (_, None) => None,
        };
        let decisions = search.into_decisions(found.is_some());
        let pins = found.as_ref().map(|found| resolution::pins(repository, &base, found)).unwrap_or_default();
        Ok(Resolution { base, accelerated: found, decisions, pins })
    }

    fn too_late(&self, repository: &Repository) -> Error {
        Error::new(ErrorKind::Timeout { after: self.options.deadline }, repository.to_string())
    }
}

impl ResolveOptions {
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

    /// Sets the time for all stages together.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl Default for ResolveOptions {
    /// Every known artifact type, no tag suffixes, 3 s, 8 candidates.
    fn default() -> Self {
        Self {
            accepted: AcceptedType::all_known(),
            tag_suffixes: Vec::new(),
            allow_unbound: false,
            deadline: Duration::from_secs(3),
            max_candidates: 8,
        }
    }
}

/// The image for `platform` in `manifest`, which may be an index of indexes.
async fn narrow(
    registry: &Registry,
    repository: &Repository,
    manifest: Manifest,
    platform: &Platform,
) -> Result<Manifest> {
    let mut waiting = VecDeque::from([(manifest, 0)]);
    let mut read = 0usize;
    while let Some((manifest, depth)) = waiting.pop_front() {
        let Some(index) = manifest.index() else { return Ok(manifest) };
        for entry in platform.choose(index) {
            read = read.saturating_add(1);
            if depth == MAX_DEPTH || read > MAX_READ {
                let kind = ErrorKind::Limit { what: "depth of an index", limit: MAX_DEPTH };
                return Err(Error::new(kind, repository.with_digest(entry.digest.clone()).to_string()));
            }
            let inner = registry.manifest_of(repository, entry).await?;
            waiting.push_back((inner, depth.saturating_add(1)));
        }
    }
    Err(no_such_platform(repository, platform))
}

fn no_such_platform(repository: &Repository, platform: &Platform) -> Error {
    Error::new(ErrorKind::NotFound { what: "image for the platform" }, format!("{repository} for {platform}"))
}

/// Converters nest once; more than a few levels are made to waste time.
const MAX_DEPTH: u64 = 4;
const MAX_READ: usize = 16;
