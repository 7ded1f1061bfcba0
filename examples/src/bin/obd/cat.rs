//! `obd cat`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use overlaybd_format::ReadAt;
use serde_json::{Value, json};

use crate::input;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A layer blob or a config.v1.json.
    input: PathBuf,
    /// The file to write; ranges that read as zeros become holes.
    #[arg(short, long)]
    output: PathBuf,
    /// First byte of the device to write.
    #[arg(long, default_value_t = 0)]
    offset: u64,
    /// Number of bytes to write; all that follow if absent.
    #[arg(long)]
    length: Option<u64>,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let image = input::device(&args.input).await?;
    let length = args.length.unwrap_or(image.size().saturating_sub(args.offset));
    let place = || args.output.display().to_string();
    let output = File::create(&args.output).with_context(place)?;
    output.set_len(length).with_context(place)?;

    let mut buf = vec![0; READ];
    let mut done = 0;
    while done < length {
        let part = &mut buf[..usize::try_from(length - done).unwrap_or(READ).min(READ)];
        image.read_at(part, args.offset + done).await?;
        for (number, page) in part.chunks(PAGE).enumerate() {
            if page.iter().any(|&byte| byte != 0) {
                output.write_all_at(page, done + (number * PAGE) as u64).with_context(place)?;
            }
        }
        done += part.len() as u64;
    }
    Ok(json!({ "bytes": length, "virtual_size": image.size() }))
}

const READ: usize = 1 << 20;
/// What stays a hole if it is all zeros.
const PAGE: usize = 64 << 10;
