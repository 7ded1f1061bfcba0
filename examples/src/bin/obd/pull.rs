//! `obd pull`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use examples::accelerated_image::{AcceleratedImage, target};
use examples::access::Keep;
use examples::hashing::HashingWriter;
use examples::image_name::ImageName;
use examples::image_place::ImagePlace;
use examples::lazy_image::OpenBlob;
use examples::open_layer;
use examples::verify::copy;
use examples::whole_file::WholeFile;
use futures::future::try_join;
use referrers::{Descriptor, Digest};
use serde_json::{Value, json};

use crate::remote::Remote;

/// Download the layers of an accelerated image, checked, and write a config.v1.json for them.
///
/// The image is one that is accelerated itself or has an accelerated image as a referrer. With
/// index-only layers, those of the ordinary image are downloaded, too. A file gets its name only
/// after its digest was checked, and the configuration comes last.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd pull registry.example/team/app:1 layers/

JSON keys:
  config  path of the configuration
  layers  number of layers
  bytes   their length together, with what index-only layers point into"
)]
pub(crate) struct Args {
    /// The image, accelerated itself or by a referrer.
    #[arg(value_name = "REF")]
    image: ImageName,
    /// The directory for its layers and a config.v1.json that names them.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    remote: Remote,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let access = args.remote.access(Keep::Nowhere);
    let place = ImagePlace::of(&args.image, &access, false)?;
    let image = AcceleratedImage::find(&place, &args.image, &access.resolve).await?;

    fs::create_dir_all(&args.directory)
        .with_context(|| format!("making the directory {}", args.directory.display()))?;
    let (mut lowers, mut bytes) = (Vec::new(), 0);
    for layer in image.layers() {
        let blob = Descriptor::new(layer.media_type.as_str(), layer.digest.clone(), layer.size);
        bytes += layer.size;
        lowers.push(match target(layer) {
            None => {
                let file = download(&place.blob(&blob)?, &layer.digest, &args.directory).await?;
                json!({ "file": file, "digest": layer.digest, "size": layer.size })
            }
            Some(target) => {
                let (lower, target_bytes) = index_only(&place, &blob, target, &args.directory).await?;
                bytes += target_bytes;
                lower
            }
        });
    }
    let path = args.directory.join("config.v1.json");
    let layers = lowers.len();
    let config = json!({ "repoBlobUrl": "", "lowers": lowers, "resultFile": "" });
    write(&path, &serde_json::to_vec_pretty(&config)?)?;
    Ok(json!({ "config": path, "layers": layers, "bytes": bytes }))
}

/// The lower of an index-only layer and the length of its target, which is downloaded, too.
async fn index_only(
    place: &ImagePlace,
    blob: &Descriptor,
    target: &Digest,
    directory: &Path,
) -> Result<(Value, u64)> {
    let (parts, opened) =
        try_join(open_layer::fetch(place, blob), open_layer::open_target(place, target)).await?;
    let file = download(&opened, target, directory).await?;
    let name = |suffix| format!("{}.{suffix}", blob.digest.as_str().replace(':', "-"));
    let fs_meta = name("fs.meta");
    write(&directory.join(&fs_meta), &parts.fs_meta)?;
    let mut lower = json!({ "file": fs_meta, "targetFile": file, "targetDigest": target });
    if let Some(index) = parts.gzip_index {
        let gzip_index = name("gzip.meta");
        write(&directory.join(&gzip_index), &index)?;
        lower["gzipIndex"] = json!(gzip_index);
    }
    Ok((lower, opened.reader.size()))
}

/// Downloads a blob and gives the name of its file.
async fn download(blob: &OpenBlob, digest: &Digest, directory: &Path) -> Result<String> {
    let name = format!("{}.obd", digest.as_str().replace(':', "-"));
    let path = directory.join(&name);
    let file = WholeFile::create(&path)?;
    let mut hashing = HashingWriter::new(file.file());
    copy(&blob.reader, &mut hashing, &|_| ())
        .await
        .with_context(|| format!("{digest} to {}", path.display()))?;
    let (_, found, _) = hashing.finish()?;
    ensure!(found == *digest, "{digest}: the bytes have the digest {found}");
    file.keep()?;
    Ok(name)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = WholeFile::create(path)?;
    file.file().write_all(bytes).with_context(|| format!("writing {}", path.display()))?;
    file.keep()
}
