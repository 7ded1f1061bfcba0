//! How registries are reached: with or without TLS, as whom, how patiently, through which cache.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use referrers::{
    Chain, Credential, CredentialSource, Registry, RegistryOptions, Repository, ResolveOptions,
    StaticCredentials,
};

use crate::chunk_dir::CacheDir;
use crate::origin::Origin;

/// The way to registries.
#[derive(Debug, Clone)]
pub struct Access {
    /// Whether they are spoken to without TLS.
    pub plain_http: bool,
    /// What they are shown. Without it, the files of the docker and podman commands are asked; without those,
    /// access is anonymous.
    pub credential: Option<Credential>,
    /// Time for one request for a document, and for one read of a blob with all its retries.
    pub timeout: Duration,
    /// Where fetched bytes are kept beside memory.
    pub keep: Keep,
    /// Where accelerated images are looked for.
    pub resolve: ResolveOptions,
}

/// Where fetched bytes are kept beside memory.
#[derive(Debug, Clone)]
pub enum Keep {
    /// Nowhere: they are read once.
    Nowhere,
    /// In a directory that goes with the last blob that is read through it.
    Temporary,
    /// In this directory, for the next run too.
    Directory(CacheDir),
}

impl Access {
    /// A client for the host of `repository`.
    ///
    /// # Errors
    ///
    /// If no HTTP client can be made.
    pub fn registry(&self, repository: &Repository) -> Result<Registry> {
        let host = repository.host();
        let mut options = RegistryOptions::default().with_deadline(self.timeout);
        if self.plain_http {
            options = options.with_plain_http(host);
        }
        Ok(Registry::new(options, self.credentials(repository))?)
    }

    /// Where the credentials for `repository` come from.
    pub fn credentials(&self, repository: &Repository) -> Arc<dyn CredentialSource> {
        match &self.credential {
            Some(credential) => Arc::new(StaticCredentials::new(repository.host(), vec![credential.clone()])),
            None => Arc::new(Chain::of_user()),
        }
    }

    /// The blobs of `repository`, with a cache of their own. To be called from a task of a tokio runtime.
    ///
    /// # Errors
    ///
    /// As [`registry`](Self::registry) and [`Origin::new`].
    pub fn origin(&self, repository: &Repository) -> Result<Origin> {
        Origin::new(self.registry(repository)?, repository.clone(), &self.keep, self.timeout)
    }
}

impl Default for Access {
    /// TLS, the user's own credentials, half a minute, a temporary directory, no tag suffixes.
    fn default() -> Self {
        Self {
            plain_http: false,
            credential: None,
            timeout: Duration::from_secs(30),
            keep: Keep::Temporary,
            resolve: ResolveOptions::default(),
        }
    }
}
