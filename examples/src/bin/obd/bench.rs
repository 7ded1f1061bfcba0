//! `obd bench` and `obd bench-lookup`.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::executor::block_on;
use overlaybd_format::{Image, Index, Limits, ReadAt, Segment, Warm};
use serde_json::{Value, json};

use crate::input;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A layer blob or a config.v1.json.
    input: PathBuf,
    #[command(flatten)]
    workload: Workload,
    /// How long to measure.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Threads that read at once.
    #[arg(long, default_value_t = 1)]
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

#[derive(Debug, clap::Args)]
pub(crate) struct LookupArgs {
    /// Segments of each layer.
    #[arg(long)]
    segments: u64,
    /// Layers to merge.
    #[arg(long, default_value_t = 1)]
    layers: u64,
    /// How long to measure.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let deadline = Duration::from_secs_f64(args.seconds);
    let image = input::device(&args.input).await?;
    let len = if args.workload.seq_1m { 1 << 20 } else { 4096 };
    ensure!(image.size() >= len, "a device of {} bytes is too small to measure", image.size());
    let start = Instant::now();
    let work = |thread| -> Result<u64> {
        if args.workload.open {
            return opens(&args.input, start, deadline);
        }
        reads(&image, len, args.workload.random_4k.then_some(thread), start, deadline)
    };
    let ops = thread::scope(|scope| {
        let threads: Vec<_> = (0..args.threads).map(|n| scope.spawn(move || work(n))).collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .sum::<Result<u64>>()
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let mib = if args.workload.open { 0.0 } else { (ops * len) as f64 / f64::from(1 << 20) };
    Ok(json!({ "ops_per_s": ops as f64 / seconds, "mib_per_s": mib / seconds }))
}

fn opens(path: &std::path::Path, start: Instant, deadline: Duration) -> Result<u64> {
    let mut ops = 0;
    while start.elapsed() < deadline {
        block_on(input::device(path))?;
        ops += 1;
    }
    Ok(ops)
}

fn reads(image: &Image, len: u64, seed: Option<u64>, start: Instant, deadline: Duration) -> Result<u64> {
    let mut buf = vec![0; usize::try_from(len)?];
    let places = image.size() / len;
    let mut random = Random(seed.unwrap_or_default() + 1);
    let mut ops = 0;
    while start.elapsed() < deadline {
        for _ in 0..CLOCK_EVERY {
            let place = if seed.is_some() { random.below(places) } else { ops % places };
            if image.try_read_at(&mut buf, place * len)? == Warm::No {
                block_on(image.read_at(&mut buf, place * len))?;
            }
            ops += 1;
        }
    }
    Ok(ops)
}

pub(crate) fn run_lookup(args: &LookupArgs) -> Result<Value> {
    ensure!(args.segments > 0 && args.layers > 0, "there is nothing to look up");
    let index = Index::merge(
        (0..args.layers).map(|layer| segments(args.segments, layer)).collect(),
        &Limits::default(),
    )?;
    let end = index.segments().last().map_or(1, |segment| segment.end());
    let mut random = Random(1);
    let queries: Vec<u64> = (0..QUERIES).map(|_| random.below(end)).collect();
    let (mut lookups, mut found) = (0u64, 0u64);
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < args.seconds {
        for &sector in &queries {
            found +=
                index.lookup(sector..sector + QUERY_SECTORS).map(Segment::stored_at).fold(0, |a, b| a ^ b);
        }
        lookups += QUERIES as u64;
    }
    std::hint::black_box(found);
    Ok(json!({ "lookups_per_s": lookups as f64 / start.elapsed().as_secs_f64(), "segments": index.len() }))
}

/// Runs of 1 to 16 sectors with gaps of up to 3, differently cut in each layer.
fn segments(count: u64, layer: u64) -> Vec<Segment> {
    let mut random = Random(layer + 1);
    let (mut at, mut stored) = (0, 8);
    (0..count)
        .filter_map(|_| {
            let (gap, len) = (random.below(4), 1 + random.below(16));
            let segment = Segment::data(at + gap, len, stored);
            (at, stored) = (at + gap + len, stored + len);
            segment
        })
        .collect()
}

/// A small generator: reproducible numbers without a dependency.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound
    }
}

/// Operations between two looks at the clock.
const CLOCK_EVERY: u64 = 64;
const QUERIES: usize = 1 << 16;
const QUERY_SECTORS: u64 = 8;
