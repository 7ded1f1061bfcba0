//! How long a start takes from an image that is not here: lazily, and after a pull.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use examples::cold_start::{Options, Table, run, svg};
use examples::one_line::one_line;
use examples::progress::Progress;

/// Measures a cold start over a slow link: pulled and unpacked, and lazily, without and with a profile.
///
/// The image is a part of the Rust toolchain, the start is its compiler at work. Everyone gets it from one
/// registry in this process over one modelled link. It takes root, util-linux and /dev/fuse;
/// containerd takes part where it is installed.
#[derive(Debug, Parser)]
struct Cli {
    /// Bandwidths of the modelled link, in Mbit/s.
    #[arg(long, value_name = "MBIT", value_delimiter = ',', default_value = "300,100")]
    bandwidth: Vec<u64>,

    /// Round-trip time of the modelled link, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 20)]
    round_trip: u64,

    /// Runs of each way; the medians are reported.
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: usize,

    /// Draw bytes over time to this SVG file.
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
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
    let options = Options {
        bandwidths: cli.bandwidth,
        round_trip: Duration::from_millis(cli.round_trip),
        runs: cli.runs,
    };
    let measured = run(&options, Progress::detect()).await?;
    if let Some(path) = cli.picture {
        std::fs::write(&path, svg(&measured)).with_context(|| path.display().to_string())?;
    }
    if cli.json {
        println!("{}", serde_json::to_string_pretty(&measured)?);
    } else {
        print!("\n{}", Table(&measured));
    }
    Ok(())
}
