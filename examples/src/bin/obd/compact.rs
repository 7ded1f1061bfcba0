//! `obd compact`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use overlaybd_format::Upper;
use serde_json::{Value, json};

use crate::upper::{self, new_file};

/// Write an append-only layer without its garbage into new files.
///
/// The old files stay as they are.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd compact layer.data layer.index new.data new.index

JSON keys:
  garbage_bytes  bytes of the old data file that are left out"
)]
pub(crate) struct Args {
    /// The data file of the layer.
    data: PathBuf,
    /// The index file of the layer.
    index: PathBuf,
    /// The data file to create.
    new_data: PathBuf,
    /// The index file to create.
    new_index: PathBuf,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let layer = upper::Files { data: args.data, index: Some(args.index) };
    let Upper::AppendOnly(layer) = layer.open().await?.upper else {
        bail!("a sparse layer has no garbage");
    };
    layer.compact(new_file(&args.new_data)?, new_file(&args.new_index)?)?;
    Ok(json!({ "garbage_bytes": layer.garbage() }))
}
