//! The stages of one resolution.

use jiff::Timestamp;

use crate::artifact_type::AcceptedType;
use crate::{
    Classified, Descriptor, Digest, Error, ImageConfig, Kind, Layer, LayerRefusal, Listing, Manifest,
    Platform, Reference, Registry, Repository, Result, media_type,
};

use super::ResolveOptions;
use super::rank::{platform_of, rank};
use super::resolution::{Accelerated, Binding, Decision, Outcome, ResolvedImage, Stage};
use super::verify::{self, Rejection, refuse};

/// One resolution at work: the stage it is in, and what was decided so far.
pub(crate) struct Search<'a> {
    registry: &'a Registry,
    options: &'a ResolveOptions,
    reference: &'a Reference,
    base: &'a ResolvedImage,
    stage: Stage,
    decisions: Vec<Decision>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(
        registry: &'a Registry,
        options: &'a ResolveOptions,
        reference: &'a Reference,
        base: &'a ResolvedImage,
    ) -> Self {
        let stage = Stage::Itself;
        Self { registry, options, reference, base, stage, decisions: Vec::new() }
    }

    /// The image that was named is accelerated: exactly that one was asked for.
    pub(crate) fn itself(&mut self, kind: Kind, layers: Vec<Layer>) -> Accelerated {
        let manifest = self.base.manifest.clone();
        self.decide(Some(manifest.digest()), Outcome::Used, "the reference names an accelerated image");
        Accelerated {
            descriptor: manifest.descriptor(),
            manifest,
            kind,
            binding: Binding::Itself,
            stage: Stage::Itself,
            layers,
        }
    }

    pub(crate) fn not_itself(&mut self, classified: Result<Classified, LayerRefusal>) {
        match classified {
            Ok(_) => self.decide(None, Outcome::Absent, "the reference names an ordinary image"),
            Err(refusal) => self.decide(None, Outcome::Rejected, &refusal.to_string()),
        }
    }

    /// The stages after the first. `listed` are the referrers of the platform's manifest.
    pub(crate) async fn run(&mut self, listed: Result<Listing>) -> Option<Accelerated> {
        self.stage = Stage::Referrer;
        let subject = self.base.manifest.descriptor();
        if let Some(found) = self.referrer(&subject, listed).await {
            return Some(found);
        }
        if self.base.top.digest != subject.digest {
            let listed = self.registry.referrers(self.repository(), &self.base.top.digest, None).await;
            if let Some(found) = self.referrer(&self.base.top, listed).await {
                return Some(found);
            }
        }
        self.stage = Stage::TagSuffix;
        self.tag_suffix().await
    }

    /// Writes down that the stage it is in could not be finished.
    pub(crate) fn fail(&mut self, error: &Error) {
        self.decide(None, Outcome::Failed, &error.to_string());
    }

    pub(crate) fn into_decisions(mut self, found: bool) -> Vec<Decision> {
        if !found {
            self.stage = Stage::Base;
            self.decide(None, Outcome::Used, "no accelerated image");
        }
        self.decisions
    }

    /// The best referrer of `subject` that passes every check.
    async fn referrer(&mut self, subject: &Descriptor, listed: Result<Listing>) -> Option<Accelerated> {
        let listing = match listed {
            Ok(listing) => listing,
            Err(error) => {
                self.fail(&error);
                return None;
            }
        };
        if let Some(why) = &listing.ignored {
            self.decide(None, Outcome::Rejected, why);
        }
        let platform = &self.base.config.platform;
        let ranked = rank(&listing.referrers, &self.options.accepted, platform, Timestamp::now());
        if ranked.is_empty() {
            let count = listing.referrers.len();
            let reason = format!("none of {count} referrers of {} is of an accepted type", subject.digest);
            self.decide(None, Outcome::Absent, &reason);
        }
        for (position, candidate) in ranked.into_iter().enumerate() {
            if position == self.options.max_candidates {
                self.decide(Some(&candidate.digest), Outcome::Skipped, "enough candidates were read");
                return None;
            }
            match self.examine_referrer(candidate, subject).await {
                Ok((found, config)) => return Some(self.used(found, config.as_ref())),
                Err(rejection) => self.reject(&candidate.digest, rejection),
            }
        }
        None
    }

    async fn examine_referrer(
        &self,
        candidate: &Descriptor,
        subject: &Descriptor,
    ) -> Result<(Accelerated, Option<ImageConfig>), Rejection> {
        let accepted = self.options.accepted.iter();
        let accepted =
            accepted.clone().find(|a| candidate.artifact_type.as_deref() == Some(&a.artifact_type));
        let Some(accepted) = accepted else { return refuse("it is not of an accepted type") };
        let listed = self.registry.manifest_of(self.repository(), candidate).await?;
        verify::is_not_base(&listed, self.base)?;
        verify::subject_is(&listed, subject)?;
        verify::is_of_type(&listed, accepted)?;
        let manifest = self.narrow(listed.clone()).await?;
        let is_listed = manifest.digest() == listed.digest();
        if !is_listed {
            self.check_child(&manifest, accepted)?;
        }
        let own_subject = manifest.subject().is_some_and(|own| own.digest == *self.base.manifest.digest());
        let binding = if own_subject { Binding::Subject } else { Binding::ListedSubject };
        let named = platform_of(candidate);
        self.examine_image(manifest, named.as_ref(), &[accepted.kind], binding).await
    }

    /// Checks the manifest that an index holds for the platform.
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

    /// The image at the reference's tag with a suffix.
    async fn tag_suffix(&mut self) -> Option<Accelerated> {
        let tag = match (self.reference.tag(), self.reference.digest()) {
            _ if self.options.tag_suffixes.is_empty() => Err("no suffixes are configured"),
            (Some(tag), None) => Ok(tag),
            _ => Err("the reference is by digest, which says nothing of tags"),
        };
        let tag = match tag {
            Ok(tag) => tag,
            Err(why) => {
                self.decide(None, Outcome::Skipped, why);
                return None;
            }
        };
        for suffix in &self.options.tag_suffixes {
            let name = format!("{tag}{suffix}");
            let manifest = match self.repository().with_tag(&name) {
                Ok(reference) => self.registry.manifest(&reference).await,
                Err(error) => Err(error),
            };
            match manifest {
                Ok(manifest) => {
                    let digest = manifest.digest().clone();
                    match self.examine_tagged(manifest).await {
                        Ok((found, config)) => return Some(self.used(found, config.as_ref())),
                        Err(rejection) => self.reject(&digest, rejection),
                    }
                }
                Err(error) if error.is_not_found() => {
                    self.decide(None, Outcome::Absent, &format!("no tag {name}"));
                }
                Err(error) => self.fail(&error),
            }
        }
        None
    }

    async fn examine_tagged(
        &self,
        tagged: Manifest,
    ) -> Result<(Accelerated, Option<ImageConfig>), Rejection> {
        verify::is_not_base(&tagged, self.base)?;
        let platform_manifest = self.base.manifest.descriptor();
        if tagged.subject().is_some() {
            let is_index = media_type::is_index(tagged.media_type());
            let subject = if is_index { &self.base.top } else { &platform_manifest };
            verify::subject_is(&tagged, subject)?;
        }
        let bound = tagged.subject().is_some();
        let manifest = self.narrow(tagged).await?;
        verify::is_not_base(&manifest, self.base)?;
        let own_subject = manifest.subject().is_some();
        if own_subject {
            verify::subject_is(&manifest, &platform_manifest)?;
        }
        let binding = match (own_subject, bound) {
            (true, _) => Binding::Subject,
            (false, true) => Binding::ListedSubject,
            (false, false) => Binding::Unbound,
        };
        let kinds: Vec<Kind> = self.options.accepted.iter().map(|accepted| accepted.kind).collect();
        self.examine_image(manifest, None, &kinds, binding).await
    }

    /// The checks that every image has to pass, however it was found.
    async fn examine_image(
        &self,
        manifest: Manifest,
        named: Option<&Platform>,
        kinds: &[Kind],
        binding: Binding,
    ) -> Result<(Accelerated, Option<ImageConfig>), Rejection> {
        let Some(image) = manifest.image() else { return refuse("it is not an image") };
        let (kind, layers) = verify::layers(image, self.base)?;
        if !kinds.contains(&kind) {
            return refuse(format!("its layers are of the {kind:?} kind"));
        }
        let binding = match (binding, kind) {
            (Binding::Unbound, Kind::Turbo) => Binding::TargetDigests,
            (Binding::Unbound, Kind::Native) if !self.options.allow_unbound => {
                return refuse("nothing but its tag ties it to the base image");
            }
            (binding, _) => binding,
        };
        let config = if media_type::is_config(&image.config.media_type) {
            Some(self.registry.image_config(self.repository(), image).await?)
        } else {
            None
        };
        let platform = config.as_ref().map(|config| &config.platform).or(named);
        verify::platform(platform, &self.base.config.platform)?;
        if binding == Binding::Unbound {
            match &config {
                Some(config) => verify::is_not_stale(config, &self.base.config)?,
                None => return refuse("it has no image configuration to compare"),
            }
        }
        let descriptor = manifest.descriptor();
        Ok((Accelerated { descriptor, manifest, kind, binding, stage: self.stage, layers }, config))
    }

    /// The image for the base image's platform, which need not be the best one for the machine.
    async fn narrow(&self, manifest: Manifest) -> Result<Manifest> {
        super::narrow(self.registry, self.repository(), manifest, &self.base.config.platform).await
    }

    fn repository(&self) -> &'a Repository {
        self.reference.repository()
    }

    fn used(&mut self, found: Accelerated, config: Option<&ImageConfig>) -> Accelerated {
        let differs = config.is_some_and(|config| config.runtime != self.base.config.runtime);
        let reason = if differs {
            "it passed every check; its runtime configuration differs from the base image's, which applies"
        } else {
            "it passed every check"
        };
        self.decide(Some(&found.descriptor.digest), Outcome::Used, reason);
        found
    }

    fn reject(&mut self, candidate: &Digest, rejection: Rejection) {
        match rejection {
            Rejection::Refused(why) => self.decide(Some(candidate), Outcome::Rejected, &why),
            Rejection::Failed(error) => self.decide(Some(candidate), Outcome::Failed, &error.to_string()),
        }
    }

    fn decide(&mut self, candidate: Option<&Digest>, outcome: Outcome, reason: &str) {
        let candidate = candidate.cloned();
        self.decisions.push(Decision { stage: self.stage, candidate, outcome, reason: reason.to_owned() });
    }
}
