//! `obd bench`.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use examples::lazy_image::{LazyImage, OpenBlob};
use examples::mapped;
use overlaybd_format::{ReadAt, Warm};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::random::Random;
use crate::seconds;
use crate::source::Source;

/// Measure reads of a device, or its opening.
///
/// Each thread makes one read after the other for the given time. What the page cache, or for
/// remote layers the cache, holds is warm; nothing is dropped first. Local layers are read where they
/// lie in memory, as a runtime may that owns its files; with --pread, by system calls. An opening
/// starts from the blobs' names: with remote layers, and without --cache, each one fetches the indexes
/// anew.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd bench config.v1.json --random-4k --seconds 10 --threads 2 --json

JSON keys:
  ops_per_s  reads or openings a second, of all threads together
  mib_per_s  MiB of the device a second; 0 for openings"
)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    workload: Workload,
    /// Read local layers by system calls, not from mapped memory.
    #[arg(long)]
    pread: bool,
    /// How long to measure.
    #[arg(long, value_parser = seconds::parse, default_value = "5")]
    seconds: Duration,
    /// Threads that read at once.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: u64,
}

#[derive(Debug, Clone, Copy, clap::Args)]
#[group(required = true, multiple = false)]
struct Workload {
    /// Reads of 4 KiB at random aligned offsets of the whole device.
    #[arg(long = "random-4k")]
    random_4k: bool,
    /// Reads of 1 MiB from front to back, over and over.
    #[arg(long = "seq-1m")]
    seq_1m: bool,
    /// Opening the device.
    #[arg(long)]
    open: bool,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    args.source
        .read(async |blobs| {
            let mut blobs = blobs.to_vec();
            if !args.pread {
                blobs.iter_mut().try_for_each(map)?;
            }
            let image = LazyImage::open(blobs).await?;
            measure(&*image.device, &args)
        })
        .await
}

/// Has a blob that is a file, and so has the name of one, read from mapped memory.
fn map(blob: &mut OpenBlob) -> Result<()> {
    let path = Path::new(&blob.name);
    if blob.remote.is_none() && path.is_file() {
        let mapped = mapped::open(path).with_context(|| blob.name.clone())?;
        blob.reader = Arc::new(mapped);
    }
    Ok(())
}

fn measure(device: &dyn ReadAt, args: &Args) -> Result<Value> {
    let len = if args.workload.seq_1m { 1 << 20 } else { 4096 };
    ensure!(device.size() >= len, "a device of {} bytes is too small to measure", device.size());
    let runtime = Handle::current();
    let start = Instant::now();
    let work = |thread| -> Result<u64> {
        let until = start + args.seconds;
        if args.workload.open {
            return opens(&args.source, &runtime, until);
        }
        reads(device, &runtime, len, args.workload.random_4k.then_some(thread), until)
    };
    let ops = block_in_place(|| {
        thread::scope(|scope| {
            let threads: Vec<_> = (1..=args.threads).map(|n| scope.spawn(move || work(n))).collect();
            threads
                .into_iter()
                .map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .sum::<Result<u64>>()
        })
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let mib = if args.workload.open { 0.0 } else { (ops * len) as f64 / f64::from(1 << 20) };
    Ok(json!({ "ops_per_s": ops as f64 / seconds, "mib_per_s": mib / seconds }))
}

fn opens(source: &Source, runtime: &Handle, until: Instant) -> Result<u64> {
    let mut ops = 0;
    while Instant::now() < until {
        runtime.block_on(async { LazyImage::open(source.open().await?).await })?;
        ops += 1;
    }
    Ok(ops)
}

/// Reads of `len` bytes: at random places if there is a `seed`, else one after the other.
fn reads(device: &dyn ReadAt, runtime: &Handle, len: u64, seed: Option<u64>, until: Instant) -> Result<u64> {
    let mut buf = vec![0; usize::try_from(len)?];
    let places = device.size() / len;
    let mut random = seed.map(Random::new);
    let mut ops = 0;
    while Instant::now() < until {
        for _ in 0..CLOCK_EVERY {
            let place = random.as_mut().map_or(ops % places, |random| random.below(places));
            if device.try_read_at(&mut buf, place * len)? == Warm::No {
                runtime.block_on(device.read_at(&mut buf, place * len))?;
            }
            ops += 1;
        }
    }
    Ok(ops)
}

/// Operations between two looks at the clock.
const CLOCK_EVERY: u64 = 64;
