//! One resolution at work: its stages in turn, and what was decided so far.

use jiff::Timestamp;

use crate::image_source::ImageSource;
use crate::{
    Classified, Descriptor, Digest, Error, Freshness, LayerRefusal, Listing, Reference, Repository, Result,
};

use super::examine::Examined;
use super::options::{Mode, ResolveOptions};
use super::rank::rank;
use super::resolution::{Accelerated, Binding, Decision, Outcome, ResolvedImage, Stage};
use super::verify::Rejection;

/// One resolution: the stage it is in, and what was decided so far.
pub(crate) struct Search<'a> {
    pub(crate) source: &'a dyn ImageSource,
    pub(crate) options: &'a ResolveOptions,
    pub(crate) reference: &'a Reference,
    pub(crate) base: &'a ResolvedImage,
    pub(crate) known: &'a Known,
    pub(crate) stage: Stage,
    pub(crate) freshness: Freshness,
    decisions: Vec<Decision>,
}

/// What can be said of accelerated images without asking anybody.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The one that is pinned for the base image.
    pub(crate) pinned: Option<Digest>,
    /// The one that was chosen before.
    pub(crate) kept: Option<Digest>,
    /// Entries of the index that the base image's manifest stands in.
    pub(crate) siblings: Vec<Descriptor>,
}

impl Known {
    /// Whether referrers need not be listed yet.
    pub(crate) fn suffices(&self) -> bool {
        self.pinned.is_some() || self.kept.is_some() || !self.siblings.is_empty()
    }
}

/// Where a stage leads.
pub(crate) enum Step {
    Found(Box<Accelerated>),
    /// To the next stage.
    On,
    /// To the base image: no other accelerated image may be used.
    Stop,
}

impl<'a> Search<'a> {
    pub(crate) fn new(
        source: &'a dyn ImageSource,
        options: &'a ResolveOptions,
        reference: &'a Reference,
        base: &'a ResolvedImage,
        known: &'a Known,
    ) -> Self {
        let (stage, freshness, decisions) = (Stage::Itself, Freshness::Fresh, Vec::new());
        Self { source, options, reference, base, known, stage, freshness, decisions }
    }

    /// The image that was named, if it is accelerated: exactly that one was asked for.
    pub(crate) fn itself(&mut self, classified: Result<Classified, LayerRefusal>) -> Option<Accelerated> {
        let (kind, layers) = match classified {
            Ok(Classified::Accelerated { kind, layers }) => (kind, layers),
            Ok(Classified::Plain) => {
                self.decide(None, Outcome::Absent, "the reference names an ordinary image");
                return None;
            }
            Err(refusal) => {
                self.decide(None, Outcome::Rejected, &refusal.to_string());
                return None;
            }
        };
        let (manifest, top) = (self.base.manifest.clone(), self.base.top.clone());
        self.decide(Some(manifest.digest()), Outcome::Used, "the reference names an accelerated image");
        let (descriptor, binding, stage) = (manifest.descriptor(), Binding::Itself, Stage::Itself);
        Some(Accelerated { descriptor, top, manifest, kind, binding, stage, layers })
    }

    pub(crate) fn switched_off(&mut self) {
        self.stage = Stage::Referrer;
        self.decide(None, Outcome::Skipped, "acceleration is switched off");
    }

    /// The stages after the first. `listed` are the referrers of the platform's manifest, if they were asked
    /// for already.
    pub(crate) async fn run(&mut self, listed: Option<Result<Listing>>) -> Option<Accelerated> {
        match self.pinned().await {
            Step::Found(found) => return Some(*found),
            Step::Stop => return None,
            Step::On => {}
        }
        self.stage = Stage::InIndex;
        if let Some(found) = self.sibling().await {
            return Some(found);
        }
        self.stage = Stage::Referrer;
        let subject = self.base.manifest.descriptor();
        let listed = match listed {
            Some(listed) => listed,
            None => self.source.referrers(self.repository(), &subject.digest).await,
        };
        if let Some(found) = self.referrer(&subject, listed).await {
            return Some(found);
        }
        if self.base.top.digest != subject.digest {
            let listed = self.source.referrers(self.repository(), &self.base.top.digest).await;
            if let Some(found) = self.referrer(&self.base.top, listed).await {
                return Some(found);
            }
        }
        self.stage = Stage::TagSuffix;
        self.tag_suffix().await
    }

    /// The pinned image, or the one that was chosen before.
    async fn pinned(&mut self) -> Step {
        self.stage = Stage::Pinned;
        let (digest, is_order) = match (&self.known.pinned, &self.known.kept) {
            (Some(pinned), _) => (pinned, true),
            (None, Some(kept)) => (kept, false),
            (None, None) => {
                self.decide(None, Outcome::Skipped, "nothing is pinned or was chosen before");
                return Step::On;
            }
        };
        match self.examine_known(digest, is_order.then_some(Binding::Pinned)).await {
            Ok(examined) => Step::Found(Box::new(self.used(examined))),
            Err(rejection) => {
                // A choice of our own is given up only for good; an order never.
                let gone = matches!(rejection, Rejection::Refused(_));
                self.reject(digest, rejection);
                if is_order || !gone {
                    return Step::Stop;
                }
                self.forget();
                Step::On
            }
        }
    }

