//! Resolution: from a reference to the image to run and the accelerated image that belongs to it.
//!
//! The base image is resolved first; without it there is nothing to run and the resolution fails. Then
//! the stages look for an accelerated image, each in turn until one finds one:
//!
//! ```text
//!   itself ─► pinned ─► in the index ─► referrers of the platform's manifest ─► of the index ─► tag suffixes ─► base
//! ```
//!
//! Whatever goes wrong in a stage is written down as a [`Decision`], and the base image is used, unless
//! the [`Mode`] says that there must be an accelerated one.

use std::sync::Arc;

use tokio::time::{Instant, timeout};

use crate::image_source::{ImageSource, image_config};
use crate::{
    Classified, Descriptor, Error, ErrorKind, Manifest, Platform, Reference, Repository, Result, classify,
};

use self::narrow::{Narrowed, narrow, no_such_platform};
use self::search::{Known, Search};

mod examine;
mod narrow;
mod options;
mod pins;
mod rank;
mod resolution;
mod search;
mod sticky;
mod verifier;
mod verify;

pub use options::{Mode, ResolveOptions};
pub use pins::Pins;
pub use resolution::{
    Accelerated, Binding, Decision, Dependency, DependencyRole, Outcome, Resolution, ResolvedImage, Stage,
};
pub use sticky::Sticky;
pub use verifier::{AnnotationIs, Verdict, Verifier};

/// Finds accelerated images.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use referrers::{Anonymous, Platform, Registry, RegistryOptions, ResolveOptions, Resolver};
///
/// # async fn example() -> Result<(), referrers::Error> {
/// let registry = Registry::new(RegistryOptions::default(), Arc::new(Anonymous))?;
/// let resolver = Resolver::new(registry, ResolveOptions::default());
/// let resolution = resolver.resolve(&"registry.example.com/shop/api:1.4".parse()?, &Platform::current()).await?;
/// println!("{}", resolution.explain());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Resolver {
    source: Arc<dyn ImageSource>,
    options: ResolveOptions,
}

impl Resolver {
    /// A resolver that reads from `source`.
    pub fn new(source: impl ImageSource + 'static, options: ResolveOptions) -> Self {
        Self { source: Arc::new(source), options }
    }

    /// Resolves `reference` for `platform`.
    ///
    /// The platform chooses from an index. A reference to a single image gives that image.
    ///
    /// # Errors
    ///
    /// If the base image's manifest or configuration cannot be had, and
    /// [`ErrorKind::NoAcceleration`] if the mode is [`Mode::Require`] and there is no accelerated image; else
    /// what goes wrong in looking for one is in [`Resolution::decisions`].
    pub async fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolution> {
        let (source, repository) = (&*self.source, reference.repository());
        let named = source.named(reference).await?;
        let top = named.manifest.descriptor();
        let Narrowed { manifest, siblings } = narrow(source, repository, named.manifest, platform).await?;
        let image = match manifest.image() {
            Some(image) => image.clone(),
            None => return Err(no_such_platform(repository, platform)),
        };
        let itself = classify(&image);
        let is_accelerated = matches!(itself, Ok(Classified::Accelerated { .. }));
        let known = self.known(repository, &manifest, &top, siblings);
        let searches = self.options.mode != Mode::Off && !is_accelerated;
        let config = image_config(source, repository, &image);
        // How long the base image's configuration takes is not held against the search.
        let mut left = self.options.deadline;
        let (config, listed) = if searches && !known.suffices() {
            // The commonest place for a referrer; asked while the configuration is on its way.
            let listing = async {
                let started = Instant::now();
                let listing = timeout(left, source.referrers(repository, manifest.digest())).await;
                (listing, started.elapsed())
            };
            let (config, (listing, taken)) = futures::join!(config, listing);
            left = left.saturating_sub(taken);
            (config, Some(listing.unwrap_or_else(|_| Err(self.too_late(repository)))))
        } else {
            (config.await, None)
        };
        let base = ResolvedImage { top, manifest, image, config: config? };
        let mut search = Search::new(source, &self.options, reference, &base, &known);
        search.freshness = named.freshness;
        let mut found = search.itself(itself);
        if searches {
            found = timeout(left, search.run(listed)).await.unwrap_or_else(|_| {
                search.fail(&self.too_late(repository));
                None
            });
        } else if found.is_none() {
            search.switched_off();
        }
        let found = found.filter(|_| self.options.mode != Mode::Observe || is_accelerated);
        let freshness = search.freshness;
        let decisions = search.into_decisions(found.is_some());
        if self.options.mode == Mode::Require && found.is_none() {
            return Err(Error::new(ErrorKind::NoAcceleration { decisions }, reference.to_string()));
        }
        let dependencies = resolution::dependencies(repository, &base, found.as_ref());
        Ok(Resolution {
            reference: reference.clone(),
            base,
            accelerated: found,
            decisions,
            dependencies,
            freshness,
        })
    }

    fn known(
        &self,
        repository: &Repository,
        manifest: &Manifest,
        top: &Descriptor,
        mut siblings: Vec<Descriptor>,
    ) -> Known {
        let pins = &self.options.pins;
        let pinned = pins.get(manifest.digest()).or_else(|| pins.get(&top.digest)).cloned();
        let sticky = self.options.sticky.as_ref();
        let kept = sticky.and_then(|sticky| sticky.kept(repository, manifest.digest()));
        siblings.retain(|entry| {
            let artifact_type = entry.artifact_type.as_deref();
            self.options.accepted.iter().any(|accepted| artifact_type == Some(&accepted.artifact_type))
        });
        Known { pinned, kept, siblings }
    }

    fn too_late(&self, repository: &Repository) -> Error {
        Error::new(ErrorKind::Timeout { after: self.options.deadline }, repository.to_string())
    }
}
