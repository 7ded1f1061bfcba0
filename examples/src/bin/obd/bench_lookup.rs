//! `obd bench-lookup`.

use std::time::{Duration, Instant};

use anyhow::Result;
use overlaybd_format::{Index, Limits, Lookup, Lookups, Segment};
use serde_json::{Value, json};

use crate::random::Random;
use crate::seconds;

/// Measure lookups in a merged index.
///
/// Layers of random segments are merged; one thread then looks up ranges of eight sectors at random
/// places of the device. Nothing is read. Each of the three figures takes the given time.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd bench-lookup --segments 100000 --layers 4

JSON keys:
  lookups_per_s          lookups a second, with all the segments they find
  batched_lookups_per_s  the same, sixteen at once
  searches_per_s         lookups of the first segment alone
  segments               segments of the merged index"
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
    let ranges = |at: u64| at..at + QUERY_SECTORS;
    let all = |found: Lookup<'_>| found.map(Segment::stored_at).fold(0, |a, b| a ^ b);
    let lookups = rate(&queries, args.seconds, |batch| {
        batch.iter().map(|&at| all(index.lookup(ranges(at)))).fold(0, |a, b| a ^ b)
    });
    let mut found = Lookups::default();
    let batched = rate(&queries, args.seconds, |batch| {
        index.lookup_batch(&batch.map(ranges), &mut found);
        found.segments().iter().fold(0, |all, segment| all ^ segment.stored_at())
    });
    let searches = rate(&queries, args.seconds, |batch| {
        let first = |&at: &u64| index.lookup(ranges(at)).next().map_or(0, Segment::stored_at);
        batch.iter().map(first).fold(0, |a, b| a ^ b)
    });
    Ok(json!({
        "lookups_per_s": lookups,
        "batched_lookups_per_s": batched,
        "searches_per_s": searches,
        "segments": index.len(),
    }))
}

/// Queries a second that `work` does; what it gives must depend on all of them.
fn rate(queries: &[u64], time: Duration, mut work: impl FnMut(&[u64; BATCH]) -> u64) -> f64 {
    let start = Instant::now();
    let (mut done, mut found) = (0, 0);
    while start.elapsed() < time {
        found ^= queries.as_chunks().0.iter().map(&mut work).fold(0, |a, b| a ^ b);
        done += queries.len();
    }
    std::hint::black_box(found);
    done as f64 / start.elapsed().as_secs_f64()
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
const BATCH: usize = 16;
const QUERY_SECTORS: u64 = 8;
