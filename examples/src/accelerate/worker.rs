//! Doing the jobs, one after the other.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use futures::FutureExt;
use referrers::{Classified, Manifest, artifact_type, classify, media_type};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::Service;
use super::job::{Job, State};
use crate::convert::options::Mode;
use crate::one_line::one_line;

impl Service {
    pub(super) async fn work(self: Arc<Self>) {
        loop {
            let taken = self.queue.take().await;
            let started = Instant::now();
            // A converter that panics over one image must not keep the others from being converted.
            let outcome = AssertUnwindSafe(self.do_job(taken.job())).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| Err(anyhow!("the converter panicked")));
            self.metrics.ended(&outcome, started.elapsed());
            let line = match &outcome {
                Ok(state) => format!("{}: {state}", taken.job()),
                Err(error) => format!("{}: {}", taken.job(), one_line(error)),
            };
            let written = spawn_blocking(move || match outcome {
                Ok(state) => taken.end(state),
                Err(error) => taken.fail(one_line(&error)),
            });
            // What cannot be written down is done again after the next start.
            match written.await {
                Ok(Err(error)) => eprintln!("{line}, but {}", one_line(&error)),
                _ => eprintln!("{line}"),
            }
        }
    }

    async fn do_job(&self, job: &Job) -> Result<State> {
        let manifest = match self.registry.manifest(&job.image).await {
            Err(error) if error.is_not_found() => return Ok(skipped("it is not there any more")),
            manifest => manifest?,
        };
        if let Some(why) = unfit(&manifest) {
            return Ok(skipped(&why));
        }
        let job = self.without_old_tag(job).await?;
        if let Some(done) = self.done_before(&job).await? {
            return Ok(done);
        }
        Ok(State::Done { accelerated: self.convert.convert(&job).await? })
    }

    /// The job without its tag if that names another image by now, whose accelerated form has the suffixed tag then.
    async fn without_old_tag(&self, job: &Job) -> Result<Job> {
        let mut job = job.clone();
        if let (Some(tag), Some(_)) = (&job.tag, job.suffixed_tag()) {
            let named = self.registry.head_manifest(&job.image.repository().with_tag(tag)?).await;
            let stays = match named {
                Err(error) if error.is_not_found() => false,
                named => Some(&named?.digest) == job.image.digest(),
            };
            job.tag = job.tag.filter(|_| stays);
        }
        Ok(job)
    }

    /// Whether the image is accelerated already, perhaps by this service before it was killed. A tag that is
    /// wanted as well is the converter's business.
    async fn done_before(&self, job: &Job) -> Result<Option<State>> {
        let (Some(digest), None) = (job.image.digest(), job.suffixed_tag()) else { return Ok(None) };
        let artifact_type = match job.plan.mode {
            Mode::Full => artifact_type::OVERLAYBD_NATIVE,
            Mode::IndexOnly => artifact_type::OVERLAYBD_TURBO,
        };
        let listing = self.registry.referrers(job.image.repository(), digest, Some(artifact_type)).await?;
        let first = listing.referrers.into_iter().map(|entry| entry.digest).min();
        Ok(first.map(|accelerated| State::Done { accelerated }))
    }
}

/// Why a manifest is none that a container is run from as it is.
fn unfit(manifest: &Manifest) -> Option<String> {
    if manifest.subject().is_some() {
        return Some("it belongs to another image".to_owned());
    }
    let Some(image) = manifest.image() else {
        let artifact = manifest.index().is_some_and(|index| index.artifact_type.is_some());
        return artifact.then(|| "it is no container image".to_owned());
    };
    if image.artifact_type.is_some() || !media_type::is_config(&image.config.media_type) {
        return Some("it is no container image".to_owned());
    }
    match classify(image) {
        Ok(Classified::Plain) => None,
        Ok(Classified::Accelerated { .. }) => Some("it is accelerated itself".to_owned()),
        Err(refusal) => Some(refusal.to_string()),
    }
}

fn skipped(why: &str) -> State {
    State::Skipped { why: why.to_owned() }
}
