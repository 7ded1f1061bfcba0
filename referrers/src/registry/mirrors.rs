//! Asking mirrors first.

use std::time::Duration;

use reqwest::{Method, StatusCode};

use crate::{Mirror, Registry, Repository};

use super::exchange::{Ask, Reply};

impl Registry {
    /// The mirrors of the repository's registry.
    pub(crate) fn mirrors(&self, repository: &Repository) -> impl Iterator<Item = &Mirror> {
        self.0.options.mirrors.get(repository.host()).into_iter().flatten()
    }

    /// The answer of the first mirror that is capable of one and has what is asked for.
    pub(crate) async fn ask_mirrors(&self, ask: &Ask<'_>) -> Option<Reply> {
        let (capability, digest) = ask.mirrored?;
        // Only a whole answer can be checked; one without a body is believed like the registry's.
        let digest = digest.filter(|_| ask.method == Method::GET);
        for mirror in self.mirrors(ask.repository).filter(|mirror| mirror.can(capability)) {
            let Some(reply) = self.ask_mirror(mirror, ask).await else { continue };
            let unchanged = reply.status == StatusCode::NOT_MODIFIED;
            let is_it = || digest.is_none_or(|digest| digest.verify(&reply.body, "").is_ok());
            if unchanged || reply.status.is_success() && is_it() {
                return Some(reply);
            }
        }
        None
    }

    /// One try. Whatever goes wrong, somebody else is asked.
    async fn ask_mirror(&self, mirror: &Mirror, ask: &Ask<'_>) -> Option<Reply> {
        let below = self.url(ask.repository, "").ok()?;
        let rest = ask.url.path().strip_prefix(below.path())?;
        let url = mirror.url(ask.repository, rest, ask.url.query());
        let repository = mirror.repository(ask.repository).ok()?;
        let mut headers = ask.headers.clone();
        headers.extend(mirror.headers().clone());
        let asked = Ask { repository: &repository, url, headers, mirrored: None, ..ask.clone() };
        tokio::time::timeout(TIME_LIMIT, self.authorised(&asked)).await.ok()?.ok()
    }
}

/// Longer than a mirror that is worth asking takes.
const TIME_LIMIT: Duration = Duration::from_secs(5);
