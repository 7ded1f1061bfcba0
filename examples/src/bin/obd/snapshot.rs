//! `obd snapshot`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use overlaybd_format::{AppendOnly, PublishError, Sparse, Upper, UpperOptions, WritableImage};
use serde_json::{Value, json};

use crate::create::random_uuid;
use crate::upper::{self, Opened, new_file};

/// Seal the upper of a configuration, and put a new one on it.
///
/// The configuration is replaced by one in which the old data file is the topmost lower. If a crash
/// comes first, it names a sealed upper, which obd seal --undo opens again.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd snapshot config.v1.json next.data next.index

JSON keys:
  lowers  how many lowers the configuration names now"
)]
pub(crate) struct Args {
    /// The config.v1.json, with an upper.
    config: PathBuf,
    /// The data file of the new upper.
    data: PathBuf,
    /// The index file of the new upper. That of a sparse layer stays empty.
    index: PathBuf,
    /// Make the new upper a sparse one.
    #[arg(short, long)]
    sparse: bool,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let config = fs::read(&args.config).with_context(|| args.config.display().to_string())?;
    let mut config: Value = serde_json::from_slice(&config)?;
    let Opened { upper, lowers } = upper::Files { data: args.config.clone(), index: None }.open().await?;
    let options = UpperOptions::new(0).with_identity(random_uuid()?, upper.identity().0);
    let device = WritableImage::new(lowers, upper)?;
    let (data, index) = (new_file(&args.data)?, new_file(&args.index)?);
    let next: Upper = if args.sparse {
        Sparse::create(data, &options)?.into()
    } else {
        AppendOnly::create(data, index, &options)?.into()
    };
    let mut lowers = config["lowers"].as_array().cloned().unwrap_or_default();
    lowers.push(json!({ "file": config["upper"]["data"] }));
    let count = lowers.len();
    config["lowers"] = lowers.into();
    config["upper"] = json!({ "data": absolute(&args.data)?, "index": absolute(&args.index)? });
    device.snapshot(next, || replace(&args.config, config.to_string().as_bytes()))?;
    Ok(json!({ "lowers": count }))
}

/// Replaces a file as a whole, so that a crash leaves the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), PublishError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(directory.unwrap_or(Path::new(".")))?;
    let next = path.with_extension("next");
    let mut file = File::create(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    directory.sync_all().map_err(PublishError::InDoubt)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}
