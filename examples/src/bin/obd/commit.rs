//! `obd commit`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use overlaybd_format::{FileBlob, Layer, LayerBlob, LayerOptions, LayerWriter, Limits, Uuid};
use serde_json::Value;

use crate::output::Output;
use crate::wrapping::{self, Codec};

/// Commit a layer: write what counts of it, in order, to a blob of its own.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The layer: sealed in place, or committed before.
    layer: PathBuf,
    /// The blob to write.
    output: PathBuf,
    /// The commit message, at most 256 bytes.
    #[arg(short, long, default_value = "")]
    message: String,
    /// The identity of the blob; none if absent.
    #[arg(long, value_parser = wrapping::uuid)]
    uuid: Option<Uuid>,
    /// The identity of the layer below; that of the source if absent.
    #[arg(short, long, value_parser = wrapping::uuid)]
    parent_uuid: Option<Uuid>,
    /// Overwrite the output if it exists.
    #[arg(short, long)]
    force: bool,
    /// Compress the layer into a ZFile.
    #[arg(short = 'z', long)]
    compress: bool,
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
    let name = args.layer.display().to_string();
    let blob = FileBlob::open(&args.layer).with_context(|| name.clone())?;
    let layer = Layer::open(LayerBlob::new(name, blob), &Limits::default()).await?;

    let options = LayerOptions::of_layer(&layer)
        .with_identity(args.uuid.unwrap_or_default(), args.parent_uuid.unwrap_or(layer.parent_uuid()))
        .with_user_tag(args.message)
        .with_zeroed_pages(args.zeroed_pages)
        .with_compression(args.compress.then(|| args.codec.compression()))
        .with_tar(wrapping::tar(args.tar));
    let output = Output::create(&args.output, args.force)?;
    let mut writer = LayerWriter::new(output.file(), options)?;
    writer.copy_layer(&layer).await?;
    writer.finish().with_context(|| args.output.display().to_string())?;
    output.finish()
}
