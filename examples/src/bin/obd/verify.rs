//! `obd verify`.

use anyhow::{Context, Result};
use examples::lazy_image::{OpenBlob, stats, with_targets};
use examples::verify::{copy, digest};
use overlaybd_format::{Content, Error, Layer, Limits, ReadAt};
use serde_json::{Value, json};

use crate::info::{content, is_layer};
use crate::source::Source;

/// Read every byte of every layer, so that each check is made once.
///
/// Checked are the structure of each layer, the CRC of each block that has one, and each blob
/// against the digest that a configuration or a manifest gives. Bytes that neither a CRC nor a
/// digest covers are read and counted; nothing can tell whether they are right.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd verify registry.example/team/app:1 --json

JSON keys:
  layers             layers that are sound
  digests            of these, blobs that have the digest they should have
  bytes_under_crc    bytes of LSMT streams whose blocks carry CRCs, and of gzip targets
  bytes_without_crc  bytes of the others
  requests           requests to a registry for parts of blobs
  fetched_bytes      what came in answer to them"
)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    args.source.read(verify).await
}

async fn verify(blobs: &[OpenBlob]) -> Result<Value> {
    let (mut digests, mut checked, mut unprotected) = (0, 0, 0);
    for blob in blobs {
        for (protected, bytes) in read_through(blob).await? {
            *(if protected { &mut checked } else { &mut unprotected }) += bytes;
        }
    }
    for blob in with_targets(blobs) {
        if let Some(expected) = &blob.digest {
            let found = digest(&blob.reader, &|_| ()).await.with_context(|| blob.name.clone())?;
            if found != *expected {
                let why = format!("its digest is {found}, not {expected}").into();
                let error = Error::Broken { what: "blob", at: 0, why };
                return Err(error.in_blob(&blob.name.as_str().into()).into());
            }
            digests += 1;
        }
    }
    let cost = stats(blobs);
    Ok(json!({
        "layers": blobs.len(),
        "digests": digests,
        "bytes_under_crc": checked,
        "bytes_without_crc": unprotected,
        "requests": cost.requests,
        "fetched_bytes": cost.bytes_fetched,
    }))
}

/// Reads the whole content, and that of a target; says whether CRCs cover each, and its length.
async fn read_through(blob: &OpenBlob) -> Result<Vec<(bool, u64)>> {
    let summary =
        |content: &Content| (content.compression().is_some_and(|zfile| zfile.block_crcs), content.size());
    if is_layer(blob).await? {
        let layer = Layer::open(blob.layer(), &Limits::default()).await?;
        layer.verify().await?;
        let target = blob.target.as_ref().map(|target| (target.compressed, target.content.size()));
        return Ok(std::iter::once(summary(layer.stream())).chain(target).collect());
    }
    let content = content(blob).await?;
    copy(&content, &mut std::io::sink(), &|_| ()).await.with_context(|| blob.name.clone())?;
    Ok(vec![summary(&content)])
}
