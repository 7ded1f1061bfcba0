//! Watching what a running container depends on, so that its loss is known before a read fails.

use std::fmt;
use std::mem::discriminant;
use std::time::{Duration, Instant};

use crate::{DependencyRole, Digest, Reference, Registry, Repository, Resolution, Result};

/// Asks the registry from time to time for everything that a resolved image is read from.
///
/// A container that reads its image while it runs needs the accelerated image, and in index-only mode the
/// base image's layers as well, for as long as it lives. Nothing keeps a registry from deleting them.
///
/// ```no_run
/// use std::time::Duration;
///
/// use referrers::{Registry, Resolution, Watch};
///
/// # async fn example(registry: Registry, resolution: Resolution) {
/// let mut watch = Watch::new(registry, &resolution, Duration::from_secs(600));
/// loop {
///     for change in watch.next().await {
///         println!("{change}");
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Watch {
    registry: Registry,
    reference: Reference,
    interval: Duration,
    /// When the next round is due; at once before the first.
    due: Option<Instant>,
    watched: Vec<Change>,
}

/// Something has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The repository.
    pub repository: Repository,
    /// What it is about.
    pub digest: Digest,
    /// What it is for; none for the reference itself.
    pub role: Option<DependencyRole>,
    /// How it is now.
    pub state: State,
}

/// How something that is watched is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It is there.
    Present,
    /// It is not there any more: reads of what is not cached will fail.
    Gone,
    /// The reference names another image now; a new container would run that.
    Replaced(Digest),
    /// It is unknown, because of this.
    Unreachable(String),
}

impl Watch {
    /// Watches what `resolution` depends on, and whether its reference still names the same image, once every
    /// `interval`.
    ///
    /// An image without acceleration depends on nothing; only its reference is watched.
    pub fn new(registry: Registry, resolution: &Resolution, interval: Duration) -> Self {
        let reference = resolution.reference.clone();
        let watched = |repository: &Repository, digest: &Digest, role| {
            let (repository, digest) = (repository.clone(), digest.clone());
            Change { repository, digest, role, state: State::Present }
        };
        // A reference by digest always names the same.
        let named = reference.digest().is_none();
        let named = named.then(|| watched(reference.repository(), &resolution.base.top.digest, None));
        let needed = resolution.dependencies.iter();
        let needed = needed.map(|needed| watched(&needed.repository, &needed.digest, Some(needed.role)));
        let watched = named.into_iter().chain(needed).collect();
        Self { registry, reference, interval, due: None, watched }
    }

    /// Waits for the next time something has changed, and says what. What is present from the start is no
    /// change.
    ///
    /// The first round is made at once, each further one an interval after the last, in this call or the next.
    /// A call that is dropped loses no change.
    pub async fn next(&mut self) -> Vec<Change> {
        loop {
            if let Some(due) = self.due {
                self.registry.clock().sleep_until(due).await;
            }
            let changes = self.check().await;
            if !changes.is_empty() {
                return changes;
            }
        }
    }

    /// Asks once for everything, one after the other, and says what has changed since the last time.
    pub async fn check(&mut self) -> Vec<Change> {
        let mut found = Vec::with_capacity(self.watched.len());
        for watched in &self.watched {
            found.push(match self.ask(watched).await {
                Ok(state) => state,
                Err(error) if error.is_not_found() => State::Gone,
                Err(error) => State::Unreachable(error.to_string()),
            });
        }
        self.due = self.registry.clock().now().checked_add(self.interval);
        let mut changes = Vec::new();
        for (watched, state) in self.watched.iter_mut().zip(found) {
            let is_news = watched.state.is_unlike(&state);
            watched.state = state;
            if is_news {
                changes.push(watched.clone());
            }
        }
        changes
    }

    async fn ask(&self, watched: &Change) -> Result<State> {
        let (repository, digest) = (&watched.repository, &watched.digest);
        match watched.role {
            None => {
                let now = self.registry.head_manifest(&self.reference).await?.digest;
                Ok(if now == *digest { State::Present } else { State::Replaced(now) })
            }
            Some(DependencyRole::AcceleratedManifest | DependencyRole::BaseManifest) => {
                let reference = repository.with_digest(digest.clone());
                self.registry.head_manifest(&reference).await.map(|_| State::Present)
            }
            Some(DependencyRole::AcceleratedLayer | DependencyRole::BaseLayer) => {
                self.registry.head_blob(repository, digest).await.map(|_| State::Present)
            }
        }
    }
}

impl State {
    /// Whether it is worth reporting after `self`: what makes something unreachable may change from round to
    /// round, and it is unreachable all the same.
    fn is_unlike(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Replaced(before), Self::Replaced(now)) => before != now,
            _ => discriminant(self) != discriminant(other),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.role {
            None => "the image that the reference names",
            Some(DependencyRole::AcceleratedManifest) => "manifest of the accelerated image",
            Some(DependencyRole::AcceleratedLayer) => "layer of the accelerated image",
            Some(DependencyRole::BaseManifest) => "manifest of the base image",
            Some(DependencyRole::BaseLayer) => "layer of the base image",
        };
        write!(f, "{}@{} ({what}): ", self.repository, self.digest)?;
        match &self.state {
            State::Present => f.write_str("present again"),
            State::Gone => f.write_str("gone"),
            State::Replaced(now) => write!(f, "replaced by {now}"),
            State::Unreachable(why) => write!(f, "unreachable: {why}"),
        }
    }
}
