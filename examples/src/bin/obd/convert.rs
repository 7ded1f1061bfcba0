//! `obd convert`.

use std::path::PathBuf;

use anyhow::Result;
use examples::access::Keep;
use examples::convert::options::{self, Mode, Options};
use examples::convert::records::Records;
use examples::convert::{Located, convert};
use examples::image_name::ImageName;
use examples::image_place::ImagePlace;
use examples::progress::Progress;
use referrers::Platform;
use serde_json::Value;

use crate::remote::Remote;
use crate::wrapping::Codec;

/// Convert an ordinary image, so that it has an accelerated one beside it.
///
/// The layers may be tar, gzip or zstd. In full mode the accelerated image holds all data; in
/// index-only mode it holds an index into the layers of the ordinary image, which must stay where
/// it is. A layer compressed by zstd cannot be indexed and becomes a full one there.
///
/// SRC and DST are images of registries, or oci:DIR:TAG in an image layout. Without DST the
/// accelerated image is made beside SRC. With it, SRC is copied to DST first, and the accelerated
/// image made there. The ordinary image stays as it is. The accelerated one refers to it as its
/// subject, and has its tag with the suffix of the preset.
///
/// Unless the switches say otherwise, full layers are compressed by zstd at level 6, in blocks of
/// 32 KiB, by as many threads as there are processors.
///
/// Of an image for several platforms all are converted, into an index of their own; attestations
/// are left out. What was finished before is recorded and not done again; an interrupted run goes
/// on behind the last finished layer. The same image gives the same bytes.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd convert --mode index-only registry.example/team/app:1

JSON keys:
  mode         full or index-only, as asked for
  base         digest of the ordinary image, or of its index
  accelerated  digest of what was made
  tag          its tag, or null
  base_bytes   length of the ordinary layers
  bytes        length of the layers that were made
  seconds      time that it took
  image        the images, one for each platform, with
    platform     such as linux/amd64
    base, accelerated
                 as above
    layer        the layers, bottom first, each with
      base         digest of the ordinary layer
      base_bytes   its length
      digest       digest of the layer that was made
      bytes        its length
      mode         what it holds
      reused       whether it was made before
      seconds      time that it took"
)]
pub(crate) struct Args {
    /// What the accelerated image holds.
    #[arg(long, value_enum, default_value = "full")]
    mode: ModeName,
    /// The ordinary image.
    #[arg(value_name = "SRC")]
    source: ImageName,
    /// Where it is to be converted.
    #[arg(value_name = "DST")]
    destination: Option<ImageName>,
    /// Convert only these platforms, such as linux/arm64 or linux/arm/v7; repeatable.
    #[arg(long = "platform", value_name = "PLATFORM")]
    platforms: Vec<Platform>,
    /// Refuse layers that cannot be indexed, instead of making full ones.
    #[arg(long)]
    only_index: bool,
    /// Where it is recorded what was made; the user's cache directory if absent.
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
    #[command(flatten)]
    codec: Codec,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ModeName {
    /// All data.
    Full,
    /// Metadata, and an index of the ordinary image's layers.
    IndexOnly,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let access = args.remote.access(Keep::Nowhere);
    let records = match &args.records {
        Some(directory) => Records::open(directory)?,
        None => Records::of_user()?,
    };
    let mode = match args.mode {
        ModeName::Full => Mode::Full,
        ModeName::IndexOnly => Mode::IndexOnly,
    };
    let options = Options::new(mode)
        .with_compression(args.codec.compression(options::compression()))
        .with_platforms(args.platforms)
        .with_only_index(args.only_index)
        .with_suffix(args.remote.suffix(mode).map(str::to_owned));
    let from = Located { place: ImagePlace::of(&args.source, &access, false)?, name: args.source };
    let to = match args.destination {
        Some(name) => Some(Located { place: ImagePlace::of(&name, &access, true)?, name }),
        None => None,
    };
    let report = convert(&from, to.as_ref(), &options, &records, Progress::bars()).await?;
    Ok(serde_json::to_value(report)?)
}
