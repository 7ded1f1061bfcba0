//! The toolbox: one verb for each thing that can be done with layers and images.

mod bench;
mod cat;
mod info;
mod input;
mod pull;
mod remote;
mod resolve;
mod serve;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Looks into, checks, reads and measures overlaybd layers and the devices they make.
///
/// FILE is a layer blob; CONFIG is a config.v1.json. Errors go to standard error, naming the blob, the
/// place and the cause, with a non-zero exit.
#[derive(Debug, Parser)]
#[command(name = "obd")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,

    /// Print one JSON object instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what a layer or each layer of a device is: wrappers, codec, identity, segments.
    Info(info::Args),
    /// Read every byte of every layer, so that each check the format allows is made.
    Verify(verify::Args),
    /// Write the merged device, or a part of it, to a sparse file.
    Cat(cat::Args),
    /// Show which accelerated image belongs to a reference, and why.
    Resolve(resolve::Args),
    /// Download an accelerated image's layers, checked, and write a config.v1.json for them.
    Pull(pull::Args),
    /// Serve a directory as an OCI registry until interrupted.
    Registry(serve::Args),
    /// Measure reads of a device: operations and MiB a second.
    Bench(bench::Args),
    /// Measure lookups in a merged index.
    BenchLookup(bench::LookupArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.verb, cli.json).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(verb: Verb, json: bool) -> Result<()> {
    let said = match verb {
        Verb::Info(args) => info::run(args).await?,
        Verb::Verify(args) => verify::run(args).await?,
        Verb::Cat(args) => cat::run(args).await?,
        Verb::Resolve(args) => resolve::run(args).await?,
        Verb::Pull(args) => pull::run(args).await?,
        Verb::Registry(args) => serve::run(args).await?,
        Verb::Bench(args) => bench::run(args).await?,
        Verb::BenchLookup(args) => bench::run_lookup(&args)?,
    };
    let text = if json { format!("{said}\n") } else { text(&said, 0) };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// An object as indented `key: value` lines.
fn text(value: &serde_json::Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let line = |(key, value): (&String, &serde_json::Value)| match value {
        serde_json::Value::Array(items) => {
            let item = |(n, item)| format!("{indent}{key} {n}:\n{}", text(item, depth + 1));
            items.iter().enumerate().map(item).collect()
        }
        serde_json::Value::String(text) => format!("{indent}{key}: {text}\n"),
        other => format!("{indent}{key}: {other}\n"),
    };
    value.as_object().into_iter().flatten().map(line).collect()
}
