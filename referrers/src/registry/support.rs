//! What is known of the Referrers API of each repository's registry.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Repository;

/// Repositories that were read from, and since when the Referrers API is known to be missing there.
///
/// A registry that hides what it does not let one see answers 404 to everything, so a 404 of the API counts
/// only for a repository that a manifest could be read from.
#[derive(Debug, Default)]
pub(crate) struct Support(Mutex<HashMap<Repository, Option<Instant>>>);

impl Support {
    /// A manifest of the repository could be read.
    pub(crate) fn readable(&self, repository: &Repository) {
        let mut known = self.lock();
        if !known.contains_key(repository) {
            if known.len() >= MAX_REPOSITORIES {
                known.clear();
            }
            known.insert(repository.clone(), None);
        }
    }

    /// The API answered.
    pub(crate) fn found(&self, repository: &Repository) {
        if let Some(missing) = self.lock().get_mut(repository) {
            *missing = None;
        }
    }

    /// The API did not answer as one.
    pub(crate) fn missed(&self, repository: &Repository, now: Instant) {
        if let Some(missing) = self.lock().get_mut(repository) {
            *missing = Some(now);
        }
    }

    /// Whether asking again would be a waste.
    pub(crate) fn is_missing(&self, repository: &Repository, now: Instant) -> bool {
        let since = self.lock().get(repository).copied().flatten();
        since.is_some_and(|since| now.saturating_duration_since(since) < BELIEVED)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Repository, Option<Instant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registries are upgraded, rarely.
const BELIEVED: Duration = Duration::from_secs(3600);
const MAX_REPOSITORIES: usize = 4096;
