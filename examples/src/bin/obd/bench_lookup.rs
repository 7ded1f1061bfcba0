//! `obd bench-lookup`.

use std::time::{Duration, Instant};

use anyhow::Result;
use overlaybd_format::{Index, Limits, Segment};
use serde_json::{Value, json};

use crate::random::Random;
use crate::seconds;

/// Measure lookups in a merged index.
///
/// Layers of random segments are merged; one thread then looks up ranges of eight sectors at random
/// places of the device. Nothing is read.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd bench-lookup --segments 100000 --layers 4

JSON keys:
  lookups_per_s  lookups a second
  segments       segments of the merged index"
)]
pub(crate) struct Args {
    /// Segments of each layer.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    segments: u64,
    /// Layers to merge.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=255))]
    layers: u64,
    /// How long to measure.
    #[arg(long, value_parser = seconds::parse, default_value = "3")]
    seconds: Duration,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let index = Index::merge(
        (0..args.layers).map(|layer| segments(args.segments, layer)).collect(),
        &Limits::default(),
    )?;
    let end = index.segments().last().map_or(1, |segment| segment.end());
    let mut random = Random::new(1);
    let queries: Vec<u64> = (0..QUERIES).map(|_| random.below(end)).collect();
    let (mut lookups, mut found) = (0u64, 0u64);
    let start = Instant::now();
    while start.elapsed() < args.seconds {
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
    let mut random = Random::new(layer + 1);
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

const QUERIES: usize = 1 << 16;
const QUERY_SECTORS: u64 = 8;
