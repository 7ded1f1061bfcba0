//! Asking mirrors first.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};

use crate::media_type::OCI_INDEX;
use crate::{Capability, Mirror, Registry, Repository};

use super::exchange::{Ask, Reply};
use super::refusal;

/// Mirrors that have failed lately, by host, and until when each is left in peace: a mirror that does not answer
/// would hold up every call.
#[derive(Debug, Default)]
pub(crate) struct Benched(Mutex<HashMap<String, Instant>>);

impl Benched {
    fn holds(&self, mirror: &Mirror, now: Instant) -> bool {
        self.lock().get(mirror.host()).is_some_and(|until| now < *until)
    }

    fn add(&self, mirror: &Mirror, now: Instant) {
        if let Some(until) = now.checked_add(BENCHED) {
            self.lock().insert(mirror.host().to_owned(), until);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// The mirrors of the repository's registry.
    pub(crate) fn mirrors(&self, repository: &Repository) -> impl Iterator<Item = &Mirror> {
        self.0.options.mirrors.get(repository.host()).into_iter().flatten()
    }

    /// The answer of the first mirror that is capable of one and has what is asked for. `deadline` is that of
    /// the whole call.
    pub(crate) async fn ask_mirrors(&self, ask: &Ask<'_>, deadline: Option<Instant>) -> Option<Reply> {
        let (capability, digest) = ask.mirrored?;
        // Only a whole answer can be checked; one without a body is believed like the registry's.
        let digest = digest.filter(|_| ask.method == Method::GET);
        for mirror in self.mirrors(ask.repository).filter(|mirror| mirror.can(capability)) {
            let now = self.clock().now();
            if self.0.benched.holds(mirror, now) {
                continue;
            }
            let left = deadline.map_or(TIME_LIMIT, |deadline| deadline.saturating_duration_since(now));
            // Whoever is asked next has half of it still.
            let limit = TIME_LIMIT.min(left / 2);
            let asked = tokio::time::timeout(limit, self.ask_mirror(mirror, ask)).await;
            let Some(reply) = asked.unwrap_or_default() else {
                self.0.benched.add(mirror, self.clock().now());
                continue;
            };
            let unchanged = reply.status == StatusCode::NOT_MODIFIED;
            let is_it = || match capability {
                // A page for people is no list, and does not say that there is none.
                Capability::Referrers => reply.media_type() == OCI_INDEX,
                Capability::Pull | Capability::Resolve => {
                    digest.is_none_or(|digest| digest.verify(&reply.body, "").is_ok())
                }
            };
            if unchanged || reply.status.is_success() && is_it() {
                return Some(reply);
            }
        }
        None
    }

    /// One try; `None` if the mirror is in no state to answer. Whatever goes wrong, somebody else is asked.
    async fn ask_mirror(&self, mirror: &Mirror, ask: &Ask<'_>) -> Option<Reply> {
        let below = self.url(ask.repository, "").ok()?;
        let rest = ask.url.path().strip_prefix(below.path())?;
        let url = mirror.url(ask.repository, rest, ask.url.query());
        let repository = mirror.repository(ask.repository).ok()?;
        let mut headers = ask.headers.clone();
        headers.extend(mirror.headers().clone());
        let asked = Ask { repository: &repository, url, headers, mirrored: None, ..ask.clone() };
        self.authorised(&asked).await.and_then(refusal::unless_transient).ok()
    }
}

/// Longer than a mirror that is worth asking takes.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// So long that a silent mirror costs a sixth of the time at most, so short that one that was started again is
/// soon of use.
const BENCHED: Duration = Duration::from_secs(30);
