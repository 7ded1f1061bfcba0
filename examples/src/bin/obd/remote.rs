//! How a verb reaches a registry.

use std::time::Duration;

use examples::access::{Access, Keep};
use examples::convert::options::Mode;
use examples::preset::Preset;
use referrers::Credential;

use crate::seconds;

#[derive(Debug, clap::Args)]
pub(crate) struct Remote {
    /// Speak HTTP without TLS.
    #[arg(long, help_heading = HEADING)]
    plain_http: bool,
    /// User name; without one, the docker configuration of the user is asked.
    #[arg(long, requires = "password", value_name = "NAME", help_heading = HEADING)]
    username: Option<String>,
    /// Password.
    #[arg(long, requires = "username", env = "OBD_PASSWORD", hide_env_values = true, help_heading = HEADING)]
    password: Option<String>,
    /// How long one request, or one read of a blob with all its retries, may take.
    #[arg(long, value_name = "SECONDS", value_parser = seconds::parse, default_value = "30", help_heading = HEADING)]
    timeout: Duration,
    /// Tag suffixes to look for where no referrer is found.
    #[arg(long, value_enum, default_value = "alibaba", help_heading = HEADING)]
    preset: Preset,
}

impl Remote {
    /// The suffix by which the preset finds an image of this mode, or the first of those.
    pub(crate) fn suffix(&self, mode: Mode) -> Option<&'static str> {
        self.preset.suffix(mode)
    }

    pub(crate) fn access(&self, keep: Keep) -> Access {
        let credential = self.username.as_ref().zip(self.password.as_ref());
        Access {
            plain_http: self.plain_http,
            credential: credential.map(|(username, password)| Credential::password(username, password)),
            timeout: self.timeout,
            keep,
            resolve: self.preset.options(),
        }
    }
}

const HEADING: &str = "Registries";
