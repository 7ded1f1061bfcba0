//! Warm reads of a local device of 1 GiB, beside the floor: random 4 KiB and sequential 1 MiB.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use benches::device;
use benches::floor::Floor;
use benches::random::Random;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use futures::executor::block_on;
use overlaybd_format::{Algorithm, Compression, FileBlob, Image, LayerBlob, Limits, ReadAt, Warm};

const FORMS: [(&str, Option<Compression>); 5] = [
    ("plain", None),
    ("lz4-4k", Some(Compression { algorithm: Algorithm::Lz4, block_size: 4 << 10 })),
    ("zstd-4k", Some(Compression { algorithm: Algorithm::Zstd, block_size: 4 << 10 })),
    ("lz4-32k", Some(Compression { algorithm: Algorithm::Lz4, block_size: 32 << 10 })),
    ("zstd-32k", Some(Compression { algorithm: Algorithm::Zstd, block_size: 32 << 10 })),
];

fn open(paths: &[PathBuf]) -> Image {
    let blob = |path: &PathBuf| LayerBlob::new(path.display().to_string(), FileBlob::open(path).unwrap());
    block_on(Image::open(paths.iter().map(blob).collect(), &Limits::default())).unwrap()
}

fn random_4k(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, image: &Image) {
    let (mut random, mut buf) = (Random::new(9), vec![0; 4096]);
    group.bench_function(name, |bench| {
        bench.iter(|| {
            let at = random.below(device::SIZE / 4096) * 4096;
            assert_eq!(image.try_read_at(&mut buf, at).unwrap(), Warm::Yes);
            black_box(&buf);
        });
    });
}

fn reads(criterion: &mut Criterion) {
    let data = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("devices");
    for (name, compression) in FORMS {
        let layers = device::layers(&data, name, 4, compression);
        let block_size = compression.map_or(4096, |compression| compression.block_size as usize);

        let mut group = criterion.benchmark_group(format!("random-4k/{name}"));
        group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(3)).sample_size(20);
        if compression.is_some() {
            let (mut floor, mut random) = (Floor::open(&layers[0]), Random::new(9));
            let mut out = vec![0; block_size];
            let blocks = floor.blocks() - 64;
            group.bench_function("floor", |bench| {
                bench.iter(|| {
                    floor.read(1 + random.below(blocks), &mut out);
                    black_box(&out);
                });
            });
        }
        random_4k(&mut group, "1-layer", &open(&layers[..1]));
        random_4k(&mut group, "4-layers", &open(&layers));
        group.finish();

        let mut group = criterion.benchmark_group(format!("sequential-1m/{name}"));
        group.throughput(Throughput::Bytes(1 << 20)).measurement_time(Duration::from_secs(3)).sample_size(20);
        let image = open(&layers[..1]);
        let (mut at, mut buf) = (0, vec![0; 1 << 20]);
        group.bench_function("1-layer", |bench| {
            bench.iter(|| {
                assert_eq!(image.try_read_at(&mut buf, at).unwrap(), Warm::Yes);
                at = (at + (1 << 20)) % device::SIZE;
                black_box(&buf);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, reads);
criterion_main!(benches);
