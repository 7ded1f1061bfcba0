//! `obd info`.

use anyhow::{Context, Result};
use examples::lazy_image::{OpenBlob, stats};
use futures::future::try_join_all;
use overlaybd_format::{Content, Index, Layer, Limits, ReadAt, lsmt};
use serde_json::{Value, json};

use crate::source::Source;

/// Show what the layers of a device are: wrappers, codec, identity, segments.
///
/// Of remote layers, only what opening needs is fetched. A blob that holds something else than a
/// layer in a ZFile is described as that.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd info layer.obd

JSON keys:
  virtual_size     size of the device in bytes; null if no layer says it
  merged_segments  segments of the layers laid over one another
  layer            the layers, bottom first, each with
    name             path or digest of the blob
    blob_bytes       its length
    wrappers         what is around the layer, from the outside
    target           what an index-only layer points into; null for a full one
    virtual_size     size of the device in bytes; 0 leaves it to the layers below
    uuid, parent_uuid, user_tag
                     as they were given to the commit
    segments         entries of the index
    data_bytes       device bytes that are stored
    zeroed_bytes     device bytes that are discarded
  requests         requests to a registry for parts of blobs
  fetched_bytes    what came in answer to them

JSON keys for a ZFile that holds no layer:
  kind             \"ZFile\"
  content_size     length of what it holds, in bytes
  wrappers, requests, fetched_bytes
                   as above"
)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    args.source.read(describe).await
}

async fn describe(blobs: &[OpenBlob]) -> Result<Value> {
    let mut said = match blobs {
        [blob] if !is_layer(blob).await? => describe_content(blob).await?,
        blobs => describe_stack(blobs).await?,
    };
    let cost = stats(blobs);
    said["requests"] = cost.requests.into();
    said["fetched_bytes"] = cost.bytes_fetched.into();
    Ok(said)
}

/// Whether the content of the blob is an LSMT stream, as opposed to anything else in a ZFile.
pub(crate) async fn is_layer(blob: &OpenBlob) -> Result<bool> {
    let content = content(blob).await?;
    let mut start = vec![0; usize::try_from(content.size().min(lsmt::SECTOR_SIZE))?];
    content.read_at(&mut start, 0).await.with_context(|| blob.name.clone())?;
    Ok(lsmt::Header::detect(&start) || content.compression().is_none())
}

/// What is in the wrappers of the blob.
pub(crate) async fn content(blob: &OpenBlob) -> Result<Content> {
    Content::open(blob.reader.clone(), &Limits::default()).await.with_context(|| blob.name.clone())
}

async fn describe_content(blob: &OpenBlob) -> Result<Value> {
    let content = content(blob).await?;
    Ok(json!({ "kind": "ZFile", "content_size": content.size(), "wrappers": wrappers(&content) }))
}

async fn describe_stack(blobs: &[OpenBlob]) -> Result<Value> {
    let limits = Limits::default();
    let layers = try_join_all(blobs.iter().map(|blob| Layer::open(blob.layer(), &limits))).await?;
    let size = layers.iter().rev().map(Layer::virtual_size).find(|&size| size != 0);
    let sizes = blobs.iter().map(|blob| blob.reader.size());
    let described: Vec<_> =
        layers.iter().zip(sizes).map(|(layer, size)| describe_layer(layer, size)).collect();
    let segments = layers.iter().map(|layer| layer.segments().to_vec()).collect();
    let merged = Index::merge(segments, &limits)?;
    Ok(json!({ "virtual_size": size, "merged_segments": merged.len(), "layer": described }))
}

fn describe_layer(layer: &Layer, blob_bytes: u64) -> Value {
    let sectors = |zeroed| -> u64 {
        layer.segments().iter().filter(|s| s.is_zeroed() == zeroed).map(|s| s.len()).sum()
    };
    json!({
        "name": layer.name(),
        "blob_bytes": blob_bytes,
        "wrappers": wrappers(layer.stream()),
        "target": layer.target_name(),
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
