//! The toolbox: one verb for each thing that can be done with layers and images.
//!
//! A verb is a file with `Args`, whose documentation is the help, and `run`, which gives one JSON object;
//! and a line of `verbs!`.

mod bench;
mod bench_lookup;
mod cat;
mod commit;
mod compact;
mod convert;
mod create;
mod doctor;
mod info;
mod interrupt;
mod merge;
mod mount;
mod nbd;
mod output;
mod profile;
mod pull;
mod random;
mod referrer;
mod remote;
mod resize;
mod resolve;
mod said;
mod seal;
mod seconds;
mod serve;
mod snapshot;
mod source;
mod upper;
mod verify;
mod wrapping;
mod write;
mod zfile;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use examples::one_line::one_line;
use serde_json::Value;

/// Looks into, checks, reads, writes and measures overlaybd layers and the devices they make.
///
/// INPUT is a layer blob in a file, a config.v1.json, or an image that has an accelerated form: in an
/// image layout, oci:DIR:TAG, or in a registry, as registry.example/team/app:1. Layers that are in
/// a registry are read lazily: what a verb does not look at is not fetched.
///
/// The upper of a config.v1.json is part of the device for cat, nbd and the verbs that write; the
/// others refuse it by its key. So do all with what an example does not do: recordTracePath,
/// download. An acceleration layer is left out. resultFile is left alone, because it tells of the
/// device that a runtime makes.
///
/// With --json, standard output is one JSON object, whose keys the help of each verb lists. An
/// error is one line on standard error that names the blob, the place in it and the cause; standard
/// output stays empty then, and the exit status is 1 (2 for a wrong command line).
#[derive(Debug, Parser)]
#[command(name = "obd", verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,

    /// Print one JSON object instead of text.
    #[arg(long, global = true)]
    json: bool,
}

macro_rules! verbs {
    ($($verb:ident => $file:ident),* $(,)?) => {
        #[derive(Debug, Subcommand)]
        enum Verb {
            $($verb($file::Args)),*
        }

        impl Verb {
            async fn run(self) -> Result<Value> {
                match self {
                    $(Self::$verb(args) => $file::run(args).await),*
                }
            }
        }
    };
}

verbs! {
    Info => info,
    Verify => verify,
    Cat => cat,
    Resolve => resolve,
    Referrers => referrer,
    Doctor => doctor,
    Pull => pull,
    Mount => mount,
    Profile => profile,
    Convert => convert,
    Nbd => nbd,
    Registry => serve,
    Bench => bench,
    BenchLookup => bench_lookup,
    Commit => commit,
    Merge => merge,
    Zfile => zfile,
    Create => create,
    Write => write,
    Seal => seal,
    Snapshot => snapshot,
    Resize => resize,
    Compact => compact,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.verb, cli.json).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(verb: Verb, json: bool) -> Result<()> {
    let said = verb.run().await?;
    let text = if json { format!("{said}\n") } else { said::text(&said) };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
