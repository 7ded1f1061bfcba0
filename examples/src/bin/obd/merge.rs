//! `obd merge`.

use std::path::PathBuf;

use anyhow::Result;
use overlaybd_format::{Image, LayerOptions, LayerWriter};
use serde_json::Value;

use crate::output::Output;
use crate::source::Source;
use crate::wrapping::Wrapping;

/// Merge all layers of a device into one.
///
/// The new layer is compressed, as that of overlaybd-merge, and has the tags, the size and the
/// parent that the reference gives it.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd merge -t config.v1.json layer.tar

JSON keys:
  output  the blob
  size    its length in bytes
  digest  its digest, and as it is no compressed tar, its DiffID"
)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// The blob to write.
    output: PathBuf,
    /// Store the layer as it is, not compressed into a ZFile.
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    wrapping: Wrapping,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    args.source.read_device(async |image| merge(&image.device, &args).await).await
}

async fn merge(image: &Image, args: &Args) -> Result<Value> {
    let options = args.wrapping.apply(LayerOptions::of_image(image), !args.plain);
    let output = Output::create(&args.output, args.wrapping.force)?;
    let mut writer = LayerWriter::new(output.sink(), options)?;
    writer.copy_image(image).await?;
    writer.finish()?;
    output.keep()
}
