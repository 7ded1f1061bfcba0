//! `obd commit`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use overlaybd_format::{FileBlob, Layer, LayerBlob, LayerOptions, LayerWriter, Limits};
use serde_json::Value;

use crate::output::Output;
use crate::upper;
use crate::wrapping::Wrapping;

/// Commit a layer: write what counts of it, in order, to a new blob.
///
/// The layer is a writable one, given by its data and index files, or one blob that is sealed or
/// committed. The bytes are those that overlaybd-commit writes, except that ZSTD differs by its
/// version and where small reads can stop, and that -t has its effect without -z too.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd commit -z -t rw.data rw.index layer.tar

JSON keys:
  output  the blob
  size    its length in bytes
  digest  its digest, and as it is no compressed tar, its DiffID"
)]
pub(crate) struct Args {
    /// The layer, the index file of a writable one, and the blob to write.
    #[arg(required = true, num_args = 2..=3, value_names = ["LAYER", "INDEX", "OUTPUT"])]
    files: Vec<PathBuf>,
    /// Compress the layer into a ZFile.
    #[arg(short = 'z', long)]
    compress: bool,
    /// The layer is sealed. That is seen from its files; the switch is for scripts that have it.
    #[arg(long, alias = "commit_sealed", hide = true)]
    commit_sealed: bool,
    #[command(flatten)]
    wrapping: Wrapping,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let (layer, output) = match args.files.as_slice() {
        [layer, output] => (sealed(layer).await?, output),
        [data, index, output] if !args.commit_sealed => {
            let files = upper::Files { data: data.clone(), index: Some(index.clone()) };
            (files.open().await?.upper.to_layer()?, output)
        }
        _ => bail!("--commit-sealed takes a layer and an output"),
    };
    let options = args.wrapping.apply(LayerOptions::of_layer(&layer), args.compress);
    let output = Output::create(output, args.wrapping.force)?;
    let mut writer = LayerWriter::new(output.sink(), options)?;
    writer.copy_layer(&layer).await?;
    writer.finish()?;
    output.keep()
}

async fn sealed(path: &Path) -> Result<Layer> {
    let name = path.display().to_string();
    let blob = FileBlob::open(path).with_context(|| format!("opening {name}"))?;
    Ok(Layer::open(LayerBlob::new(name, blob), &Limits::default()).await?)
}
