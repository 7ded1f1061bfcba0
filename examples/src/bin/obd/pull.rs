//! `obd pull`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use examples::origin::Origin;
use futures::TryStreamExt;
use lazy_fetch::FetchRequest;
use referrers::{Digest, Platform, Reference, ResolveOptions, Resolver, Role};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::remote::Remote;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, accelerated itself or by a referrer.
    reference: Reference,
    /// The directory for its layers and a config.v1.json that names them.
    directory: PathBuf,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let registry = args.remote.client(&args.reference)?;
    let resolver = Resolver::new(registry.clone(), ResolveOptions::default());
    let resolution = resolver.resolve(&args.reference, &Platform::current()).await?;
    let reasons = || resolution.decisions.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let found =
        resolution.accelerated.as_ref().with_context(|| format!("no accelerated image: {}", reasons()))?;

    fs::create_dir_all(&args.directory).with_context(|| args.directory.display().to_string())?;
    let origin = Origin::new(registry, args.reference.repository().clone())?;
    let (mut lowers, mut bytes) = (Vec::new(), 0);
    for layer in &found.layers {
        ensure!(layer.role == Role::Native, "{}: only full-mode layers are supported yet", layer.digest);
        let name = format!("{}.obd", layer.digest.as_str().replace(':', "-"));
        download(&origin, &layer.digest, layer.size, &args.directory.join(&name)).await?;
        bytes += layer.size;
        lowers.push(json!({ "file": name, "digest": layer.digest.to_string(), "size": layer.size }));
    }
    let config = args.directory.join("config.v1.json");
    let text = serde_json::to_vec_pretty(&json!({ "repoBlobUrl": "", "lowers": lowers, "resultFile": "" }))?;
    fs::write(&config, text).with_context(|| config.display().to_string())?;
    Ok(json!({ "config": config, "layers": found.layers.len(), "bytes": bytes }))
}

/// Downloads a blob past any cache. The file gets its name only after its digest was checked.
async fn download(origin: &Origin, digest: &Digest, size: u64, path: &Path) -> Result<()> {
    let place = || format!("{digest} to {}", path.display());
    let new = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("."))).with_context(place)?;
    let mut file: &File = new.as_file();
    let mut hash = Sha256::new();
    if size > 0 {
        let request = FetchRequest::new(0..size, std::time::Instant::now() + DEADLINE);
        let mut body = origin.source(digest, size)?.fetch(request).await.with_context(place)?;
        while let Some(bytes) = body.try_next().await.with_context(place)? {
            hash.update(&bytes);
            file.write_all(&bytes).with_context(place)?;
        }
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(digest.as_str() == format!("sha256:{found}"), "{digest}: the bytes have digest sha256:{found}");
    new.persist(path).with_context(place)?;
    Ok(())
}

const DEADLINE: std::time::Duration = std::time::Duration::from_secs(3600);
