//! `obd pull`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use examples::access::Keep;
use examples::full_mode::FullMode;
use examples::hashing::HashingWriter;
use examples::lazy_image::OpenBlob;
use examples::verify::copy;
use examples::whole_file::WholeFile;
use referrers::{Digest, Reference};
use serde_json::{Value, json};

use crate::remote::Remote;

/// Download the layers of an accelerated image, checked, and write a config.v1.json for them.
///
/// The image is one that is accelerated itself or has an accelerated image in full mode as a
/// referrer. A layer gets its name only after its digest was checked, and the configuration comes
/// last.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd pull registry.example/team/app:1 layers/

JSON keys:
  config  path of the configuration
  layers  number of layers
  bytes   their length together"
)]
pub(crate) struct Args {
    /// The image, accelerated itself or by a referrer.
    #[arg(value_name = "REF")]
    reference: Reference,
    /// The directory for its layers and a config.v1.json that names them.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let access = args.remote.access(Keep::Nowhere);
    let repository = args.reference.repository();
    let image = FullMode::resolve(access.registry(repository)?, &args.reference, &access.resolve).await?;
    let origin = access.origin(repository)?;

    fs::create_dir_all(&args.directory)
        .with_context(|| format!("making the directory {}", args.directory.display()))?;
    let (mut lowers, mut bytes) = (Vec::new(), 0);
    for layer in image.layers() {
        let name = format!("{}.obd", layer.digest.as_str().replace(':', "-"));
        let blob = origin.open(&layer.digest, layer.size)?;
        download(&blob, &layer.digest, &args.directory.join(&name)).await?;
        bytes += layer.size;
        lowers.push(json!({ "file": name, "digest": layer.digest.to_string(), "size": layer.size }));
    }
    let path = args.directory.join("config.v1.json");
    let layers = lowers.len();
    let config = json!({ "repoBlobUrl": "", "lowers": lowers, "resultFile": "" });
    let file = WholeFile::create(&path)?;
    file.file()
        .write_all(&serde_json::to_vec_pretty(&config)?)
        .with_context(|| format!("writing {}", path.display()))?;
    file.keep()?;
    Ok(json!({ "config": path, "layers": layers, "bytes": bytes }))
}

async fn download(blob: &OpenBlob, digest: &Digest, path: &Path) -> Result<()> {
    let file = WholeFile::create(path)?;
    let mut hashing = HashingWriter::new(file.file());
    copy(&blob.reader, &mut hashing, &|_| ())
        .await
        .with_context(|| format!("{digest} to {}", path.display()))?;
    let (_, found, _) = hashing.finish()?;
    ensure!(found == *digest, "{digest}: the bytes have the digest {found}");
    file.keep()
}
