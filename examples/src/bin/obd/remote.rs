//! How a verb reaches a registry.

use std::sync::Arc;

use anyhow::Result;
use referrers::{
    Anonymous, Credential, CredentialSource, DockerConfig, Reference, Registry, RegistryOptions,
    StaticCredentials,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Remote {
    /// Speak HTTP without TLS.
    #[arg(long)]
    plain_http: bool,
    /// User name; without one, the docker configuration of the user is asked.
    #[arg(long, requires = "password")]
    username: Option<String>,
    /// Password.
    #[arg(long, requires = "username", env = "OBD_PASSWORD", hide_env_values = true)]
    password: Option<String>,
}

impl Remote {
    pub(crate) fn client(self, reference: &Reference) -> Result<Registry> {
        let host = reference.repository().host();
        let mut options = RegistryOptions::default();
        if self.plain_http {
            options = options.with_plain_http(host);
        }
        let credentials: Arc<dyn CredentialSource> = match (self.username, self.password) {
            (Some(user), Some(password)) => {
                Arc::new(StaticCredentials::new(host, vec![Credential::password(user, password)]))
            }
            _ => match DockerConfig::of_user() {
                Some(config) => Arc::new(config),
                None => Arc::new(Anonymous),
            },
        };
        Ok(Registry::new(options, credentials)?)
    }
}
