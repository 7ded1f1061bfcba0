//! `obd cat`.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use examples::whole_file::WholeFile;
use lazy_fetch::Stats;
use overlaybd_format::{Extent, ExtentKind, Image, ReadAt, ReadOnly, ReadWriteAt};
use serde_json::{Value, json};

use crate::source::Source;

/// Write the merged device, or a part of it, to a file.
///
/// The file is sparse: what reads as zeros becomes holes. It gets its name only once it is whole,
/// so an error leaves nothing, and leaves alone what was there before.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd cat config.v1.json -o device.img --offset 1048576 --length 4096

JSON keys:
  bytes          length of the file
  virtual_size   size of the device in bytes
  requests       requests to a registry for parts of blobs
  fetched_bytes  what came in answer to them"
)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// First byte of the device to write.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    offset: u64,
    /// Number of bytes to write; all that follow if absent.
    #[arg(long, value_name = "BYTES")]
    length: Option<u64>,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    if let Some(device) = args.source.writable().await? {
        let all = std::iter::once(0..device.size()).collect();
        return write(&device, all, &args, Stats::default).await;
    }
    args.source
        .read_device(async |image| {
            let data = data(&image.device)?;
            write(&ReadOnly(image.reader()), data, &args, || image.stats()).await
        })
        .await
}

/// The ranges of the device that do not read as zeros for sure. A device may be far larger than they are.
fn data(device: &Image) -> Result<Vec<Range<u64>>> {
    let mut data: Vec<Range<u64>> = Vec::new();
    for extent in device.map(0..device.size())? {
        let Extent { device, kind } = extent?;
        match (kind, data.last_mut()) {
            (ExtentKind::Hole | ExtentKind::Zeroed { .. }, _) => {}
            (_, Some(last)) if last.end == device.start => last.end = device.end,
            _ => data.push(device),
        }
    }
    Ok(data)
}

/// Writes what is in the ranges `data`; the rest becomes holes.
async fn write(
    device: &dyn ReadWriteAt,
    data: Vec<Range<u64>>,
    args: &Args,
    cost: impl Fn() -> Stats,
) -> Result<Value> {
    let (size, offset) = (device.size(), args.offset);
    let length = args.length.unwrap_or(size.saturating_sub(offset));
    ensure!(
        offset.checked_add(length).is_some_and(|end| end <= size),
        "{length} bytes at {offset} are not in a device of {size} bytes"
    );
    let place = || format!("writing {}", args.output.display());
    let output = WholeFile::create(&args.output)?;
    output.file().set_len(length).with_context(place)?;

    let mut buf = vec![0; READ];
    for range in data {
        let (mut at, end) = (range.start.max(offset), range.end.min(offset + length));
        while at < end {
            let part = &mut buf[..usize::try_from(end - at).unwrap_or(READ).min(READ)];
            device.read_at(part, at).await?;
            for (number, page) in part.chunks(PAGE).enumerate() {
                if page != &ZEROS[..page.len()] {
                    let to = at - offset + (number * PAGE) as u64;
                    output.file().write_all_at(page, to).with_context(place)?;
                }
            }
            at += part.len() as u64;
        }
    }
    output.keep()?;
    let cost = cost();
    Ok(json!({
        "bytes": length,
        "virtual_size": size,
        "requests": cost.requests,
        "fetched_bytes": cost.bytes_fetched,
    }))
}

const READ: usize = 1 << 20;
/// What stays a hole if it is all zeros.
const PAGE: usize = 64 << 10;
static ZEROS: [u8; PAGE] = [0; PAGE];
