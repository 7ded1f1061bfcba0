//! `obd zfile`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use overlaybd_format::{Compression, Content, ContentWriter, FileBlob, Limits, ReadAt, Wrappers};
use serde_json::{Value, json};

use crate::output::Output;
use crate::wrapping::{self, Codec};

/// Compress any file into a ZFile, extract one, or check one.
///
/// Without SOURCE, what is compressed comes from standard input.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd zfile --algorithm zstd --bs 32 disk.img disk.zfile

JSON keys, of what is compressed or extracted:
  output  the file
  size    its length in bytes
  digest  its digest

JSON keys, of --verify:
  bytes_under_crc  the length of the content, all of which is sound"
)]
pub(crate) struct Args {
    /// The file to read and the one to write; with --verify the first alone.
    #[arg(required = true, num_args = 1..=2, value_names = ["SOURCE", "OUTPUT"])]
    files: Vec<PathBuf>,
    /// Extract a ZFile. A tar around it is taken off too.
    #[arg(short = 'x', long)]
    extract: bool,
    /// Check every block of a ZFile; an error if it has no checksums.
    #[arg(long, conflicts_with = "extract")]
    verify: bool,
    /// Wrap the ZFile in a tar.
    #[arg(short, long)]
    tar: bool,
    /// Overwrite the output if it exists.
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    codec: Codec,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    match (args.verify, args.extract, args.files.as_slice()) {
        (true, _, [file]) => verify(file).await,
        (_, true, [source, output]) => extract(source, Output::create(output, args.force)?).await,
        (false, false, [source, output]) => {
            let place = || source.display().to_string();
            let mut file = File::open(source).with_context(place)?;
            compress(&args, &mut file, output).with_context(place)
        }
        (false, false, [output]) => compress(&args, &mut io::stdin().lock(), output),
        _ => bail!("--verify takes one file, --extract two"),
    }
}

fn compress(args: &Args, source: &mut dyn Read, output: &Path) -> Result<Value> {
    let wrappers = Wrappers::default()
        .with_compression(Some(args.codec.compression(Compression::default())))
        .with_tar(wrapping::tar(args.tar));
    let output = Output::create(output, args.force)?;
    let mut writer = ContentWriter::new(output.sink(), wrappers)?;
    // Not `io::copy`, whose parts are smaller than what is compressed at once.
    let mut buf = vec![0; READ];
    loop {
        let read = source.read(&mut buf)?;
        if read == 0 {
            break;
        }
        writer.write_all(&buf[..read])?;
    }
    writer.finish()?;
    output.keep()
}

async fn extract(source: &Path, output: Output) -> Result<Value> {
    let content = open(source).await?;
    let mut sink = output.sink();
    read(source, &content, |part| Ok(sink.write_all(part)?)).await?;
    sink.flush()?;
    drop(sink);
    output.keep()
}

async fn verify(file: &Path) -> Result<Value> {
    let content = open(file).await?;
    let checked = content.compression().is_some_and(|zfile| zfile.block_crcs);
    ensure!(checked, "{}: there are no checksums to verify", file.display());
    read(file, &content, |_| Ok(())).await?;
    Ok(json!({ "bytes_under_crc": content.size() }))
}

async fn open(file: &Path) -> Result<Content> {
    let place = || file.display().to_string();
    let blob = FileBlob::open(file).with_context(place)?;
    let content = Content::open(blob, &Limits::default()).await.with_context(place)?;
    ensure!(content.compression().is_some(), "{} is no ZFile", file.display());
    Ok(content)
}

/// Reads all of `content`, in order.
async fn read(file: &Path, content: &Content, mut part: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buf = vec![0; READ];
    let mut at = 0;
    while at < content.size() {
        let len = usize::try_from(content.size() - at).unwrap_or(READ).min(READ);
        content.read_at(&mut buf[..len], at).await.with_context(|| file.display().to_string())?;
        part(&buf[..len])?;
        at += len as u64;
    }
    Ok(())
}

const READ: usize = 1 << 20;
