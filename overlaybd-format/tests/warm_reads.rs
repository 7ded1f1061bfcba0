//! A warm read allocates nothing once the buffers of its thread are large enough: of an image in any
//! container, and of what a recorder has noted.
//!
//! A program of its own, without the test runner, whose threads allocate when they like.

use std::io::Cursor;

use futures::executor::block_on;
use overlaybd_format::trace::Recorder;
use overlaybd_format::{
    Algorithm, Compression, Image, LayerBlob, LayerOptions, LayerWriter, Limits, MemoryBlob, ReadAt, Tar,
    Warm,
};
use peak_alloc::PeakAlloc;

use crate::faults::Random;

#[path = "harness/faults.rs"]
mod faults;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

fn main() {
    let zstd = Compression::new(Algorithm::Zstd);
    let lz4 = cfg!(any(feature = "lz4-c", feature = "lz4-flex")).then(Compression::default);
    let forms = [None, Some(zstd), Some(zstd.with_block_size(32 << 10)), lz4];
    let large_lz4 = lz4.map(|lz4| lz4.with_block_size(32 << 10));
    for compression in forms.into_iter().chain([large_lz4]) {
        let image = image(compression);
        allocates_nothing(&image, || {}, &format!("{compression:?}"));
    }

    let recorder = Recorder::new(MemoryBlob::new(vec![7; SIZE]), &Limits::default());
    allocates_nothing(&recorder, || assert_eq!(recorder.ranges().len(), 1), "a recorder");
}

/// Reads everything, so that buffers have their size and a recorder its note, then at many places.
fn allocates_nothing(device: &dyn ReadAt, check: impl FnOnce(), what: &str) {
    let mut buf = [0; 10_000];
    assert_eq!(device.try_read_at(&mut vec![0; SIZE], 0).unwrap(), Warm::Yes, "{what}");
    let read = |buf: &mut [u8], offset| assert_eq!(device.try_read_at(buf, offset).unwrap(), Warm::Yes);
    (0..SIZE as u64 - 10_000).step_by(4093).for_each(|offset| read(&mut buf, offset));

    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let mut random = Random::new(3);
    for _ in 0..2_000 {
        let len = 1 + random.below(buf.len());
        read(&mut buf[..len], random.below(SIZE - len) as u64);
    }
    assert_eq!(MEMORY.peak_usage(), before, "warm reads of {what} allocate");
    check();
}

/// Two layers, the upper one over every other sector of a part.
fn image(compression: Option<Compression>) -> Image {
    let layer = |name: &str, step: usize, len: usize| {
        let options = LayerOptions::new(SIZE as u64).with_compression(compression).with_tar(Some(Tar::Pax));
        let mut writer = LayerWriter::new(Cursor::new(Vec::new()), options).unwrap();
        let mut random = Random::new(step as u64);
        for at in (0..len).step_by(step) {
            writer.write(at as u64, &random.words(512)).unwrap();
        }
        LayerBlob::new(name, MemoryBlob::new(writer.finish().unwrap().into_inner()))
    };
    let layers = vec![layer("lower", 512, SIZE), layer("upper", 1024, SIZE / 4)];
    block_on(Image::open(layers, &Limits::default())).unwrap()
}

const SIZE: usize = 1 << 20;
