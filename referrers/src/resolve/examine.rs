//! Reading a candidate and putting every check to it, in the order that suits the way it was found.

use crate::artifact_type::AcceptedType;
use crate::image_source::image_config;
use crate::{Descriptor, Digest, ImageConfig, Kind, Manifest, Platform, Result, Role, media_type};

use super::narrow::narrow;
use super::rank::platform_of;
use super::resolution::{Accelerated, Binding};
use super::search::Search;
use super::verifier::Verdict;
use super::verify::{self, Rejection, refuse};

/// A candidate that passed.
pub(crate) struct Examined {
    pub(crate) found: Accelerated,
    /// Whether its own runtime configuration is another than the base image's.
    pub(crate) config_differs: bool,
}

/// What is known of a candidate from the way it was found.
struct Finding<'a> {
    /// What was found: the index, or the image itself.
    top: &'a Manifest,
    /// The platform that it was listed for.
    platform: Option<Platform>,
    /// The kinds that it may be of.
    kinds: Vec<Kind>,
    binding: Binding,
}

impl Search<'_> {
    /// A referrer of `subject`.
    pub(crate) async fn examine_referrer(
        &self,
        candidate: &Descriptor,
        subject: &Descriptor,
    ) -> Result<Examined, Rejection> {
        let accepted = self.accepted(candidate)?;
        let listed = self.source.manifest_of(self.repository(), candidate).await?;
        verify::is_not_base(&listed, self.base)?;
        verify::subject_is(&listed, subject)?;
        verify::is_of_type(&listed, accepted)?;
        let manifest = self.narrow(listed.clone()).await?;
        if manifest.digest() != listed.digest() {
            self.check_child(&manifest, accepted)?;
        }
        let own_subject = manifest.subject().is_some_and(|own| own.digest == *self.base.manifest.digest());
        let binding = if own_subject { Binding::Subject } else { Binding::ListedSubject };
        let (platform, kinds) = (platform_of(candidate), vec![accepted.kind]);
        self.examine_image(manifest, Finding { top: &listed, platform, kinds, binding }).await
    }

    /// An entry of the index that the base image stands in.
    pub(crate) async fn examine_sibling(&self, candidate: &Descriptor) -> Result<Examined, Rejection> {
        let accepted = self.accepted(candidate)?;
        let manifest = self.source.manifest_of(self.repository(), candidate).await?;
        self.check_child(&manifest, accepted)?;
        let (platform, kinds) = (platform_of(candidate), vec![accepted.kind]);
        let finding = Finding { top: &manifest, platform, kinds, binding: Binding::InIndex };
        self.examine_image(manifest.clone(), finding).await
    }

    /// The image `digest`, which somebody has chosen before.
    pub(crate) async fn examine_known(
        &self,
        digest: &Digest,
        at_least: Option<Binding>,
    ) -> Result<Examined, Rejection> {
        let named = self.source.named(&self.repository().with_digest(digest.clone())).await?;
        self.examine_bound(named.manifest, at_least).await
    }

    /// An image that no list leads to: tied to the base image by its own subject, if it has one, else by
    /// `at_least`.
    pub(crate) async fn examine_bound(
        &self,
        top: Manifest,
        at_least: Option<Binding>,
    ) -> Result<Examined, Rejection> {
        verify::is_not_base(&top, self.base)?;
        let platform_manifest = self.base.manifest.descriptor();
        if let Some(subject) = top.subject() {
            let of_top = subject.digest == self.base.top.digest;
            verify::subject_is(&top, if of_top { &self.base.top } else { &platform_manifest })?;
        }
        let manifest = self.narrow(top.clone()).await?;
        verify::is_not_base(&manifest, self.base)?;
        let is_child = manifest.digest() != top.digest();
        if is_child && manifest.subject().is_some() {
            verify::subject_is(&manifest, &platform_manifest)?;
        }
        let own_subject = manifest.subject().is_some_and(|own| own.digest == platform_manifest.digest);
        let binding = match (own_subject, top.subject().is_some()) {
            (true, _) => Binding::Subject,
            (false, true) => Binding::ListedSubject,
            (false, false) => at_least.unwrap_or(Binding::Unbound),
        };
        let kinds = self.options.accepted.iter().map(|accepted| accepted.kind).collect();
        self.examine_image(manifest, Finding { top: &top, platform: None, kinds, binding }).await
    }

    /// The checks that every image has to pass, however it was found.
    async fn examine_image(&self, manifest: Manifest, finding: Finding<'_>) -> Result<Examined, Rejection> {
        let Some(image) = manifest.image() else { return refuse("it is not an image") };
        let (kind, layers) = verify::layers(image, self.base)?;
        if !finding.kinds.contains(&kind) {
            return refuse(format!("its layers are of the {kind:?} kind"));
        }
        let indexed = layers.iter().filter(|layer| matches!(layer.role, Role::Turbo { .. })).count();
        let all_indexed = kind == Kind::Turbo && indexed == self.base.image.layers.len();
        let binding = match finding.binding {
            Binding::Unbound if all_indexed => Binding::TargetDigests,
            Binding::Unbound if !self.options.allow_unbound => {
                return refuse("nothing but its tag ties it to the base image");
            }
            binding => binding,
        };
        let config = if image.config.digest == self.base.image.config.digest {
            // Many converters leave the configuration as it is; then it is at hand.
            Some(self.base.config.clone())
        } else if media_type::is_config(&image.config.media_type) {
            Some(image_config(self.source, self.repository(), image).await?)
        } else {
            None
        };
        let platform = config.as_ref().map(|config| &config.platform).or(finding.platform.as_ref());
        verify::platform(platform, &self.base.config.platform)?;
        if binding == Binding::Unbound {
            match &config {
                Some(config) => verify::is_not_stale(config, &self.base.config)?,
                None => return refuse("it has no image configuration to compare"),
            }
        }
        let config_differs =
            config.is_some_and(|config: ImageConfig| config.runtime != self.base.config.runtime);
        let (descriptor, top, stage) = (manifest.descriptor(), finding.top.descriptor(), self.stage);
        let found = Accelerated { descriptor, top, manifest, kind, binding, stage, layers };
        self.ask_verifier(&found).await?;
        Ok(Examined { found, config_differs })
    }

    async fn ask_verifier(&self, found: &Accelerated) -> Result<(), Rejection> {
        let Some(verifier) = &self.options.verifier else { return Ok(()) };
        match verifier.verify(self.base, found).await.map_err(Rejection::Failed)? {
            Verdict::Accept => Ok(()),
            Verdict::Reject(why) => {
                refuse(format!("the verifier rejects it: {}", crate::error::printable(&why)))
            }
        }
    }

    /// Checks a manifest that an index holds for the platform.
    fn check_child(&self, child: &Manifest, accepted: &AcceptedType) -> Result<(), Rejection> {
        verify::is_not_base(child, self.base)?;
        if child.subject().is_some() {
            verify::subject_is(child, &self.base.manifest.descriptor())?;
        }
        match child.image().and_then(|image| image.artifact_type.as_deref()) {
            Some(own) if own != accepted.artifact_type => refuse("its image is of another artifact type"),
            _ => Ok(()),
        }
    }

    fn accepted(&self, candidate: &Descriptor) -> Result<&AcceptedType, Rejection> {
        let mut accepted = self.options.accepted.iter();
        match accepted.find(|accepted| candidate.artifact_type.as_deref() == Some(&accepted.artifact_type)) {
            Some(accepted) => Ok(accepted),
            None => refuse("it is not of an accepted type"),
        }
    }

    /// The image for the base image's platform, which need not be the best one for the machine.
    async fn narrow(&self, manifest: Manifest) -> Result<Manifest, Rejection> {
        let platform = &self.base.config.platform;
        Ok(narrow(self.source, self.repository(), manifest, platform).await?.manifest)
    }
}
