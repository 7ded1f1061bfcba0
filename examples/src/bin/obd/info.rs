//! `obd info`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use overlaybd_format::{Content, FileBlob, Image, Layer, Limits, ReadAt, lsmt};
use serde_json::{Value, json};

use crate::input;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A layer blob or a config.v1.json.
    input: PathBuf,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let path = &args.input;
    if !input::is_config(path)? && !is_layer(path).await? {
        return zfile(path).await;
    }
    let limits = Limits::default();
    let mut layers = Vec::new();
    for blob in input::layers(path)? {
        layers.push(Layer::open(blob, &limits).await?);
    }
    let described: Vec<_> = layers.iter().map(describe).collect();
    let image = Image::stack(layers, &limits)?;
    let merged = image.index().len();
    Ok(json!({ "virtual_size": image.size(), "merged_segments": merged, "layer": described }))
}

/// Whether the content of the blob is an LSMT stream, as opposed to anything else in a ZFile.
async fn is_layer(path: &Path) -> Result<bool> {
    let content = content(path).await?;
    let mut start = vec![0; usize::try_from(content.size().min(lsmt::SECTOR_SIZE))?];
    content.read_at(&mut start, 0).await.with_context(|| path.display().to_string())?;
    Ok(lsmt::Header::detect(&start) || content.compression().is_none())
}

async fn zfile(path: &Path) -> Result<Value> {
    let content = content(path).await?;
    Ok(json!({ "kind": "ZFile", "content_size": content.size(), "wrappers": wrappers(&content) }))
}

async fn content(path: &Path) -> Result<Content> {
    let blob = FileBlob::open(path).with_context(|| format!("opening {}", path.display()))?;
    Content::open(blob, &Limits::default()).await.with_context(|| path.display().to_string())
}

fn describe(layer: &Layer) -> Value {
    let sectors = |zeroed| -> u64 {
        layer.segments().iter().filter(|s| s.is_zeroed() == zeroed).map(|s| s.len()).sum()
    };
    json!({
        "name": layer.name(),
        "wrappers": wrappers(layer.content()),
        "virtual_size": layer.virtual_size(),
        "uuid": layer.uuid().to_string(),
        "parent_uuid": layer.parent_uuid().to_string(),
        "user_tag": String::from_utf8_lossy(layer.user_tag()),
        "segments": layer.segments().len(),
        "data_bytes": sectors(false) * lsmt::SECTOR_SIZE,
        "zeroed_bytes": sectors(true) * lsmt::SECTOR_SIZE,
    })
}

fn wrappers(content: &Content) -> String {
    let tar = if content.has_tar() { "tar, " } else { "" };
    match content.compression() {
        None => format!("{tar}not compressed"),
        Some(zfile) => {
            let crc = if zfile.block_crcs { "with" } else { "without" };
            format!("{tar}ZFile {:?} in blocks of {} bytes {crc} CRCs", zfile.algorithm, zfile.block_size)
        }
    }
}
