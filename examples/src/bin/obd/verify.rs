//! `obd verify`.

use std::path::PathBuf;

use anyhow::Result;
use overlaybd_format::{Layer, Limits, ReadAt};
use serde_json::{Value, json};

use crate::input;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A layer blob or a config.v1.json.
    input: PathBuf,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let mut layers = 0;
    let (mut checked, mut unprotected) = (0, 0);
    for blob in input::layers(&args.input)? {
        let layer = Layer::open(blob, &Limits::default()).await?;
        layer.verify().await?;
        layers += 1;
        let protected = layer.content().compression().is_some_and(|zfile| zfile.block_crcs);
        *(if protected { &mut checked } else { &mut unprotected }) += layer.content().size();
    }
    Ok(json!({ "layers": layers, "bytes_under_crc": checked, "bytes_without_crc": unprotected }))
}
