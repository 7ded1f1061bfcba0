//! Lookups of 8 sectors in indexes of growing size, beside a binary search over the same keys.

use std::hint::black_box;

use benches::random::Random;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use overlaybd_format::{Index, Limits, Segment};

/// Runs of 1 to 16 sectors with gaps of up to 3, differently cut in each layer.
fn segments(count: u64, layer: u64) -> Vec<Segment> {
    let mut random = Random::new(layer + 1);
    let (mut at, mut stored) = (0, 8);
    (0..count)
        .map(|_| {
            let (gap, len) = (random.below(4), 1 + random.below(16));
            let segment = Segment::data(at + gap, len, stored).unwrap();
            (at, stored) = (at + gap + len, stored + len);
            segment
        })
        .collect()
}

fn lookups(criterion: &mut Criterion) {
    for (layers, sizes) in [(1, &[1_000, 10_000, 100_000, 1_000_000][..]), (4, &[1_000, 10_000, 100_000])] {
        let mut group = criterion.benchmark_group(format!("lookup/{layers}-layers"));
        group.throughput(Throughput::Elements(QUERIES));
        for &count in sizes {
            let stack = (0..layers).map(|layer| segments(count, layer)).collect();
            let index = Index::merge(stack, &Limits::default()).unwrap();
            let sorted: Vec<Segment> = index.segments().collect();
            let end = sorted.last().unwrap().end();
            let mut random = Random::new(1);
            let queries: Vec<u64> = (0..QUERIES).map(|_| random.below(end)).collect();
            group.bench_function(format!("{count}/binary-search"), |bench| {
                bench.iter(|| {
                    let found = |&at: &u64| sorted.partition_point(|segment| segment.end() <= at);
                    black_box(queries.iter().map(found).sum::<usize>())
                });
            });
            group.bench_function(format!("{count}/lookup"), |bench| {
                bench.iter(|| {
                    let found =
                        |&at: &u64| index.lookup(at..at + 8).map(Segment::stored_at).fold(0, |a, b| a ^ b);
                    black_box(queries.iter().map(found).fold(0, |a, b| a ^ b))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, lookups);
criterion_main!(benches);

const QUERIES: u64 = 1 << 16;
