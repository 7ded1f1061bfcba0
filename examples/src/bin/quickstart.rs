//! From a tag to verified bytes of a lazily loaded image, beside an eager pull over the same link.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser};
use examples::access::Access;
use examples::image_name::ImageName;
use examples::one_line::one_line;
use examples::progress::Progress;
use examples::quickstart::{Input, Options, run};
use referrers::Credential;
use registry::Link;

/// Starts from an image that is not here yet: resolves its tag to the accelerated image, reads what a
/// start would read, verifies everything, and pulls the ordinary image for comparison.
///
/// Without an argument it makes the image from a part of the Rust toolchain and serves it from a
/// registry in this process, over a modelled link.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    input: InputArgs,

    /// Bandwidth of the modelled link, in Mbit/s.
    #[arg(long, default_value_t = 100, value_name = "MBIT")]
    bandwidth: u64,

    /// Round-trip time of the modelled link, in milliseconds.
    #[arg(long, default_value_t = 20, value_name = "MS")]
    round_trip: u64,

    /// Speak HTTP without TLS to the registry of --image or --config.
    #[arg(long)]
    plain_http: bool,

    /// User name for the registry of --image or --config.
    #[arg(long, requires = "password")]
    username: Option<String>,

    /// Password for the registry of --image or --config.
    #[arg(long, requires = "username", env = "QUICKSTART_PASSWORD", hide_env_values = true)]
    password: Option<String>,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct InputArgs {
    /// Make the image from this directory instead of the toolchain.
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,

    /// Run the image that the reference implementation's tools made.
    #[arg(long)]
    reference: bool,

    /// Run an image of a registry.
    #[arg(long, value_name = "REFERENCE")]
    image: Option<ImageName>,

    /// Run an image of a directory in the OCI image layout.
    #[arg(long, value_name = "DIR")]
    oci_layout: Option<PathBuf>,

    /// Run the device that a config.v1.json describes.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl InputArgs {
    fn input(self) -> Input {
        match self {
            Self { tree: Some(directory), .. } => Input::Tree(directory),
            Self { reference: true, .. } => Input::ReferenceImage,
            Self { image: Some(name), .. } => Input::Image(name),
            Self { oci_layout: Some(directory), .. } => Input::OciLayout(directory),
            Self { config: Some(file), .. } => Input::Config(file),
            _ => Input::Toolchain,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match start(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

async fn start(cli: Cli) -> Result<()> {
    let credential = cli.username.zip(cli.password);
    let options = Options {
        link: Link::mbit(cli.bandwidth, Duration::from_millis(cli.round_trip)),
        access: Access {
            plain_http: cli.plain_http,
            credential: credential.map(|(username, password)| Credential::password(username, password)),
            ..Access::default()
        },
    };
    let report = run(cli.input.input(), options, Progress::detect()).await?;
    if cli.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("\n{report}");
    }
    Ok(())
}
