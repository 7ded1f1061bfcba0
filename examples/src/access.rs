//! A client for a registry, with the credentials of whoever runs the binary.

use std::sync::Arc;

use anyhow::Result;
use referrers::{
    Anonymous, Credential, CredentialSource, DockerConfig, Registry, RegistryOptions, Repository,
    StaticCredentials,
};

/// A client for the host of `repository`. Without a user name and password in `credentials`, the docker
/// configuration of the user is asked; without that, the client is anonymous.
///
/// # Errors
///
/// If no HTTP client can be made.
pub fn client(
    repository: &Repository,
    plain_http: bool,
    credentials: Option<(String, String)>,
) -> Result<Registry> {
    let host = repository.host();
    let mut options = RegistryOptions::default();
    if plain_http {
        options = options.with_plain_http(host);
    }
    let credentials: Arc<dyn CredentialSource> = match (credentials, DockerConfig::of_user()) {
        (Some((user, password)), _) => {
            Arc::new(StaticCredentials::new(host, vec![Credential::password(user, password)]))
        }
        (None, Some(config)) => Arc::new(config),
        (None, None) => Arc::new(Anonymous),
    };
    Ok(Registry::new(options, credentials)?)
}
