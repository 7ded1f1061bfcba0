//! `obd resize`.

use anyhow::Result;
use overlaybd_format::ReadWriteAt;
use serde_json::{Value, json};

use crate::upper;

/// Give the device of a writable layer another size.
///
/// What is cut off is discarded, what is gained reads as zeros. A file system on the device is left
/// as it is: make it smaller before, or larger afterwards.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd resize layer.data layer.index --vsize 1073741824

JSON keys:
  before        size of the device before, in bytes
  virtual_size  its size now"
)]
pub(crate) struct Args {
    #[command(flatten)]
    layer: upper::Files,
    /// The new size in bytes, a multiple of 512.
    #[arg(long)]
    vsize: u64,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let device = args.layer.device().await?;
    let before = device.size();
    device.resize(args.vsize).await?;
    Ok(json!({ "before": before, "virtual_size": device.size() }))
}
