//! What a verb is given: a layer blob or a device configuration.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use examples::config::{Config, Place};
use overlaybd_format::{FileBlob, Image, LayerBlob, Limits};

/// The layers that `path` names, bottom first: those of a configuration, or the one blob.
pub(crate) fn layers(path: &Path) -> Result<Vec<LayerBlob>> {
    if !is_config(path)? {
        return Ok(vec![open(path)?]);
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    let places = Config::read(path)?.places(directory)?;
    places
        .iter()
        .map(|place| match place {
            Place::File(file) => open(file),
            Place::Remote { digest, .. } => {
                bail!("{digest} is not in a local file, and this verb reads local layers only")
            }
        })
        .collect()
}

/// Opens the device that `path` names.
pub(crate) async fn device(path: &Path) -> Result<Image> {
    Image::open(layers(path)?, &Limits::default()).await.with_context(|| path.display().to_string())
}

/// Whether the file is a configuration: no layer starts with a brace.
pub(crate) fn is_config(path: &Path) -> Result<bool> {
    let mut first = [0];
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let read = file.read(&mut first).with_context(|| format!("reading {}", path.display()))?;
    Ok(read == 1 && first == *b"{")
}

fn open(path: &Path) -> Result<LayerBlob> {
    let blob = FileBlob::open(path).with_context(|| format!("opening {}", path.display()))?;
    Ok(LayerBlob::new(path.display().to_string(), blob))
}
