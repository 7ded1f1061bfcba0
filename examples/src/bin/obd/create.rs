//! `obd create`.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use overlaybd_format::{AppendOnly, Sparse, UpperOptions, Uuid};
use serde_json::{Value, json};

use crate::upper::new_file;

/// Make an empty writable layer.
///
/// An append-only layer is two files that grow with each write; a sparse one is a file that is
/// written in place, and needs a file system with holes.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd create layer.data layer.index 64

JSON keys:
  kind          append-only or sparse
  virtual_size  size of the device in bytes
  uuid          identity of the layer
  parent_uuid   identity of the layer below"
)]
pub(crate) struct Args {
    /// The data file to create.
    data: PathBuf,
    /// The index file to create. That of a sparse layer stays empty.
    index: PathBuf,
    /// Size of the device in GiB; 0 takes that of the layers below.
    #[arg(required_unless_present = "vsize")]
    size: Option<u64>,
    /// Size of the device in bytes, instead.
    #[arg(long, conflicts_with = "size")]
    vsize: Option<u64>,
    /// Make one sparse file that is written in place, instead of one that is appended to.
    #[arg(short, long)]
    sparse: bool,
    /// Identity of the layer; random if absent.
    #[arg(long, value_parser = uuid)]
    uuid: Option<Uuid>,
    /// Identity of the layer below.
    #[arg(short = 'u', long, value_parser = uuid, default_value_t = Uuid::NIL)]
    parent: Uuid,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let virtual_size = match (args.vsize, args.size) {
        (Some(bytes), _) => bytes,
        (None, Some(size)) => size.checked_mul(1 << 30).context("the size in bytes is too large")?,
        (None, None) => bail!("the size is missing"),
    };
    let uuid = args.uuid.map_or_else(random_uuid, Ok)?;
    let options = UpperOptions::new(virtual_size).with_identity(uuid, args.parent);
    let (data, index) = (new_file(&args.data)?, new_file(&args.index)?);
    if args.sparse {
        Sparse::create(data, &options)?;
    } else {
        AppendOnly::create(data, index, &options)?;
    }
    Ok(json!({
        "virtual_size": virtual_size,
        "uuid": uuid.to_string(),
        "parent_uuid": args.parent.to_string(),
        "kind": if args.sparse { "sparse" } else { "append-only" },
    }))
}

fn uuid(text: &str) -> Result<Uuid> {
    Uuid::parse(text.as_bytes()).context("it is not of the form 8-4-4-4-12 in hexadecimal")
}

/// A random UUID as RFC 9562 wants it: version 4, variant 10.
pub(crate) fn random_uuid() -> Result<Uuid> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("making a UUID")?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(Uuid::from_bytes(bytes))
}
