//! Opening an image of three layers with twenty thousand segments in all from local files.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use benches::random::Random;
use criterion::{Criterion, criterion_group, criterion_main};
use futures::executor::block_on;
use overlaybd_format::{
    Algorithm, Compression, FileBlob, Image, LayerBlob, LayerOptions, LayerWriter, Limits,
};

/// Of a layer.
const SEGMENTS: u64 = 20_000 / 3;
/// Bytes between the starts of two segments.
const PITCH: u64 = 64 << 10;

fn layer(directory: &Path, name: &str, layer: u64, compression: Option<Compression>) -> PathBuf {
    let path = directory.join(format!("open-{name}.{layer}.obd"));
    let sink = BufWriter::new(File::create(&path).unwrap());
    let options = LayerOptions::new(SEGMENTS * PITCH).with_compression(compression);
    let mut writer = LayerWriter::new(sink, options).unwrap();
    let mut random = Random::new(layer + 1);
    for segment in 0..SEGMENTS {
        let at = segment * PITCH + random.below(PITCH / 1024) * 512;
        let bytes: Vec<u8> = (0..64).flat_map(|_| random.bits().to_le_bytes()).collect();
        writer.write(at, &bytes).unwrap();
    }
    writer.finish().unwrap();
    path
}

fn open(criterion: &mut Criterion) {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let lz4 = Some(Compression::new(Algorithm::Lz4));
    let mut group = criterion.benchmark_group("open/3-layers-20000-segments");
    for (name, compression) in [("plain", None), ("lz4-4k", lz4)] {
        let layers: Vec<PathBuf> = (0..3).map(|n| layer(&directory, name, n, compression)).collect();
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let blob = |path: &PathBuf| {
                    LayerBlob::new(path.display().to_string(), FileBlob::open(path).unwrap())
                };
                block_on(Image::open(layers.iter().map(blob).collect(), &Limits::default())).unwrap()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, open);
criterion_main!(benches);
