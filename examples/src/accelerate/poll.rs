//! Looking at tags, for registries that tell nobody what was pushed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use referrers::Repository;
use tokio::task::spawn_blocking;

use super::Service;
use super::job::Job;
use crate::one_line::one_line;

impl Service {
    pub(super) async fn poll(self: Arc<Self>, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for path in self.settings.polled() {
                if let Err(error) = self.look_at(path).await {
                    eprintln!("looking at {path}: {}", one_line(&error));
                }
            }
        }
    }

    async fn look_at(&self, path: &str) -> Result<()> {
        let repository = Repository::new(&self.settings.registry, path)?;
        for tag in self.registry.tags(&repository).await? {
            let reference = repository.with_tag(&tag)?;
            if !self.settings.wants(&repository, &tag) {
                continue;
            }
            // It may be gone by now.
            let digest = match self.registry.head_manifest(&reference).await {
                Err(error) if error.is_not_found() => continue,
                found => found?.digest,
            };
            if let Some(job) = self.settings.job(&repository, Some(&tag), digest) {
                self.add(job).await?;
            }
        }
        Ok(())
    }

    /// Takes a job in; says whether it is new.
    pub(super) async fn add(&self, job: Job) -> Result<bool> {
        let queue = self.queue.clone();
        spawn_blocking(move || queue.add(job)).await?
    }
}
