//! The baseline: the ordinary image, pulled and unpacked as a whole before anything can be read.
//!
//! Three layers are fetched at a time, as containerd does by default. Each goes to a file and is
//! checked by its digest; then it is decompressed and its tar entries are read to their end, one layer after
//! the other. Where nothing is written out of the tar, the baseline is a little faster than a real pull.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use futures::{StreamExt, TryStreamExt, stream};
use lazy_fetch::{BlobSource, FetchRequest};
use referrers::{Descriptor, ImageManifest, media_type};
use tokio::task::spawn_blocking;

use crate::hashing::HashingWriter;
use crate::origin::Origin;

/// A layer to pull.
#[derive(Debug, Clone)]
pub struct EagerLayer {
    /// Where it comes from.
    pub source: Arc<dyn BlobSource>,
    /// What comes.
    pub descriptor: Descriptor,
}

impl EagerLayer {
    /// The layers of `image`, lowest first, from `origin`.
    ///
    /// # Errors
    ///
    /// As [`Origin::source`].
    pub fn all(image: &ImageManifest, origin: &Origin) -> Result<Vec<Self>> {
        let layer = |layer: &Descriptor| {
            let source = origin.source(&layer.digest, layer.size)?;
            Ok(Self { source, descriptor: layer.clone() })
        };
        image.layers.iter().map(layer).collect()
    }
}

/// Pulls and unpacks the layers, lowest first, to the directory `into` if there is one, and returns the number
/// of unpacked bytes. `done` is told of each piece that arrives.
///
/// # Errors
///
/// If a layer cannot be fetched, has another digest or is not a tar, or removes files of those below.
pub async fn pull(layers: Vec<EagerLayer>, into: Option<&Path>, done: &(dyn Fn(u64) + Sync)) -> Result<u64> {
    stream::iter(layers)
        .map(async |layer| anyhow::Ok((fetch(&layer, done).await?, layer.descriptor)))
        .buffered(AT_A_TIME)
        .try_fold(0, async |sum, (file, layer)| {
            let into = into.map(Path::to_owned);
            let unpacked = spawn_blocking(move || {
                unpack(file, &layer.media_type, into.as_deref())
                    .with_context(|| format!("unpacking {}", layer.digest))
            });
            Ok(sum + unpacked.await??)
        })
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

fn unpack(file: File, media_type: &str, into: Option<&Path>) -> Result<u64> {
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
        let mut entry = entry?;
        let Some(into) = into else {
            bytes += io::copy(&mut entry, &mut io::sink())?;
            continue;
        };
        let name = entry.path()?.file_name().unwrap_or_default().to_owned();
        ensure!(!name.as_encoded_bytes().starts_with(b".wh."), "{} removes a file", name.display());
        ensure!(entry.unpack_in(into)?, "{} leads out of the directory", name.display());
        bytes += entry.size();
    }
    Ok(bytes)
}

/// containerd: the default of `max_concurrent_downloads`.
const AT_A_TIME: usize = 3;

/// How long one layer may take.
const PATIENCE: Duration = Duration::from_secs(600);
