//! `obd seal`.

use anyhow::Result;
use serde_json::{Value, json};

use crate::upper;

/// Seal a writable layer in place.
///
/// Its data file becomes a layer; the index file is of use only for --undo.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd seal layer.data layer.index

JSON keys:
  segments      segments of the layer
  virtual_size  size of the device in bytes"
)]
pub(crate) struct Args {
    #[command(flatten)]
    layer: upper::Files,
    /// Make a sealed layer a writable one again, if no stack has it as a lower yet.
    #[arg(long)]
    undo: bool,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let upper = if args.undo {
        args.layer.unseal()?
    } else {
        let upper = args.layer.open().await?.upper;
        upper.seal()?;
        upper
    };
    Ok(json!({ "segments": upper.segments().len(), "virtual_size": upper.virtual_size() }))
}
