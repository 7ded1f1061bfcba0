//! How a verb reaches a registry.

use anyhow::Result;
use referrers::{Reference, Registry};

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
        examples::client::client(reference.repository(), self.plain_http, self.username.zip(self.password))
    }
}
