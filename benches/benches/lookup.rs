//! Lookups of 8 sectors in indexes of growing size, beside a binary search of the same segments, and
//! the merge that makes an index.

use std::hint::black_box;

use benches::random::Random;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use overlaybd_format::{Index, Limits, Lookups, Segment};

/// Runs of 1 to 16 sectors with gaps of up to 3, differently cut in each layer.
fn even(count: u64, layer: u64) -> Vec<Segment> {
    spread(count, layer, |_| 0)
}

/// The same runs, crowded at the beginning of block groups of 128 MiB as a filesystem lays them out.
fn crowded(count: u64, layer: u64) -> Vec<Segment> {
    spread(count, layer, |n| if n % 4096 == 4095 { 1 << 18 } else { 0 })
}

fn spread(count: u64, layer: u64, leap: impl Fn(u64) -> u64) -> Vec<Segment> {
    let mut random = Random::new(layer + 1);
    let (mut at, mut stored) = (0, 8);
    (0..count)
        .map(|n| {
            let (gap, len) = (random.below(4) + leap(n), 1 + random.below(16));
            let segment = Segment::data(at + gap, len, stored).unwrap();
            (at, stored) = (at + gap + len, stored + len);
            segment
        })
        .collect()
}

fn lookups(criterion: &mut Criterion) {
    type Spread = fn(u64, u64) -> Vec<Segment>;
    let all: &[u64] = &[1_000, 10_000, 100_000, 1_000_000];
    let cases: [(&str, Spread, u64, &[u64]); 3] = [
        ("1-layer", even, 1, all),
        ("4-layers", even, 4, &[1_000, 10_000, 100_000]),
        ("1-layer-crowded", crowded, 1, &[10_000, 100_000]),
    ];
    for (name, spread, layers, sizes) in cases {
        let mut group = criterion.benchmark_group(format!("lookup/{name}"));
        group.throughput(Throughput::Elements(QUERIES));
        for &count in sizes {
            let stack = (0..layers).map(|layer| spread(count, layer)).collect();
            let index = Index::merge(stack, &Limits::default()).unwrap();
            let segments = index.segments();
            // Queries fall on segments, wherever these crowd.
            let mut random = Random::new(1);
            let queries: Vec<u64> = (0..QUERIES)
                .map(|_| segments[random.below(segments.len() as u64) as usize].start() + random.below(8))
                .collect();
            group.bench_function(format!("{count}/binary-search"), |bench| {
                bench.iter(|| {
                    let found = |&at: &u64| segments.partition_point(|segment| segment.end() <= at);
                    black_box(queries.iter().map(found).sum::<usize>())
                });
            });
            group.bench_function(format!("{count}/search"), |bench| {
                bench.iter(|| {
                    let found = |&at: &u64| index.lookup(at..at + 8).next().map_or(0, Segment::stored_at);
                    black_box(queries.iter().map(found).fold(0, |a, b| a ^ b))
                });
            });
            group.bench_function(format!("{count}/lookup"), |bench| {
                bench.iter(|| {
                    let found =
                        |&at: &u64| index.lookup(at..at + 8).map(Segment::stored_at).fold(0, |a, b| a ^ b);
                    black_box(queries.iter().map(found).fold(0, |a, b| a ^ b))
                });
            });
            group.bench_function(format!("{count}/lookup-batch"), |bench| {
                bench.iter(|| {
                    let mut lookups = Lookups::default();
                    let found = |batch: &[u64; 16]| {
                        index.lookup_batch(&batch.map(|at| at..at + 8), &mut lookups);
                        lookups.segments().iter().fold(0, |all, segment| all ^ segment.stored_at())
                    };
                    black_box(queries.as_chunks().0.iter().map(found).fold(0, |a, b| a ^ b))
                });
            });
        }
        group.finish();
    }
}

fn merges(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merge");
    group.sample_size(10);
    for (layers, count) in [(3, 20_000), (32, 20_000), (4, 500_000)] {
        let stack: Vec<Vec<Segment>> = (0..layers).map(|layer| even(count, layer)).collect();
        group.bench_function(format!("{layers}-layers-of-{count}"), |bench| {
            let merge = |stack| Index::merge(stack, &Limits::default()).unwrap();
            bench.iter_batched(|| stack.clone(), merge, BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(benches, lookups, merges);
criterion_main!(benches);

const QUERIES: u64 = 1 << 16;
