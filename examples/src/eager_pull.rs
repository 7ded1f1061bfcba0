//! The baseline: the ordinary image, pulled and unpacked as a whole before anything can be read.
//!
//! Three layers are fetched at a time, as containerd does by default. Each goes to a file and is
//! checked by its digest; then it is decompressed and its tar entries are read to their end. Nothing is
//! written out of the tar, so the baseline is a little faster than a real pull.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use futures::{StreamExt, TryStreamExt, stream};
use lazy_fetch::{BlobSource, FetchRequest};
use referrers::{Descriptor, media_type};
use tokio::task::spawn_blocking;

use crate::hashing::HashingWriter;

/// A layer to pull.
#[derive(Debug, Clone)]
pub struct EagerLayer {
    /// Where it comes from.
    pub source: Arc<dyn BlobSource>,
    /// What comes.
    pub descriptor: Descriptor,
}

/// Pulls and unpacks the layers and returns the number of unpacked bytes. `done` is told of each piece
/// that arrives.
///
/// # Errors
///
/// If a layer cannot be fetched, has another digest or is not a tar.
pub async fn pull(layers: Vec<EagerLayer>, done: &(dyn Fn(u64) + Sync)) -> Result<u64> {
    stream::iter(layers)
        .map(|layer| async move {
            let file = fetch(&layer, done).await?;
            let layer = layer.descriptor;
            let unpacked = spawn_blocking(move || {
                unpack(file, &layer.media_type).with_context(|| format!("unpacking {}", layer.digest))
            });
            unpacked.await?
        })
        .buffer_unordered(AT_A_TIME)
        .try_fold(0, async |sum, bytes| Ok(sum + bytes))
        .await
}

async fn fetch(layer: &EagerLayer, done: &(dyn Fn(u64) + Sync)) -> Result<File> {
    let mut file = HashingWriter::new(tempfile::tempfile()?);
    let request = FetchRequest::new(0..layer.descriptor.size, Instant::now() + PATIENCE);
    let mut pieces = layer.source.fetch(request).await?;
    while let Some(piece) = pieces.try_next().await? {
        done(piece.len() as u64);
        file.write_all(&piece)?;
    }
    let (mut file, digest, _) = file.finish()?;
    ensure!(digest == layer.descriptor.digest, "{} arrived as {digest}", layer.descriptor.digest);
    file.rewind()?;
    Ok(file)
}

fn unpack(file: File, media_type: &str) -> Result<u64> {
    let file = BufReader::new(file);
    let tar: Box<dyn Read> = if media_type::is_tar_gzip(media_type) {
        Box::new(MultiGzDecoder::new(file))
    } else if media_type::is_tar(media_type) {
        Box::new(file)
    } else {
        bail!("layers of type {media_type} are not supported");
    };
    let mut bytes = 0;
    for entry in tar::Archive::new(tar).entries()? {
        bytes += io::copy(&mut entry?, &mut io::sink())?;
    }
    Ok(bytes)
}

/// containerd: the default of `max_concurrent_downloads`.
const AT_A_TIME: usize = 3;

/// How long one layer may take.
const PATIENCE: Duration = Duration::from_secs(600);
