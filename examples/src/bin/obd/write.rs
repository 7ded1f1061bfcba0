//! `obd write`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use overlaybd_format::{AppendOnly, ReadWriteAt, Upper, WritableImage};
use serde_json::{Value, json};

use crate::upper::{self, Opened};

/// Run a script of operations on a writable layer, and flush it.
///
/// The layer is written alone, and then not bounded by its virtual size, or on top of the lowers of
/// a configuration. Each line of the script is one of
///
///   w OFFSET LENGTH FROM   write LENGTH bytes of the payload, from its byte FROM on
///   z OFFSET LENGTH        write zeros
///   d OFFSET LENGTH        discard
///   s                      flush
///   g BYTES                pad what a flush adds to the index file to a multiple of BYTES
///   # ...                  nothing
///
/// with offsets and lengths in bytes, multiples of 512.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd write layer.data layer.index --script ops.txt --payload payload.bin

JSON keys:
  operations       operations done
  written_bytes    bytes written, zeros included
  discarded_bytes  bytes discarded
  garbage_bytes    bytes of the data file that nothing reads any more"
)]
pub(crate) struct Args {
    #[command(flatten)]
    layer: upper::Files,
    /// The operations.
    #[arg(long)]
    script: PathBuf,
    /// The bytes to write.
    #[arg(long)]
    payload: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let read = |path: &PathBuf| fs::read(path).with_context(|| format!("reading {}", path.display()));
    let script = String::from_utf8(read(&args.script)?).context("the script is no text")?;
    let payload = args.payload.as_ref().map(read).transpose()?.unwrap_or_default();
    let target = match args.layer.open().await? {
        Opened { upper, lowers: None } => Target::Layer(Box::new(upper)),
        Opened { upper, lowers } => Target::Device(WritableImage::new(lowers, upper)?),
    };

    let (mut operations, mut written, mut discarded) = (0, 0, 0);
    for (number, line) in script.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let place = || format!("{}, line {}", args.script.display(), number + 1);
        let Some(operation) = Operation::parse(line).with_context(place)? else { continue };
        target.run(&operation, &payload).await.with_context(place)?;
        operations += 1;
        match operation {
            Operation::Write { len, .. } | Operation::Zeros { len, .. } => written += len,
            Operation::Discard { len, .. } => discarded += len,
            Operation::Flush | Operation::IndexUnit(_) => {}
        }
    }
    target.run(&Operation::Flush, &[]).await?;
    Ok(json!({
        "operations": operations,
        "written_bytes": written,
        "discarded_bytes": discarded,
        "garbage_bytes": target.garbage(),
    }))
}

/// A line of a script.
#[derive(Debug, PartialEq, Eq)]
enum Operation {
    Write { offset: u64, len: u64, from: u64 },
    Zeros { offset: u64, len: u64 },
    Discard { offset: u64, len: u64 },
    Flush,
    IndexUnit(u64),
}

impl Operation {
    fn parse(line: &str) -> Result<Option<Self>> {
        let mut words = line.split_whitespace();
        let Some(verb) = words.next() else { return Ok(None) };
        let numbers = words.map(str::parse).collect::<Result<Vec<u64>, _>>().context("a number is none")?;
        Ok(Some(match (verb, numbers.as_slice()) {
            ("w", &[offset, len, from]) => Self::Write { offset, len, from },
            ("z", &[offset, len]) => Self::Zeros { offset, len },
            ("d", &[offset, len]) => Self::Discard { offset, len },
            ("s", []) => Self::Flush,
            ("g", &[bytes]) => Self::IndexUnit(bytes),
            _ => bail!("{line:?} is no operation"),
        }))
    }
}

/// What is written to.
enum Target {
    Layer(Box<Upper>),
    Device(WritableImage),
}

impl Target {
    async fn run(&self, operation: &Operation, payload: &[u8]) -> Result<()> {
        match *operation {
            Operation::Write { offset, len, from } => {
                let end = from.checked_add(len).and_then(|end| usize::try_from(end).ok());
                let bytes = end.and_then(|end| payload.get(usize::try_from(from).ok()?..end));
                self.write(offset, bytes.context("the payload ends before")?).await?;
            }
            Operation::Zeros { offset, len } => {
                let end = offset.checked_add(len).context("the end is too large")?;
                let mut at = offset;
                while at < end {
                    let part = usize::try_from(end - at).unwrap_or(ZEROS).min(ZEROS);
                    self.write(at, &vec![0; part]).await?;
                    at += part as u64;
                }
            }
            Operation::Discard { offset, len } => match self {
                Self::Layer(layer) => layer.discard(offset, len)?,
                Self::Device(device) => device.discard(offset, len).await?,
            },
            Operation::Flush => match self {
                Self::Layer(layer) => layer.flush()?,
                Self::Device(device) => device.flush()?,
            },
            Operation::IndexUnit(bytes) => {
                if let Some(layer) = self.append_only() {
                    layer.set_index_unit(usize::try_from(bytes)?);
                }
            }
        }
        Ok(())
    }

    async fn write(&self, offset: u64, bytes: &[u8]) -> overlaybd_format::Result<()> {
        match self {
            Self::Layer(layer) => layer.write(offset, bytes),
            Self::Device(device) => device.write_at(bytes, offset).await,
        }
    }

    fn append_only(&self) -> Option<&AppendOnly> {
        match self {
            Self::Layer(layer) => match &**layer {
                Upper::AppendOnly(layer) => Some(layer),
                Upper::Sparse(_) => None,
            },
            Self::Device(_) => None,
        }
    }

    fn garbage(&self) -> u64 {
        match self {
            Self::Layer(_) => self.append_only().map_or(0, AppendOnly::garbage),
            Self::Device(device) => device.garbage(),
        }
    }
}

/// Zeros written at a time, the longest write that is one segment.
const ZEROS: usize = 4 << 20;
