//! Writing layers: compressing content into a ZFile, beside the codec alone on the same blocks, and
//! committing a plain layer file into a compressed one.

use std::fs::File;
use std::hint::black_box;
use std::io::{self, Write};
use std::path::PathBuf;

use benches::device;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::executor::block_on;
use overlaybd_format::{
    Algorithm, Compression, ContentWriter, FileBlob, Layer, LayerBlob, LayerOptions, LayerWriter, Limits,
    Wrappers,
};

const FORMS: [(&str, Compression); 5] = [
    ("lz4-4k", Compression::new(Algorithm::Lz4)),
    ("lz4-32k", Compression::new(Algorithm::Lz4).with_block_size(32 << 10)),
    ("lz4-hc9-4k", Compression::new(Algorithm::Lz4).with_level(9)),
    ("zstd-4k", Compression::new(Algorithm::Zstd)),
    ("zstd-32k", Compression::new(Algorithm::Zstd).with_block_size(32 << 10)),
];

/// Only what no writer can avoid: the codec, on blocks at hand, into a buffer that is there already.
struct Floor {
    compression: Compression,
    zstd: zstd::bulk::Compressor<'static>,
    out: Vec<u8>,
}

impl Floor {
    fn new(compression: Compression) -> Self {
        let zstd = zstd::bulk::Compressor::new(compression.level).unwrap();
        Self { compression, zstd, out: vec![0; 128 << 10] }
    }

    fn run(&mut self, content: &[u8]) {
        for block in content.chunks(self.compression.block_size as usize) {
            let mode = match self.compression.level {
                0 => lz4::block::CompressionMode::DEFAULT,
                level => lz4::block::CompressionMode::HIGHCOMPRESSION(level),
            };
            let stored = match self.compression.algorithm {
                Algorithm::Zstd => self.zstd.compress_to_buffer(block, &mut self.out[..]).unwrap(),
                _ => lz4::block::compress_to_buffer(block, Some(mode), false, &mut self.out).unwrap(),
            };
            black_box(stored);
        }
    }
}

fn compress(content: &[u8], compression: Compression) {
    let wrappers = Wrappers::default().with_compression(Some(compression));
    let mut writer = ContentWriter::streaming(io::sink(), wrappers).unwrap();
    content.chunks(1 << 20).for_each(|part| writer.write_all(part).unwrap());
    writer.finish().unwrap();
}

fn zfile(criterion: &mut Criterion) {
    let content = device::bytes(SIZE);
    for (name, compression) in FORMS {
        let mut group = criterion.benchmark_group(format!("compress/{name}"));
        group.throughput(Throughput::Bytes(SIZE as u64)).sample_size(10);
        let mut floor = Floor::new(compression);
        group.bench_function("floor", |bench| bench.iter(|| floor.run(&content)));
        for threads in [1, 2] {
            let compression = compression.with_threads(threads);
            group.bench_function(format!("threads-{threads}"), |bench| {
                bench.iter(|| compress(&content, compression));
            });
        }
        group.finish();
    }
}

fn commit(criterion: &mut Criterion) {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (source, sink) = (directory.join("commit.source"), directory.join("commit.sink"));
    let mut writer =
        LayerWriter::new(File::create(&source).unwrap(), LayerOptions::new(SIZE as u64)).unwrap();
    writer.write(0, &device::bytes(SIZE)).unwrap();
    writer.finish().unwrap();
    let blob = LayerBlob::new("source", FileBlob::open(&source).unwrap());
    let layer = block_on(Layer::open(blob, &Limits::default())).unwrap();

    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Bytes(SIZE as u64)).sample_size(10);
    let lz4 = Compression::default();
    let forms = [("plain", None), ("lz4-4k", Some(lz4)), ("lz4-4k-threads-2", Some(lz4.with_threads(2)))];
    for (name, compression) in forms {
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let options = LayerOptions::of_layer(&layer).with_compression(compression);
                let mut writer = LayerWriter::new(File::create(&sink).unwrap(), options).unwrap();
                block_on(writer.copy_layer(&layer)).unwrap();
                writer.finish().unwrap();
            });
        });
    }
    group.finish();
}

/// Bytes of content: more than the caches of a processor, and a fraction of a second to compress.
const SIZE: usize = 64 << 20;

criterion_group!(benches, zfile, commit);
criterion_main!(benches);
