//! `obd profile`.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use examples::lazy_image::LazyImage;
use examples::start_profile::{Profiles, limits, record};
use examples::whole_file::WholeFile;
use overlaybd_format::trace::Trace;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::source::Source;

/// Record what a start of an image reads, and attach it to the image for the next starts.
///
/// The image is mounted, COMMAND is run with {} replaced by the directory, and what it made the
/// kernel read is noted. That is added to the profile that the image has already, and attached to
/// it in its registry in place of that one: obd mount finds it there. Standard output of COMMAND
/// goes to standard error. It takes what obd mount takes, and the right to push.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd profile registry.example/team/app:1 --runs 2 -- chroot {} /bin/app --version

JSON keys:
  runs     starts that the profile is of
  records  reads in it
  bytes    their bytes of the layers, uncompressed
  profile  digest of the manifest that was attached, or null with --output"
)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// Start this often, each time with an empty page cache.
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: u64,
    /// Attach nothing, but write a trace file as overlaybd's tools do.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The start; it has to exit with status 0.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let Args { source, runs: new, output, command } = args;
    source
        .read_with_profiles(async |blobs, profiles| {
            let image = LazyImage::open(blobs.to_vec()).await?;
            let (mut trace, mut runs) = (Trace::default(), 0);
            match (&profiles, &output) {
                (None, None) => bail!("it is no image of a registry, so that --output is wanted"),
                (Some(profiles), None) => {
                    if let Some(found) = profiles.find().await? {
                        (trace, runs) = (found.trace, found.runs);
                    }
                }
                (_, Some(_)) => {}
            }
            for _ in 0..new {
                let start = record(&image, async |directory| start(&command, directory).await).await?;
                trace.merge(&start, limits().trace_records);
            }
            let runs = runs.saturating_add(new);
            let digest = keep(&trace, runs, profiles, output.as_deref()).await?;
            let bytes: u64 = trace.records.iter().map(|read| read.content.end - read.content.start).sum();
            Ok(json!({ "runs": runs, "records": trace.records.len(), "bytes": bytes, "profile": digest }))
        })
        .await
}

async fn keep(
    trace: &Trace,
    runs: u64,
    profiles: Option<Profiles>,
    output: Option<&Path>,
) -> Result<Option<String>> {
    match (output, profiles) {
        (None, Some(profiles)) => Ok(Some(profiles.attach(trace, runs).await?.to_string())),
        (Some(path), _) => {
            let file = WholeFile::create(path)?;
            file.file().write_all(&trace.encode()).with_context(|| path.display().to_string())?;
            file.keep()?;
            Ok(None)
        }
        (None, None) => Ok(None),
    }
}

async fn start(command: &[OsString], directory: &Path) -> Result<()> {
    let mut words = command.iter().map(|word| match word.to_str() {
        Some(text) => text.replace("{}", &directory.to_string_lossy()).into(),
        None => word.clone(),
    });
    let program = words.next().context("no command")?;
    let mut command = Command::new(&program);
    // Standard output is for what this says itself.
    command.args(words).stdout(std::io::stderr());
    let status = command.status().await.with_context(|| format!("running {}", program.display()))?;
    ensure!(status.success(), "{}: {status}", program.display());
    Ok(())
}
