//! Accelerates a registry: what is pushed to it is converted in the background.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use examples::accelerate::Service;
use examples::accelerate::image_converter::ImageConverter;
use examples::accelerate::queue::Queue;
use examples::accelerate::settings::Settings;
use examples::access::{Access, Keep};
use examples::one_line::one_line;
use referrers::{Credential, Repository};
use tokio::net::TcpListener;

/// Converts every image that is pushed to a registry, and those that it is asked for, in the background.
///
/// It learns of pushes from webhooks (POST /webhook) of the distribution project's registry, Harbor, Azure and
/// Alibaba Cloud, or by looking at tags from time to time; an image is asked for by its reference (POST /convert).
/// GET / shows what was done, GET /metrics numbers for Prometheus. The first line on standard error is `listening
/// on ADDRESS:PORT`. It may be killed at any time: what waits is on the disk.
#[derive(Debug, Parser)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: accelerate --config accelerate.toml

The configuration:
  registry = \"registry.example.com\"
  state = \"/var/lib/accelerate\"       # the queue, and what was finished of conversions
  listen = \"127.0.0.1:8080\"
  plain-http = false
  poll-seconds = 300                  # for repositories that are named without a wildcard
  workers = 1

  [[rule]]                            # the first that fits counts
  repository = \"shop/*\"
  tag = \"v*\"
  mode = \"index-only\"                 # or full
  platforms = [\"linux/amd64\"]
  tag-suffix = \"_accelerated\""
)]
struct Cli {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// User name for the registry; without one, the docker configuration of the user is asked.
    #[arg(long, requires = "password", value_name = "NAME")]
    username: Option<String>,

    /// Password for the registry.
    #[arg(long, requires = "username", env = "ACCELERATE_PASSWORD", hide_env_values = true)]
    password: Option<String>,

    /// What webhooks and requests must carry in their Authorization header, alone or as a Bearer token.
    #[arg(long, env = "ACCELERATE_SECRET", hide_env_values = true)]
    secret: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let settings = Settings::read(&cli.config)?;
    let login = cli.username.zip(cli.password);
    let access = Access {
        plain_http: settings.plain_http,
        credential: login.map(|(username, password)| Credential::password(username, password)),
        keep: Keep::Nowhere,
        ..Access::default()
    };
    // Any repository: the client is for the host.
    let registry = access.registry(&Repository::new(&settings.registry, "any")?)?;
    let queue = Queue::open(&settings.state.join("queue"))?;
    spool(&settings.state.join("spool"))?;
    let records = settings.state.join("records");
    let convert = Arc::new(ImageConverter::new(access, registry.clone(), &records)?);
    let listener = TcpListener::bind(settings.listen).await.with_context(|| settings.listen.to_string())?;
    let address = listener.local_addr()?;
    eprintln!("listening on {address}");
    if cli.secret.is_none() && !address.ip().is_loopback() {
        eprintln!("warning: without a secret anybody who reaches {address} can have images converted");
    }
    let service = Service::new(settings, registry, queue, convert, cli.secret.as_deref());
    service.run(listener).await
}

/// An empty directory for what conversions spool. What a killed process left in it goes.
fn spool(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => fs::create_dir(directory),
    }
    .with_context(|| directory.display().to_string())?;
    tempfile::env::override_temp_dir(directory)
        .map_err(|set| anyhow!("{} is used already", set.display()))?;
    Ok(())
}
