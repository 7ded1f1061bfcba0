//! Several sources of credentials as one.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{Credential, CredentialSource, DockerConfig, Reason, Repository, Result};

/// The credentials of several sources, in their order.
///
/// A source that fails is passed over if another has a credential; if none has, its error is the answer.
///
/// ```
/// use referrers::{Chain, CredentialHelper, DockerConfig};
///
/// let credentials = Chain::default()
///     .with(DockerConfig::mounted_secret("/etc/pull-secret"))
///     .with(CredentialHelper::named("ecr-login")?);
/// # drop(credentials);
/// # Ok::<_, referrers::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Chain(Vec<Arc<dyn CredentialSource>>);

impl Chain {
    /// What the `docker` and `podman` commands of the user would use.
    pub fn of_user() -> Self {
        let legacy = std::env::var_os("HOME")
            .map(|home| DockerConfig::legacy(std::path::Path::new(&home).join(".dockercfg")));
        let files = [DockerConfig::of_user(), DockerConfig::of_podman_user(), legacy];
        files.into_iter().flatten().fold(Self::default(), Self::with)
    }

    /// Asks `source` after those before it.
    #[must_use]
    pub fn with(mut self, source: impl CredentialSource + 'static) -> Self {
        self.0.push(Arc::new(source));
        self
    }
}

#[async_trait]
impl CredentialSource for Chain {
    async fn get(&self, repository: &Repository, reason: Reason) -> Result<Vec<Credential>> {
        let (mut found, mut failure) = (Vec::new(), None);
        for source in &self.0 {
            match source.get(repository, reason).await {
                Ok(credentials) => {
                    for credential in credentials {
                        if !found.contains(&credential) {
                            found.push(credential);
                        }
                    }
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(error) if found.is_empty() => Err(error),
            _ => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::StaticCredentials;

    #[test]
    fn a_source_that_fails_hides_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let broken = directory.path().join("config.json");
        std::fs::write(&broken, "no JSON").unwrap();
        let login = |user: &str| StaticCredentials::new("h.io", vec![Credential::password(user, "p")]);
        let chain = Chain::default().with(DockerConfig::new(broken)).with(login("a")).with(login("b"));
        let ask = |host: &str| block_on(chain.get(&Repository::new(host, "a").unwrap(), Reason::First));
        assert_eq!(ask("h.io").unwrap(), [Credential::password("a", "p"), Credential::password("b", "p")]);
        assert!(ask("o.io").is_err(), "whether there are credentials is unknown");
    }
}
