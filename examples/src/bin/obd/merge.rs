//! `obd merge`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use overlaybd_format::{Image, LayerOptions, LayerWriter, Uuid};
use serde_json::Value;

use crate::output::Output;
use crate::source::Source;
use crate::wrapping::{self, Codec};

/// Merge all layers of a device into one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// The blob to write.
    output: PathBuf,
    /// The commit message, at most 256 bytes.
    #[arg(short, long, default_value = "")]
    message: String,
    /// The identity of the blob; none if absent.
    #[arg(long, value_parser = wrapping::uuid)]
    uuid: Option<Uuid>,
    /// Overwrite the output if it exists.
    #[arg(short, long)]
    force: bool,
    /// Store the layer as it is, not compressed into a ZFile.
    #[arg(long)]
    plain: bool,
    /// Wrap the layer in a tar, as registries expect it.
    #[arg(short, long)]
    tar: bool,
    /// Do not store pages that hold only zeros.
    #[arg(long)]
    zeroed_pages: bool,
    #[command(flatten)]
    codec: Codec,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    args.source.read_device(async |image| merge(&image.device, &args).await).await
}

async fn merge(image: &Image, args: &Args) -> Result<Value> {
    let options = LayerOptions::of_image(image);
    let parent = options.parent_uuid;
    let options = options
        .with_identity(args.uuid.unwrap_or_default(), parent)
        .with_user_tag(args.message.as_str())
        .with_zeroed_pages(args.zeroed_pages)
        .with_compression((!args.plain).then(|| args.codec.compression()))
        .with_tar(wrapping::tar(args.tar));
    let output = Output::create(&args.output, args.force)?;
    let mut writer = LayerWriter::new(output.file(), options)?;
    writer.copy_image(image).await?;
    writer.finish().with_context(|| args.output.display().to_string())?;
    output.finish()
}
