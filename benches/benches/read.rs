//! Warm reads of a local device of 1 GiB, beside the floor: random 4 KiB and sequential 1 MiB.
//!
//! `file` reads each layer by `pread`, as the floor does; `mapped` reads it where it lies in memory.

use std::hint::black_box;
use std::num::NonZero;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use benches::floor::Floor;
use benches::random::Random;
use benches::{device, mapped};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use futures::executor::block_on;
use overlaybd_format::{
    Algorithm, Compression, FileBlob, Image, LayerBlob, Limits, ReadAt, Warm, try_read_parallel,
};

const FORMS: [(&str, Option<Compression>); 5] = [
    ("plain", None),
    ("lz4-4k", Some(Compression::new(Algorithm::Lz4).with_block_size(4 << 10))),
    ("zstd-4k", Some(Compression::new(Algorithm::Zstd).with_block_size(4 << 10))),
    ("lz4-32k", Some(Compression::new(Algorithm::Lz4).with_block_size(32 << 10))),
    ("zstd-32k", Some(Compression::new(Algorithm::Zstd).with_block_size(32 << 10))),
];

fn open_files(paths: &[PathBuf]) -> Image {
    open(paths, |path, name| LayerBlob::new(name, FileBlob::open(path).unwrap()))
}

fn open_mapped(paths: &[PathBuf]) -> Image {
    open(paths, |path, name| LayerBlob::new(name, mapped::open(path)))
}

fn open(paths: &[PathBuf], blob: impl Fn(&PathBuf, String) -> LayerBlob) -> Image {
    let blobs = paths.iter().map(|path| blob(path, path.display().to_string())).collect();
    block_on(Image::open(blobs, &Limits::default())).unwrap()
}

fn random_4k(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, image: &Image, threads: u64) {
    group.throughput(Throughput::Elements(threads));
    let work = |thread: u64, rounds: u64| {
        let (mut random, mut buf) = (Random::new(9 + thread), vec![0; 4096]);
        for _ in 0..rounds {
            let at = random.below(device::SIZE / 4096) * 4096;
            assert_eq!(image.try_read_at(&mut buf, at).unwrap(), Warm::Yes);
            black_box(&buf);
        }
    };
    parallel(group, name, threads, &work);
}

fn sequential_1m(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, image: &Image, threads: u64) {
    group.throughput(Throughput::Bytes(threads << 20));
    let work = |thread: u64, rounds: u64| {
        let mut buf = vec![0; 1 << 20];
        let places = device::SIZE >> 20;
        for round in 0..rounds {
            let at = (round + thread * places / threads) % places;
            assert_eq!(image.try_read_at(&mut buf, at << 20).unwrap(), Warm::Yes);
            black_box(&buf);
        }
    };
    parallel(group, name, threads, &work);
}

/// Each thread does all the rounds.
fn parallel(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    threads: u64,
    work: &(impl Fn(u64, u64) + Sync),
) {
    group.bench_function(name, |bench| {
        bench.iter_custom(|rounds| {
            let start = Instant::now();
            thread::scope(|scope| {
                for thread in 1..threads {
                    scope.spawn(move || work(thread, rounds));
                }
                work(0, rounds);
            });
            start.elapsed()
        });
    });
}

fn reads(criterion: &mut Criterion) {
    let data = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("devices");
    for (name, compression) in FORMS {
        let layers = device::layers(&data, name, 4, compression);
        let block_size = compression.map_or(4096, |compression| compression.block_size as usize);
        let (file, file4) = (open_files(&layers[..1]), open_files(&layers));
        let (mapped, mapped4) = (open_mapped(&layers[..1]), open_mapped(&layers));

        let mut group = criterion.benchmark_group(format!("random-4k/{name}"));
        group
            .throughput(Throughput::Elements(1))
            .warm_up_time(Duration::from_secs(1))
            .measurement_time(Duration::from_secs(3))
            .sample_size(20);
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
        random_4k(&mut group, "file/1-layer", &file, 1);
        random_4k(&mut group, "file/4-layers", &file4, 1);
        random_4k(&mut group, "mapped/1-layer", &mapped, 1);
        random_4k(&mut group, "mapped/4-layers", &mapped4, 1);
        random_4k(&mut group, "mapped/1-layer/2-threads", &mapped, 2);
        group.finish();

        let mut group = criterion.benchmark_group(format!("sequential-1m/{name}"));
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3)).sample_size(20);
        sequential_1m(&mut group, "file/1-layer", &file, 1);
        sequential_1m(&mut group, "mapped/1-layer", &mapped, 1);
        sequential_1m(&mut group, "mapped/1-layer/2-threads", &mapped, 2);
        let (mut at, mut buf) = (0, vec![0; 16 << 20]);
        group.throughput(Throughput::Bytes(16 << 20)).bench_function("mapped/16-MiB-split-in-2", |bench| {
            bench.iter(|| {
                let warm = try_read_parallel(&mapped, &mut buf, at, NonZero::new(2).unwrap()).unwrap();
                assert_eq!(warm, Warm::Yes);
                at = (at + (16 << 20)) % device::SIZE;
                black_box(&buf);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, reads);
criterion_main!(benches);