    /// The best entry beside the base image that passes every check.
    async fn sibling(&mut self) -> Option<Accelerated> {
        let known = self.known;
        if known.siblings.is_empty() {
            self.decide(None, Outcome::Absent, "no accelerated image stands beside it in an index");
            return None;
        }
        let ranked =
            rank(&known.siblings, &self.options.accepted, &self.base.config.platform, Timestamp::now());
        for (position, candidate) in ranked.into_iter().enumerate() {
            if self.is_beyond_limit(position, candidate) {
                return None;
            }
            match self.examine_sibling(candidate).await {
                Ok(examined) => return Some(self.used(examined)),
                Err(rejection) => self.reject(&candidate.digest, rejection),
            }
        }
        None
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
        self.freshness = self.freshness.max(listing.freshness);
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
            if self.is_beyond_limit(position, candidate) {
                return None;
            }
            match self.examine_referrer(candidate, subject).await {
                Ok(examined) => return Some(self.used(examined)),
                Err(rejection) => self.reject(&candidate.digest, rejection),
            }
        }
        None
    }

    /// Whether enough candidates were read before the one at `position`, which is written down.
    fn is_beyond_limit(&mut self, position: usize, candidate: &Descriptor) -> bool {
        let is_beyond = position >= self.options.max_candidates;
        if is_beyond {
            self.decide(Some(&candidate.digest), Outcome::Skipped, "enough candidates were read");
        }
        is_beyond
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
            let named = match self.repository().with_tag(&name) {
                Ok(reference) => self.source.named(&reference).await,
                Err(error) => Err(error),
            };
            match named {
                Ok(named) => {
                    self.freshness = self.freshness.max(named.freshness);
                    let digest = named.manifest.digest().clone();
                    match self.examine_bound(named.manifest, None).await {
                        Ok(examined) => return Some(self.used(examined)),
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

    /// Writes down that the stage it is in could not be finished.
    pub(crate) fn fail(&mut self, error: &Error) {
        self.decide(None, Outcome::Failed, &error.to_string());
    }

    pub(crate) fn decide(&mut self, candidate: Option<&Digest>, outcome: Outcome, reason: &str) {
        let candidate = candidate.cloned();
        self.decisions.push(Decision { stage: self.stage, candidate, outcome, reason: reason.to_owned() });
    }

    /// The decisions, closed by one for the base image if that is used.
    pub(crate) fn into_decisions(mut self, found: bool) -> Vec<Decision> {
        if !found {
            self.stage = Stage::Base;
            self.decide(None, Outcome::Used, "no accelerated image is used");
        }
        self.decisions
    }

    pub(crate) fn repository(&self) -> &'a Repository {
        self.reference.repository()
    }

    fn used(&mut self, examined: Examined) -> Accelerated {
        let found = examined.found;
        let reason = if examined.config_differs {
            "it passed every check; its runtime configuration differs from the base image's, which applies"
        } else {
            "it passed every check"
        };
        let observing = self.options.mode == Mode::Observe;
        let outcome = if observing { Outcome::Observed } else { Outcome::Used };
        self.decide(Some(&found.descriptor.digest), outcome, reason);
        if !observing {
            self.keep(&found);
        }
        found
    }

    /// Remembers a choice that another resolution might make otherwise.
    fn keep(&mut self, found: &Accelerated) {
        let Some(sticky) = &self.options.sticky else { return };
        if matches!(found.stage, Stage::Referrer | Stage::TagSuffix) {
            let kept = sticky.keep(self.repository(), self.base.manifest.digest(), &found.top.digest);
            self.report(kept);
        }
    }

    /// Forgets a choice that cannot be made again. Who only observes changes nothing.
    fn forget(&mut self) {
        if let Some(sticky) = &self.options.sticky
            && self.options.mode != Mode::Observe
        {
            let forgotten = sticky.forget(self.repository(), self.base.manifest.digest());
            self.report(forgotten);
        }
    }

    /// A choice that cannot be written down still stands.
    fn report(&mut self, kept: Result<()>) {
        if let Err(error) = kept {
            self.fail(&error);
        }
    }

    fn reject(&mut self, candidate: &Digest, rejection: Rejection) {
        match rejection {
            Rejection::Refused(why) => self.decide(Some(candidate), Outcome::Rejected, &why),
            Rejection::Failed(error) => self.decide(Some(candidate), Outcome::Failed, &error.to_string()),
        }
    }
}
